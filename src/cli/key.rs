//! `countersign key`: lists and rotates the signing keys.

use std::fmt::Write;

use crate::auth::{Actor, Auth};
use crate::cli::table::{cell, table};
use crate::cli::{confirm, json, print, with_auth};
use crate::config::{Config, KeyCommand};
use crate::error::{CommandError, Error, StartError};
use crate::http::views::KeyList;

/// Runs `countersign key`.
pub fn run(config: &Config, command: KeyCommand) -> Result<(), CommandError> {
    if let KeyCommand::Revoke(sure) = command {
        confirm(sure, "This ends all signing keys, and with them every JWT.")?;
    }
    print(&with_auth(config, async |auth| answer(auth, command).await)?)
}

async fn answer(auth: &Auth, command: KeyCommand) -> Result<String, CommandError> {
    let mut text = String::new();
    match command {
        KeyCommand::Rotate => {
            let next = auth.rotate_keys(Actor::Operator).await.map_err(|error| match error {
                Error::NoRotation => StartError::setting(
                    "COUNTERSIGN_JWT_ALGORITHM",
                    "no stored key signs with this algorithm; run the command with the servers' settings",
                )
                .into(),
                error => CommandError::from(error),
            })?;
            let _infallible = writeln!(text, "{} is published and signs from {}", next.kid, next.signs_from);
        }
        KeyCommand::Revoke(_) => {
            auth.revoke_keys(Actor::Operator).await?;
            text.push_str("all signing keys were ended; servers make a new one within seconds\n");
        }
        KeyCommand::List { json: true } => {
            text = json(&KeyList::from(auth.signing_keys().await?))?;
        }
        KeyCommand::List { json: false } => {
            let rows = auth.signing_keys().await?.into_iter().map(|key| {
                let (algorithm, state) = (key.algorithm.to_string(), key.state.as_str().to_owned());
                [key.kid, algorithm, state, key.signs_from.to_string(), cell(key.verifies_until)]
            });
            text = table(["KID", "ALGORITHM", "STATE", "SIGNS FROM", "VERIFIES UNTIL"], rows);
        }
    }
    Ok(text)
}
