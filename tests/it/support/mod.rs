//! What tests stand on.

mod answer;
mod app;
mod binary;
mod database;
mod jwt;
mod outside;

pub use answer::Answer;
pub use app::{App, PASSWORD, basic, bearer};
pub use binary::{Binary, Killed, Server, free_port};
pub use database::{Database, on_postgres};
pub use jwt::{ForgedKey, b64, claims_of, header_of, resign};
pub use outside::{node, outside, python_with};
