//! Everything that is seen from outside, in one binary. The folders mirror the URLs; `support` starts services, databases
//! and outside programs. The store is SQLite unless `COUNTERSIGN_TEST_POSTGRES` names a PostgreSQL; `scripts/test` runs
//! the whole on both.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on should say so and stop"
)]

mod admin;
mod architecture;
mod article;
mod audit;
mod command_line;
mod credentials;
mod docs;
mod errors;
mod examples;
mod hash_pool;
mod header_parser;
mod health;
mod idempotency;
mod jwt;
mod login;
mod logout;
mod me;
mod metrics;
mod oauth;
mod proxies;
mod refresh;
mod requests;
mod scopes;
mod settings;
mod shutdown;
mod start;
mod statuslists;
mod support;
mod telemetry;
mod upgrade;
mod users;
mod verified;
mod verify;
mod well_known;
mod writes;
