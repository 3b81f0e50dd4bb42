//! The binary: reads the settings and does what the command says.

use std::process::ExitCode;

use countersign::{cli, config};
use tikv_jemallocator::Jemalloc;

/// A request takes some thirty pieces of memory and gives them back a moment later, from two threads and more: this one is
/// quicker at that than the system's, and loses less of it to gaps.
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
