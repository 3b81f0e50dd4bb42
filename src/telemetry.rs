//! The log: one line a request, and whatever goes wrong, on standard output.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config::LogFormat, error::StartError};

/// Starts the log in this form, down to these levels (the syntax of `RUST_LOG`).
pub fn start(format: LogFormat, levels: &str) -> Result<(), StartError> {
    let filter = EnvFilter::builder()
        .parse(levels)
        .map_err(|_| StartError::setting("RUST_LOG", "must be levels such as info, debug or info,countersign=debug"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => {
            let ansi = std::io::stdout().is_terminal();
            registry.with(fmt::layer().with_target(false).with_ansi(ansi)).try_init()
        }
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| StartError(format!("the log cannot be started: {error}")))
}
