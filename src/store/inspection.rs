//! A look at a database that changes nothing and makes nothing: no file, no migration, no mode.

#[cfg(feature = "sqlite")]
use std::path::Path;

#[cfg(feature = "sqlite")]
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

#[cfg(feature = "sqlite")]
use super::writer::Writer;
use super::{Changes, Location, PATIENCE, Pools, Store, open};
use crate::error::StartError;

impl Store {
    /// Opens a database to look at it. None when it has not been made.
    pub async fn open_to_look(location: &Location) -> Result<Option<Self>, StartError> {
        match location {
            #[cfg(feature = "sqlite")]
            Location::Sqlite(path) => look_at_sqlite(path).await,
            #[cfg(feature = "postgres")]
            Location::Postgres(options) => {
                use sqlx::Connection;
                drop(open::connect_postgres(options).await?.close().await);
                let options = options.clone().options([("default_transaction_read_only", "on")]);
                let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE);
                let pool = pool.connect_lazy_with(options);
                let pools = Pools::Postgres { write: pool.clone(), read: pool };
                Ok(Some(Self { pools, changes: Changes::of_server() }))
            }
        }
    }
}

#[cfg(feature = "sqlite")]
async fn look_at_sqlite(path: &Path) -> Result<Option<Store>, StartError> {
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open::cannot_open(path, &error)),
        // What `touch` makes, and a server that stopped just there.
        Ok(file) if file.len() == 0 => return Ok(None),
        Ok(_) => {}
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // Without a log nobody has it open, and SQLite would make one.
    let is_closed = !Path::new(&log).exists();
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(is_closed);
    let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(PATIENCE);
    let pool = pool.connect_with(options).await.map_err(|error| open::cannot_open(path, &open::plain(&error)))?;
    let pools = Pools::Sqlite { write: Writer::none(), read: pool, path: path.to_owned() };
    Ok(Some(Store { pools, changes: Changes::of_file() }))
}
