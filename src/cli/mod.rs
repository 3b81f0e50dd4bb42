//! The command line.

pub mod serve;

use std::io::Write;

use crate::{
    config::{Cli, Command},
    error::StartError,
    http,
};

/// Does what the command says.
pub fn run(cli: &Cli) -> Result<(), StartError> {
    match cli.command {
        None | Some(Command::Serve) => serve::run(&cli.config),
        Some(Command::Openapi) => print(&http::document()),
    }
}

fn print(text: &str) -> Result<(), StartError> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| StartError(format!("cannot write to standard output: {error}")))
}
