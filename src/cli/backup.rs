//! `countersign backup` and `countersign restore`.

use std::path::Path;

use crate::auth::{self, Replacement};
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
    let (settings, clock, name) = (&config.settings, &Clock::System, file.display());
    let replacement = block_on(auth::replacement(clock, settings, file))??;
    if let Some(Replacement { database, backup, kept }) = &replacement {
        let kept = kept.display();
        let what = format!("This replaces all that is in {database} by {name} ({backup}), and keeps it in {kept}.");
        confirm(sure, &what)?;
    }
    let keep = replacement.map(|replacement| replacement.kept);
    unless_interrupted(auth::restore(clock, settings, file, keep.as_deref()))?;
    print(&format!(
        "{name} was restored; every session, personal token and signing key has ended, so everyone logs in again\n{}",
        keep.map_or_else(String::new, |kept| format!("{} holds what was there before\n", kept.display()))
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
