//! `countersign key`: the signing keys.

use std::fmt::Write;

use crate::{
    auth::{Actor, Auth},
    cli::{
        beside_servers, json, print,
        table::{cell, table},
    },
    config::{Config, KeyCommand},
    error::{CommandError, Error, StartError},
    http::views::KeyList,
};

/// Does what the command says of the signing keys.
pub fn run(config: &Config, command: KeyCommand) -> Result<(), CommandError> {
    print(&beside_servers(config, async |auth| answer(auth, command).await)?)
}

async fn answer(auth: &Auth, command: KeyCommand) -> Result<String, CommandError> {
    let mut text = String::new();
    match command {
        KeyCommand::Rotate => {
            let next = auth.rotate_keys(Actor::Operator).await.map_err(|error| match error {
                Error::NoRotation => StartError::setting(
                    "COUNTERSIGN_JWT_ALGORITHM",
                    "no key of this algorithm signs here; give the command the settings of the servers",
                )
                .into(),
                error => CommandError::from(error),
            })?;
            let _infallible = writeln!(text, "{} is public and signs from {}", next.kid, next.signs_from);
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
