//! The command line.

mod key;
pub mod serve;
mod user;

use std::io::Write;

use crate::{
    config::{Cli, Command},
    error::StartError,
    http,
};

/// Does what the command says.
pub fn run(cli: &Cli) -> Result<(), StartError> {
    match &cli.command {
        None | Some(Command::Serve) => serve::run(&cli.config),
        Some(Command::User(command)) => user::run(&cli.config, command),
        Some(Command::Key(command)) => key::run(&cli.config, *command),
        Some(Command::Openapi) => print(&http::document()),
    }
}

/// Runs a future to its end.
fn run_async<T>(future: impl Future<Output = Result<T, StartError>>) -> Result<T, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError(format!("the runtime cannot be started: {error}")))?
        .block_on(future)
}

fn print(text: &str) -> Result<(), StartError> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| StartError(format!("cannot write to standard output: {error}")))
}
