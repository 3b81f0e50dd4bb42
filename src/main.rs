//! The binary: reads the settings and does what the command says.

use std::process::ExitCode;

use countersign::{cli, config};

fn main() -> ExitCode {
    match config::read().and_then(|cli| cli::run(&cli)) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            use std::io::Write;
            let _closed = writeln!(std::io::stderr(), "countersign: {error}");
            ExitCode::FAILURE
        }
    }
}
