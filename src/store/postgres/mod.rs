//! Connects to PostgreSQL.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection};

use crate::error::StartError;
use crate::store::error::reason;
use crate::store::{Invalidation, KnownLater, PATIENCE, Pools, Store, migrations};

/// How long PostgreSQL may take to answer at the start.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Connections that only read, apart from those that write, so that writes which wait for each other do not hold up checks.
/// PostgreSQL takes 100 connections by default.
const READERS: u32 = 10;
const WRITERS: u32 = 6;

/// How long a transaction may be idle before PostgreSQL ends it.
const IDLE_TRANSACTION: &str = "5s";

/// Opens the database and brings its schema up to date.
pub async fn open(options: &PgConnectOptions) -> Result<Store, StartError> {
    let mut first = connect(options).await?;
    migrations::POSTGRES.run(&mut first).await.map_err(|error| migrations::outdated(&error))?;
    drop(first.close().await);
    let patience = format!("{}ms", PATIENCE.as_millis());
    let options = options.clone().options([
        ("lock_timeout", patience.as_str()),
        // A server that stops in the middle of a transaction must not stop the others with it.
        ("idle_in_transaction_session_timeout", IDLE_TRANSACTION),
    ]);
    let pool = |connections| {
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE);
        pool.connect_lazy_with(options.clone())
    };
    let pools = Pools::Postgres { write: pool(WRITERS), read: pool(READERS) };
    Ok(Store { pools, invalidation: Invalidation::of_server(), chain_key: KnownLater::default() })
}

/// Opens the database for reads only, without a migration.
pub async fn open_read_only(options: &PgConnectOptions) -> Result<Store, StartError> {
    drop(connect(options).await?.close().await);
    let options = options.clone().options([("default_transaction_read_only", "on")]);
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_lazy_with(options);
    let pools = Pools::Postgres { write: pool.clone(), read: pool };
    Ok(Store { pools, invalidation: Invalidation::of_server(), chain_key: KnownLater::default() })
}

/// A connection of its own for the start, which may take longer than a request would wait for one.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StartError> {
    let refused = |reason: &str| {
        StartError::setting(
            "DATABASE_URL",
            format_args!(
                "PostgreSQL at {} does not let us in ({reason}); start it, or correct the address, user and password",
                options.get_host(),
            ),
        )
    };
    let connected = tokio::time::timeout(START_PATIENCE, PgConnection::connect_with(options)).await;
    connected.map_err(|_| refused("no answer in time"))?.map_err(|error| refused(&reason(&error)))
}
