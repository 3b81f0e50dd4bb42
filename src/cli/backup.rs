//! `countersign backup` and `countersign restore`.

use std::path::Path;

use crate::auth;
use crate::cli::serve::shutdown_signal;
use crate::cli::{block_on, confirm, print};
use crate::config::Config;
use crate::error::{CommandError, StartError};
use crate::model::Clock;

/// Runs `countersign backup`.
pub fn run(config: &Config, file: &Path) -> Result<(), CommandError> {
    let settings = &config.settings;
    let as_of = unless_interrupted(auth::backup(&Clock::System, settings, file))?;
    print(&format!("{} holds all that was acknowledged until {as_of}\n", file.display()))
}

/// Runs `countersign restore`.
pub fn restore(config: &Config, file: &Path, yes: bool) -> Result<(), CommandError> {
    let settings = &config.settings;
    if let Some(database) = block_on(auth::existing_file(settings))?? {
        confirm(yes, &format!("This replaces all that {database} holds."))?;
    }
    unless_interrupted(auth::restore(&Clock::System, settings, file))?;
    print(&format!(
        "{} was restored; every session, personal token and signing key has ended, so everyone logs in again\n",
        file.display()
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
