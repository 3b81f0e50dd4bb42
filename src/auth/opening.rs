//! Opening what the service stands on: the database, the secret key and what is sealed with it.
//!
//! Rule: nothing is created before the settings were validated, and nothing is sealed with a secret key before it has opened what
//! is there. Threat: a wrong key that becomes part of a database.

use std::path::PathBuf;

use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;

use crate::auth::audit::chain;
use crate::auth::keys::Keys;
use crate::auth::{Durability, Places, SecretKey, Settings};
use crate::error::StartError;
use crate::model::{Clock, SealedKey};
use crate::store::{Location, Store};

/// What may be created that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// The secret key, in a file of its own, for a database that has no signing keys yet.
    SecretKey,
    /// Nothing.
    Nothing,
}

/// What was opened.
pub struct Opened {
    pub store: Store,
    pub secret: SecretKey,
    pub places: Places,
    /// The signing keys, which the secret key opens.
    pub sealed: Vec<SealedKey>,
}

/// Opens the database, with an audit trail under the secret key.
pub async fn open(
    clock: &Clock,
    settings: &Settings,
    durability: Durability,
    create: Create,
    metrics: &mut Registry,
) -> Result<Opened, StartError> {
    let opened = open_with_any_trail(clock, settings, durability, create, metrics).await?;
    let key_is_proven = !opened.sealed.is_empty();
    chain::open(&opened.store, opened.secret.chain_key(), key_is_proven, clock.now()).await?;
    Ok(opened)
}

async fn open_with_any_trail(
    clock: &Clock,
    settings: &Settings,
    durability: Durability,
    create: Create,
    metrics: &mut Registry,
) -> Result<Opened, StartError> {
    let mut location: Location = settings.database.database_url.expose_secret().parse()?;
    if let Some(url) = &settings.database.database_read_url {
        location = location.with_replica(url.expose_secret())?;
    }
    let given = settings.database.secret_key.as_ref().map(|key| SecretKey::parse(key.expose_secret())).transpose()?;
    settings.check()?;
    let key_file = location.key_file();
    // Before the database is opened, which leaves traces.
    if create == Create::Nothing && given.is_none() && !key_file.exists() {
        return Err(no_key(&location));
    }

    let store = Store::open(&location, durability, metrics).await?;
    let sealed = store.read().await?.signing_keys(clock.now()).await?;
    let (secret, key_file) = match given {
        Some(secret) => (secret, None),
        None => (SecretKey::from_file(&key_file, sealed.is_empty())?, Some(key_file)),
    };
    Keys::open(&sealed, &secret, settings)?;
    Ok(Opened { store, secret, places: Places { database: location.to_string(), key_file }, sealed })
}

/// Lets the audit trail of a database that was brought here from under another secret key go on under this one, with a record
/// that says so. It is for a database without signing keys: the key of one with them is proven, so that another seal was put
/// there by somebody who lacks it.
pub async fn seal_audit(clock: &Clock, settings: &Settings) -> Result<(), StartError> {
    let metrics = &mut Registry::default();
    let Opened { store, secret, sealed, .. } =
        open_with_any_trail(clock, settings, Durability::EachCommit, Create::Nothing, metrics).await?;
    if !sealed.is_empty() {
        let why = "the database has signing keys under this secret key, so its audit trail is under it, too";
        return Err(StartError(why.to_owned()));
    }
    store.set_chain_key(secret.chain_key().clone());
    let mut tx = store.write_alone().await?;
    chain::seal(&mut tx, secret.chain_key(), clock.now()).await?;
    tx.commit().await?;
    store.close().await;
    Ok(())
}

/// Where the database of these settings is. An error when there is none there.
pub async fn existing(settings: &Settings) -> Result<Location, StartError> {
    let location: Location = settings.database.database_url.expose_secret().parse()?;
    if Store::exists(&location).await? { Ok(location) } else { Err(no_database(&location)) }
}

fn no_database(location: &Location) -> StartError {
    StartError::setting(
        "DATABASE_URL",
        format_args!(
            "there is no database at {location}; name the right one, or begin with countersign serve or migrate"
        ),
    )
}

fn no_key(location: &Location) -> StartError {
    let mend = match location {
        Location::Sqlite(_) => format!(
            "there is no key at {}; bring it back, or make the first one of a new database with countersign serve or migrate",
            location.key_file().display()
        ),
        Location::Postgres(_) => "must be set to the key that the servers have".to_owned(),
    };
    StartError::setting("COUNTERSIGN_SECRET_KEY", mend)
}

/// Opens the database of these settings for reads alone.
pub async fn open_to_look(settings: &Settings) -> Result<(Store, Places), StartError> {
    let location = existing(settings).await?;
    let store = Store::open_read_only(&location).await?.ok_or_else(|| no_database(&location))?;
    let schema = store.read().await?.schema().await.map_err(|error| StartError::setting("DATABASE_URL", error))?;
    match (schema.last, schema.pending.len()) {
        (Some(_), 0) => Ok((store, Places { database: location.to_string(), key_file: None })),
        (last, pending) => Err(StartError::setting(
            "DATABASE_URL",
            format_args!(
                "{location} is at migration {}, {pending} behind this version; stop its servers and run countersign migrate, or do \
                 so on a copy of it",
                last.unwrap_or_default(),
            ),
        )),
    }
}

/// What a migration found and did.
pub struct Migrated {
    /// The last migration before; none when there was no schema.
    pub before: Option<i64>,
    /// The last one now.
    pub now: Option<i64>,
    /// The file of the secret key, if it was made.
    pub key_file: Option<PathBuf>,
}

/// Brings the schema of the database up to date; creates the database and, for SQLite, the key, when they do not exist. Servers
/// on one PostgreSQL are given the same key, which is therefore not made here.
pub async fn migrate(clock: &Clock, settings: &Settings) -> Result<Migrated, StartError> {
    let location: Location = settings.database.database_url.expose_secret().parse()?;
    let before = match Store::open_read_only(&location).await? {
        Some(store) => last_migration(store).await?,
        None => None,
    };
    let store = Store::open(&location, Durability::EachCommit, &mut Registry::default()).await?;
    let needs_key = matches!(location, Location::Sqlite(_)) && settings.database.secret_key.is_none();
    let key_file = location.key_file();
    let key_file =
        match needs_key && !key_file.exists() && store.read().await?.signing_keys(clock.now()).await?.is_empty() {
            true => SecretKey::from_file(&key_file, true).map(|_| Some(key_file))?,
            false => None,
        };
    Ok(Migrated { before, now: last_migration(store).await?, key_file })
}

async fn last_migration(store: Store) -> Result<Option<i64>, StartError> {
    let schema = store.read().await?.schema().await;
    store.close().await;
    Ok(schema.map_err(|error| StartError::setting("DATABASE_URL", error))?.last)
}
