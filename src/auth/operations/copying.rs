//! Moving a whole installation from one database to another.
//!
//! Rule: only an empty database is filled, and only with the secret key that opens what is moved. Threat: a trail of what happened
//! that ends at the move, and a server that cannot open its signing keys afterwards.

use prometheus_client::registry::Registry;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::keys::Keys;
use crate::auth::keys::sealing::SecretKey;
use crate::auth::{Actor, Auth, ChainReport, Settings};
use crate::error::StartError;
use crate::model::{Clock, Event};
use crate::store::{self, Durability, Location, Store};

/// What was moved.
#[derive(Debug)]
pub struct Copied {
    /// How many rows of each table.
    pub tables: Vec<(&'static str, u64)>,
    /// The chain of the audit trail where it is now, before the record of the move.
    pub chain: ChainReport,
    /// Where the new database is.
    pub database: String,
    /// The file with the secret key, which every server of the new database needs; none when the key is a setting.
    pub key_file: Option<String>,
}

/// Copies everything that the database of the settings holds into this empty one, and records that there. `progress` hears how
/// many rows of a table were read so far.
pub async fn copy(
    clock: &Clock,
    settings: &Settings,
    to: &SecretString,
    progress: impl FnMut(&'static str, u64),
) -> Result<Copied, StartError> {
    let from: Location = settings.database.database_url.expose_secret().parse()?;
    let target: Location = to.expose_secret().parse().map_err(|error| at_target(&error))?;
    for location in [&from, &target] {
        if matches!(location, Location::Postgres(server) if server.has_pooler) {
            let why = "a copy needs connections of its own; name PostgreSQL itself, without a pooler in between";
            return Err(StartError(why.to_owned()));
        }
    }
    let source = Store::open_read_only(&from).await?;
    let source = source.ok_or_else(|| StartError(format!("there is no database at {from}; name one with --from")))?;
    let mut conn = source.read().await?;
    if !conn.schema().await?.is_up_to_date() {
        let why = format!("the schema of {from} is not that of this version; run countersign migrate on it first");
        return Err(StartError(why));
    }
    let sealed = conn.signing_keys(clock.now()).await?;
    drop(conn);
    source.close().await;
    let mut settings = settings.clone();
    let (key, key_file): (SecretString, _) = match settings.database.secret_key.take() {
        Some(key) => (key, None),
        None => {
            let file = from.key_file();
            let text = std::fs::read_to_string(&file);
            let text = text.map_err(|error| StartError(format!("{} cannot be read: {error}", file.display())))?;
            (text.trim().into(), Some(file.display().to_string()))
        }
    };
    Keys::open(&sealed, &SecretKey::parse(key.expose_secret())?, &settings)?;

    let opened = Store::open(&target, Durability::EachCommit, &mut Registry::default()).await;
    opened.map_err(|error| at_target(&error))?.close().await;
    let tables = store::copy(&from, &target, progress).await.map_err(|error| StartError(error.to_string()))?;

    settings.database.database_url = to.clone();
    settings.database.database_read_url = None;
    // The file lies beside the old database.
    settings.database.secret_key = Some(key);
    let auth = Auth::start_beside(clock.clone(), settings, Durability::EachCommit).await?;
    let chain = auth.verify_audit().await?;
    let mut tx = auth.store.write().await?;
    tx.record(Actor::Operator.did(Event::DatabaseCopied, clock.now()).to(&from));
    tx.commit().await?;
    auth.stop().await;
    Ok(Copied { tables, chain, database: target.to_string(), key_file })
}

/// The target is no setting, though the fault is that of one.
fn at_target(error: &StartError) -> StartError {
    StartError(format!("--to: {}", error.0.trim_start_matches("DATABASE_URL: ")))
}
