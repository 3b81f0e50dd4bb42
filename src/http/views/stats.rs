//! The JSON representation of figures of the installation.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{Hour, Statistics};
use crate::model::Timestamp;

/// Figures of the installation.
#[derive(Serialize, ToSchema)]
pub struct StatsView {
    users: UserCounts,
    /// Sessions that have neither ended nor expired.
    #[schema(example = 1200)]
    sessions: i64,
    /// Personal access tokens that have not expired.
    #[schema(example = 40)]
    tokens: i64,
    /// Passwords that wait to be checked, on the server that answers.
    #[schema(example = 0)]
    waiting_passwords: i64,
    /// Blocks that have not ended.
    #[schema(example = 1)]
    blocks: usize,
    /// The last 48 hours, the oldest first.
    hours: Vec<HourView>,
}

/// How many users there are.
#[derive(Serialize, ToSchema)]
struct UserCounts {
    /// Those who may log in.
    #[schema(example = 900)]
    active: i64,
    /// Those who may not.
    #[schema(example = 3)]
    disabled: i64,
}

/// The logins of one hour.
#[derive(Serialize, ToSchema)]
struct HourView {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Logins.
    succeeded: u64,
    /// Wrong passwords, at login or elsewhere.
    failed: u64,
    /// Passwords that were refused unseen, because too many were wrong.
    limited: u64,
}

impl StatsView {
    /// Creates the view of these figures.
    pub fn new(statistics: Statistics, waiting_passwords: i64, blocks: usize) -> Self {
        let hour = |Hour { at, succeeded, failed, limited }| HourView { at, succeeded, failed, limited };
        Self {
            users: UserCounts { active: statistics.active_users, disabled: statistics.disabled_users },
            sessions: statistics.sessions,
            tokens: statistics.tokens,
            waiting_passwords,
            blocks,
            hours: statistics.hours.into_iter().map(hour).collect(),
        }
    }
}
