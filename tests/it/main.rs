//! Everything that is seen from outside, in one binary. The folders are those of `src/auth`, with what belongs to HTTP, the store and the
//! command line beside them; `support` starts services, databases
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

mod architecture;
mod command_line;
mod credentials;
mod http;
mod keys;
mod operations;
mod passwords;
mod sessions;
mod store;
mod support;
mod users;
