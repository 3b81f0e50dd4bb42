//! Metrics of the database: its connections, and what is heard of other servers.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use sqlx::PgPool;

use crate::store::Pools;
use crate::store::postgres::Cluster;

impl Pools {
    /// The connections by pool: in use, and the most there may be. SQLite has no pool of writers: its one writer is measured by
    /// its commits.
    fn connections(&self) -> Vec<(&'static str, usize, usize)> {
        match self {
            Self::Sqlite { read, .. } => {
                let pool = read.status();
                vec![("read", pool.size.saturating_sub(pool.available), pool.max_size)]
            }
            Self::Postgres { write, read, .. } => [("read", read), ("write", write)].map(of_pool).into(),
        }
    }

    /// The polls of what other servers changed, by outcome. On SQLite there are none.
    fn polls(&self) -> [(&'static str, u64); 2] {
        match self {
            Self::Sqlite { .. } => [("answered", 0), ("failed", 0)],
            Self::Postgres { cluster: Cluster { polls, .. }, .. } => {
                [("answered", polls.answered.get()), ("failed", polls.failed.get())]
            }
        }
    }
}

fn of_pool((name, pool): (&'static str, &PgPool)) -> (&'static str, usize, usize) {
    let count = |connections| usize::try_from(connections).unwrap_or(usize::MAX);
    let most = pool.options().get_max_connections();
    (name, count(pool.size()).saturating_sub(pool.num_idle()), count(most))
}

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let connections = self.connections();
        let gauge = |count| ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
        let help = "Connections to the database that are in use";
        let mut metric = encoder.encode_descriptor("database_connections_in_use", help, None, MetricType::Gauge)?;
        for (pool, in_use, _) in &connections {
            gauge(*in_use).encode(metric.encode_family(&[("pool", *pool)])?)?;
        }
        let help = "Connections to the database that there may be";
        let mut metric = encoder.encode_descriptor("database_connections_max", help, None, MetricType::Gauge)?;
        for (pool, _, most) in &connections {
            gauge(*most).encode(metric.encode_family(&[("pool", *pool)])?)?;
        }
        let help = "Polls of what other servers changed, by outcome; without one the cache is not used";
        let mut metric = encoder.encode_descriptor("change_polls", help, None, MetricType::Counter)?;
        for (outcome, count) in self.polls() {
            ConstCounter::new(count).encode(metric.encode_family(&[("outcome", outcome)])?)?;
        }
        Ok(())
    }
}
