//! One file for each table, and for each larger group of queries on one.

pub mod audit;
pub mod blocks;
pub mod changes;
pub mod guesses;
pub mod idempotency_keys;
pub mod known_networks;
pub mod one_time_secrets;
pub mod outbox;
pub mod personal_tokens;
pub mod rotated_tokens;
pub mod servers;
pub mod sessions;
pub mod signing_keys;
pub mod status_lists;
pub mod user_bulk;
pub mod user_columns;
pub mod user_search;
pub mod users;
