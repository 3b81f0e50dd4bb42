//! `countersign backup` and `countersign restore`.

use std::path::Path;

use crate::{
    auth,
    cli::{print, run_async, serve::shutdown_signal},
    config::Config,
    error::{CommandError, StartError},
    model::Clock,
};

/// Writes a backup.
pub fn run(config: &Config, file: &Path) -> Result<(), CommandError> {
    let settings = config.settings()?;
    let begun = unless_interrupted(auth::backup(&Clock::System, &settings, file))?;
    print(&format!("{} holds all that was acknowledged until {begun}\n", file.display()))
}

/// Restores a backup.
pub fn restore(config: &Config, file: &Path) -> Result<(), CommandError> {
    let settings = config.settings()?;
    unless_interrupted(auth::restore(&Clock::System, &settings, file))?;
    print(&format!(
        "{} was restored; every session, personal token and signing key has ended, so everyone logs in again\n",
        file.display()
    ))
}

/// Runs a future to its end, or drops it, with the files it was about, when the process is asked to end.
fn unless_interrupted<T>(work: impl Future<Output = Result<T, StartError>>) -> Result<T, CommandError> {
    run_async(async {
        let interrupted = shutdown_signal()?;
        tokio::select! {
            done = work => Ok(done?),
            () = interrupted => Err(CommandError("interrupted before it was done".into())),
        }
    })?
}
