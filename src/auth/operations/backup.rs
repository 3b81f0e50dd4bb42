//! Backup and restore of a SQLite database.
//!
//! Rule: a backup holds all writes acknowledged before it began; a restore is atomic, even beside a running server, and
//! invalidates all credentials but passwords. Threats: a token that was revoked since the backup and becomes valid
//! again, and a database that mixes old and new data.

use std::path::Path;

use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;

use crate::auth::audit::chain;
use crate::auth::opening::{Opened, open};
use crate::auth::{Actor, Settings};
use crate::error::StartError;
use crate::model::{ChainKey, Clock, Event, Timestamp};
use crate::store::{Durability, Location, Store, VerifiedCopy, back_up};

/// Writes a backup to a new file. Returns the time at which it began.
pub async fn backup(clock: &Clock, settings: &Settings, file: &Path) -> Result<Timestamp, StartError> {
    match settings.database.database_url.expose_secret().parse()? {
        Location::Sqlite(database) => {
            let begun = clock.now();
            back_up(&database, file).await?;
            Ok(begun)
        }
        Location::Postgres(_) => {
            Err(postgres(format_args!("pg_dump --format=custom --file={} \"$DATABASE_URL\"", file.display())))
        }
    }
}

/// Replaces the contents of the database by those of a backup. Creates the database if it does not exist.
pub async fn restore(clock: &Clock, settings: &Settings, file: &Path) -> Result<(), StartError> {
    match settings.database.database_url.expose_secret().parse()? {
        Location::Sqlite(database) => {
            let copy = VerifiedCopy::of(file, &database).await?;
            // A running server goes on with the audit trail, so the key must be the same.
            let Opened { store, secret, .. } =
                open(clock, settings, Durability::EachCommit, &mut Registry::default()).await?;
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let done = replace(&store, secret.chain_key(), &copy, &name, clock.now()).await;
            store.close().await;
            done.map_err(|error| StartError(format!("{} cannot be restored: {error}", file.display())))
        }
        Location::Postgres(_) => Err(postgres(format_args!(
            "pg_restore --clean --if-exists --single-transaction --dbname=\"$DATABASE_URL\" {}",
            file.display()
        ))),
    }
}

async fn replace(
    store: &Store,
    key: &ChainKey,
    copy: &VerifiedCopy,
    name: &str,
    now: Timestamp,
) -> Result<(), StartError> {
    let mut tx = store.write_alone().await?;
    let version = tx.highest_status_version().await?;
    tx.replace_all(copy).await?;
    // Servers cache signed status lists by version, so the version must not repeat.
    tx.pass_status_version(version).await?;
    tx.end_all_sessions(now).await?;
    tx.delete_all_personal_tokens().await?;
    tx.delete_all_stored_responses().await?;
    tx.delete_all_secrets().await?;
    tx.delete_all_mails().await?;
    tx.delete_all_signing_keys().await?;
    chain::seal(&mut tx, key, now).await?;
    tx.record(Actor::Operator.did(Event::DatabaseRestored, now).to(name));
    Ok(tx.commit().await?)
}

fn postgres(command: std::fmt::Arguments<'_>) -> StartError {
    StartError(format!("PostgreSQL has tools of its own: {command} (and docs/operations.md says what else to do)"))
}
