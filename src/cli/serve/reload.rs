//! SIGHUP: a running server reads its settings again, and takes those into use that need no restart.
//!
//! Rule: all of the new settings can be used, or everything stays as it was. What only a start can change is named in the log.

use crate::cli::serve::settings;
use crate::config::Config;
use crate::error::StartError;
use crate::http::App;
use crate::telemetry::{self, Log};

/// The settings that are taken into use. Beside them, the files of the TLS certificate are read.
const TAKEN: [&str; 3] = ["COUNTERSIGN_TRUSTED_PROXIES", "COUNTERSIGN_CORS_ORIGINS", "RUST_LOG"];

/// Reads the settings again. `config.in_force` is what holds, before and after.
pub fn reload(config: &mut Config, app: &App, log: &Log) {
    if let Err(error) = take(config, app, log) {
        tracing::error!(%error, "the settings cannot be used; those before stay in force");
    }
}

fn take(config: &mut Config, app: &App, log: &Log) -> Result<(), StartError> {
    let new = config.sources.read()?.config;
    config.sources = new.sources.clone();
    if let Some(error) = settings::errors(&new).into_iter().next() {
        return Err(error);
    }
    let files = |config: &Config| (config.server.tls_cert.clone(), config.server.tls_key.clone());
    // Other files need a restart, and those of the start may be gone.
    if files(&new) == files(config) {
        app.reload_tls()?;
    }
    log.set_levels(telemetry::levels(&new.log.log)?)?;
    let (mut taken, mut waiting) = (Vec::new(), Vec::new());
    for (setting, new) in config.in_force.iter_mut().zip(new.in_force).filter(|(old, new)| new.differs_from(old)) {
        let name = new.variable.clone();
        if TAKEN.contains(&name.as_str()) {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            tracing::info!(setting = name, old = text(&setting.value), new = text(&new.value), "a setting has changed");
            *setting = new;
            taken.push(name);
        } else {
            tracing::warn!(setting = name, "a setting has changed that needs a restart");
            waiting.push(name);
        }
    }
    app.replace(new.server.trusted_proxies, &new.server.cors_origins, config.in_force.clone());
    let file = config.sources.file().display();
    tracing::info!(%file, taken = taken.join(","), needs_restart = waiting.join(","), "the settings were read again");
    Ok(())
}
