//! The log: one line a request, and whatever goes wrong, on standard output.

use std::io::IsTerminal;

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config::LogFormat, error::StartError};

/// Levels in the syntax of `RUST_LOG`.
pub fn levels(text: &str) -> Result<EnvFilter, StartError> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|_| StartError::setting("RUST_LOG", "must be levels such as info, debug or info,countersign=debug"))
}

/// Starts the log in this form, down to these levels (the syntax of `RUST_LOG`). Lines are written by a thread of its own,
/// and dropped rather than waited for when nobody reads them, for a log that stalls should not stop the service. What is
/// still to be written is when the guard is dropped.
pub fn start(format: LogFormat, levels: &str) -> Result<WorkerGuard, StartError> {
    let filter = self::levels(levels)?;
    let (writer, guard) = tracing_appender::non_blocking(std::io::stdout());
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => {
            let ansi = std::io::stdout().is_terminal();
            registry.with(fmt::layer().with_writer(writer).with_target(false).with_ansi(ansi)).try_init()
        }
        LogFormat::Json => registry.with(fmt::layer().with_writer(writer).json().flatten_event(true)).try_init(),
    };
    started.map(|()| guard).map_err(|error| StartError(format!("the log cannot be started: {error}")))
}
