//! Backup and restore of a SQLite database.
//!
//! Rule: a backup holds all writes acknowledged before it began; a restore is atomic, even beside a running server, and
//! invalidates all credentials but passwords. Threats: a token that was revoked since the backup and becomes valid
//! again, and a database that mixes old and new data.

use std::path::{Path, PathBuf};

use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;

use crate::auth::audit::chain;
use crate::auth::opening::{Create, Opened, open};
use crate::auth::{Actor, Settings};
use crate::error::StartError;
use crate::model::{ChainKey, Clock, Event, Timestamp};
use crate::store::{Durability, Location, Store, Tx, VerifiedCopy, back_up};

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

/// What a restore of this backup would replace, and by what, in words; nothing where there is no database yet. An error if the
/// backup cannot be restored: nobody is asked about such a file.
pub async fn replacement(settings: &Settings, file: &Path) -> Result<Option<(String, String)>, StartError> {
    let Location::Sqlite(database) = settings.database.database_url.expose_secret().parse()? else { return Ok(None) };
    if !Store::exists(&Location::Sqlite(database.clone())).await? {
        return Ok(None);
    }
    drop(VerifiedCopy::of(file, &database).await?);
    let words = async |file: &Path| match contents(file).await {
        Ok(Some(held)) => format!("{} ({held})", file.display()),
        Ok(None) | Err(_) => format!("{} (which cannot be read)", file.display()),
    };
    Ok(Some((words(&database).await, words(file).await)))
}

/// What a database holds, in words; nothing when there is none.
async fn contents(file: &Path) -> Result<Option<String>, StartError> {
    let Some(store) = Store::open_read_only(&Location::Sqlite(file.to_owned())).await? else { return Ok(None) };
    let mut conn = store.read().await?;
    let schema = conn.schema().await?;
    let held = match schema.last.filter(|_| schema.pending.is_empty()) {
        Some(_) => {
            let (users, last) = (conn.count_users().await?, conn.latest_timestamp().await?);
            let last = last.map_or_else(String::new, |last| format!(", last changed at {last}"));
            format!("{users} user{}{last}", if users == 1 { "" } else { "s" })
        }
        None => "of an earlier version".to_owned(),
    };
    drop(conn);
    store.close().await;
    Ok(Some(held))
}

/// Replaces the contents of the database by those of a backup. Creates the database if it does not exist. Returns the file in
/// which it has kept what was there before.
pub async fn restore(clock: &Clock, settings: &Settings, file: &Path) -> Result<Option<PathBuf>, StartError> {
    match settings.database.database_url.expose_secret().parse()? {
        Location::Sqlite(database) => {
            let copy = VerifiedCopy::of(file, &database).await?;
            let at = clock.now().to_string().replace([':', '.'], "-");
            let exists = Store::exists(&Location::Sqlite(database.clone())).await?;
            let kept = exists.then(|| database.with_extension(format!("before-{at}.db")));
            // A running server goes on with the audit trail, so the key must be the same.
            let Opened { store, secret, .. } =
                open(clock, settings, Durability::EachCommit, Create::SecretKey, &mut Registry::default()).await?;
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let keep = kept.as_deref().map(|kept| (database.as_path(), kept));
            let done = replace(&store, secret.chain_key(), (&copy, &name), keep, clock.now()).await;
            store.close().await;
            done.map_err(|error| StartError(format!("{} cannot be restored: {error}", file.display())))?;
            Ok(kept)
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
    (copy, name): (&VerifiedCopy, &str),
    keep: Option<(&Path, &Path)>,
    now: Timestamp,
) -> Result<(), StartError> {
    let mut tx = store.write_alone().await?;
    // While nothing else can be written: what a server acknowledges is in the database before, or after.
    if let Some((database, kept)) = keep {
        back_up(database, kept).await.map_err(|StartError(why)| {
            StartError(format!("{why}; to restore all the same, move the database away and begin without one"))
        })?;
    }
    let replaced = replace_rows(&mut tx, key, copy, name, now).await;
    if let (Err(_), Some((_, kept))) = (&replaced, keep) {
        let _left = std::fs::remove_file(kept);
    }
    replaced?;
    Ok(tx.commit().await?)
}

async fn replace_rows(
    tx: &mut Tx,
    key: &ChainKey,
    copy: &VerifiedCopy,
    name: &str,
    now: Timestamp,
) -> Result<(), StartError> {
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
    chain::seal(tx, key, now).await?;
    tx.record(Actor::Operator.did(Event::DatabaseRestored, now).to(name));
    Ok(())
}

fn postgres(command: std::fmt::Arguments<'_>) -> StartError {
    StartError(format!("PostgreSQL has tools of its own: {command} (and docs/operations.md says what else to do)"))
}
