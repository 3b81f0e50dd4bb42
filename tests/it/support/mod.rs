//! Helpers of the tests: services, processes, databases and external programs.

mod answer;
mod app;
mod binary;
mod database;
mod jwt;
mod postgres;
mod programs;

pub use answer::Answer;
pub use app::{App, Caller, PASSWORD, basic, bearer, secret_key};
pub use binary::{Binary, Ended, Killed, Server, free_port};
pub use database::{Database, on_postgres};
pub use jwt::{ForgedKey, b64, claims_of, header_of, resign};
pub use postgres::{Cluster, Line, Pooler};
pub use programs::{certify, command, find_program, node, optional_program, python_with};
