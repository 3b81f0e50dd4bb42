//! Opening what the service stands on: the database, the secret key and what is sealed with it.
//!
//! Rule: nothing is created before the settings were validated, and nothing is sealed with a secret key before it has opened what
//! is there. Threat: a wrong key that becomes part of a database.

use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;

use crate::auth::audit::chain;
use crate::auth::keys::Keys;
use crate::auth::{Durability, Places, SecretKey, Settings};
use crate::error::StartError;
use crate::model::{Clock, SealedKey};
use crate::store::{Location, Store};

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
    metrics: &mut Registry,
) -> Result<Opened, StartError> {
    let opened = open_with_any_trail(clock, settings, durability, metrics).await?;
    let key_is_proven = !opened.sealed.is_empty();
    chain::open(&opened.store, opened.secret.chain_key(), key_is_proven, clock.now()).await?;
    Ok(opened)
}

async fn open_with_any_trail(
    clock: &Clock,
    settings: &Settings,
    durability: Durability,
    metrics: &mut Registry,
) -> Result<Opened, StartError> {
    let mut location: Location = settings.database.database_url.expose_secret().parse()?;
    if let Some(url) = &settings.database.database_read_url {
        location = location.with_replica(url.expose_secret())?;
    }
    let given = settings.database.secret_key.as_ref().map(|key| SecretKey::parse(key.expose_secret())).transpose()?;
    settings.check()?;

    let store = Store::open(&location, durability, metrics).await?;
    let sealed = store.read().await?.signing_keys(clock.now()).await?;
    let (secret, key_file) = match given {
        Some(secret) => (secret, None),
        None => {
            let file = location.key_file();
            (SecretKey::from_file(&file, sealed.is_empty())?, Some(file))
        }
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
        open_with_any_trail(clock, settings, Durability::EachCommit, metrics).await?;
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

/// The SQLite database of these settings, if it exists.
pub async fn existing_file(settings: &Settings) -> Result<Option<String>, StartError> {
    let location: Location = settings.database.database_url.expose_secret().parse()?;
    let is_file = matches!(location, Location::Sqlite(_)) && Store::exists(&location).await?;
    Ok(is_file.then(|| location.to_string()))
}

/// Brings the schema of the database up to date; creates the database when it does not exist. Returns the last
/// migration before and after.
pub async fn migrate(settings: &Settings) -> Result<(Option<i64>, Option<i64>), StartError> {
    let location: Location = settings.database.database_url.expose_secret().parse()?;
    let before = match Store::open_read_only(&location).await? {
        Some(store) => last_migration(store).await?,
        None => None,
    };
    let now = Store::open(&location, Durability::EachCommit, &mut Registry::default()).await?;
    Ok((before, last_migration(now).await?))
}

async fn last_migration(store: Store) -> Result<Option<i64>, StartError> {
    let schema = store.read().await?.schema().await;
    store.close().await;
    Ok(schema.map_err(|error| StartError::setting("DATABASE_URL", error))?.last)
}
