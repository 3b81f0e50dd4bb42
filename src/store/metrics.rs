//! The gauge of database connections in use.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use sqlx::PgPool;

use crate::store::Pools;

impl Pools {
    /// The connections in use by pool. SQLite has no pool of writers: its one writer is measured by its commits.
    fn in_use(&self) -> Vec<(&'static str, usize)> {
        match self {
            Self::Sqlite { read, .. } => {
                let pool = read.status();
                vec![("read", pool.size.saturating_sub(pool.available))]
            }
            Self::Postgres { write, read, .. } => vec![("read", in_use(read)), ("write", in_use(write))],
        }
    }
}

fn in_use(pool: &PgPool) -> usize {
    usize::try_from(pool.size()).unwrap_or(usize::MAX).saturating_sub(pool.num_idle())
}

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Connections to the database that are in use";
        let mut metric = encoder.encode_descriptor("database_connections_in_use", help, None, MetricType::Gauge)?;
        for (pool, in_use) in self.in_use() {
            let in_use = ConstGauge::new(i64::try_from(in_use).unwrap_or(i64::MAX));
            in_use.encode(metric.encode_family(&[("pool", pool)])?)?;
        }
        Ok(())
    }
}
