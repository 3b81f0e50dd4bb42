//! The integration tests, in one binary. The modules are those of `src/auth`, plus HTTP, pages, the store and the command
//! line. `support` starts services, databases and external programs. The store is SQLite unless
//! `COUNTERSIGN_TEST_POSTGRES` has the URL of a PostgreSQL server; `scripts/test` runs all tests on both.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on should say so and stop"
)]

mod architecture;
mod command_line;
mod credentials;
mod documentation;
mod fuzzing;
mod http;
mod keys;
mod mail;
mod model;
mod operations;
mod pages;
mod passwords;
mod sessions;
mod store;
mod support;
mod users;
