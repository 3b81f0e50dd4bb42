//! The binary: reads the settings and runs the command.

use std::process::ExitCode;

use countersign::{cli, config};
use tikv_jemallocator::Jemalloc;

/// A request makes some thirty short-lived allocations, across two or more threads. jemalloc is faster at these than
/// the system's allocator, and fragments less.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match config::read().map_err(Into::into).and_then(|cli| cli::run(&cli)) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            use std::io::Write;
            let _closed = writeln!(std::io::stderr(), "countersign: {error}");
            ExitCode::FAILURE
        }
    }
}
