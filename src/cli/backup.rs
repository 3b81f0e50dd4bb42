//! `countersign backup` and `countersign restore`.

use std::path::Path;

use crate::auth;
use crate::cli::serve::shutdown_signal;
use crate::cli::{block_on, confirm, print};
use crate::config::{Config, Sure};
use crate::error::{CommandError, StartError};
use crate::model::Clock;

/// Runs `countersign backup`.
pub fn run(config: &Config, file: &Path) -> Result<(), CommandError> {
    let settings = &config.settings;
    let as_of = unless_interrupted(auth::backup(&Clock::System, settings, file))?;
    print(&format!("{} holds all that was acknowledged until {as_of}\n", file.display()))
}

/// Runs `countersign restore`.
pub fn restore(config: &Config, file: &Path, sure: Sure) -> Result<(), CommandError> {
    let settings = &config.settings;
    if !sure.yes
        && let Some((database, backup)) = unless_interrupted(auth::replacement(settings, file))?
    {
        let what = format!("This replaces all that is in {database} by {backup}, and keeps it in a file beside it.");
        confirm(sure, &what)?;
    }
    let kept = unless_interrupted(auth::restore(&Clock::System, settings, file))?;
    print(&format!(
        "{} was restored; every session, personal token and signing key has ended, so everyone logs in again\n{}",
        file.display(),
        kept.map_or_else(String::new, |kept| format!("{} holds what was there before\n", kept.display()))
    ))
}

/// Runs a future to completion, or drops it on SIGTERM or Ctrl-C; dropping it removes its temporary files.
pub fn unless_interrupted<T>(work: impl Future<Output = Result<T, StartError>>) -> Result<T, CommandError> {
    block_on(async {
        let interrupted = shutdown_signal()?;
        tokio::select! {
            done = work => Ok(done?),
            () = interrupted => Err(CommandError("interrupted before it was done".into())),
        }
    })?
}
