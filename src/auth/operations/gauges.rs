//! What metrics say of the state of the installation, rather than of what has happened.
//!
//! Rule: the figures are those of `statistics.rs`, read when somebody asks for metrics, and as seldom as there. Threat: a monitor that
//! keeps the database busy.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::auth::Auth;
use crate::error::Error;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

/// The gauges.
#[derive(Default)]
pub struct Gauges {
    database: Gauge,
    users: Family<Status, Gauge>,
    sessions: Gauge,
    tokens: Gauge,
    blocks: Gauge,
    outbox: Gauge,
}

impl Gauges {
    /// Nothing is known yet.
    pub fn new(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        registry.register("database_up", "1 if the database answered, or else 0", gauges.database.clone());
        registry.register("users", "Users, by status", gauges.users.clone());
        registry.register("sessions", "Sessions that have neither ended nor expired", gauges.sessions.clone());
        registry.register("personal_tokens", "Personal tokens that have not expired", gauges.tokens.clone());
        registry.register("blocks", "Networks that may try no more passwords now", gauges.blocks.clone());
        registry.register("outbox_length", "Mails that wait to be sent", gauges.outbox.clone());
        gauges
    }
}

impl Auth {
    /// Brings the gauges up to date. While the database does not answer they stay as they are, and `database_up` is 0.
    pub async fn refresh_gauges(&self) {
        let figures = async {
            let statistics = self.statistics().await?;
            let blocks = self.blocks().await?.len();
            let waiting = self.store.read().await?.count_mails().await?;
            Ok::<_, Error>((statistics, blocks, waiting))
        };
        let figures = figures.await;
        self.gauges.database.set(figures.is_ok().into());
        let Ok((statistics, blocks, waiting)) = figures else { return };
        for (status, count) in [("active", statistics.active_users), ("disabled", statistics.disabled_users)] {
            self.gauges.users.get_or_create(&Status { status }).set(count);
        }
        self.gauges.sessions.set(statistics.sessions);
        self.gauges.tokens.set(statistics.tokens);
        self.gauges.blocks.set(i64::try_from(blocks).unwrap_or(i64::MAX));
        self.gauges.outbox.set(waiting);
    }
}
