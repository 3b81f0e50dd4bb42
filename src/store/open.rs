//! Connects, brings the schema up to date, and says in one sentence what stands in the way when it cannot.

#[cfg(feature = "sqlite")]
use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};
use std::{path::PathBuf, str::FromStr, time::Duration};

use prometheus_client::registry::Registry;
use sqlx::migrate::{MigrateError, Migrator};
#[cfg(feature = "sqlite")]
use sqlx::{
    ConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
#[cfg(feature = "postgres")]
use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

#[cfg(feature = "sqlite")]
use super::writer::Writer;
use super::{Changes, CommitMode, PATIENCE, Pools, Store, schema};
use crate::error::StartError;

#[cfg(feature = "sqlite")]
pub(super) static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("./migrations");
#[cfg(feature = "postgres")]
pub(super) static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

/// The oldest SQLite without the bug that can corrupt a database when its write-ahead log is reset.
#[cfg(feature = "sqlite")]
const OLDEST_SQLITE: &str = "3.51.3";

/// Connections that read a SQLite file at the same time; each is a thread. They do not lie in sqlx's pool: that asks its
/// thread whether it is there each time one is given back, which is as long as the row took to read.
#[cfg(feature = "sqlite")]
const SQLITE_READERS: usize = 4;

/// How long PostgreSQL may take to answer at the start.
#[cfg(feature = "postgres")]
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Connections to PostgreSQL, which has 100 to give by default: some that only read, so that writes which wait for each
/// other do not hold up checks.
#[cfg(feature = "postgres")]
const POSTGRES_READERS: u32 = 10;
#[cfg(feature = "postgres")]
const POSTGRES_WRITERS: u32 = 6;

/// How long a transaction may lie idle before PostgreSQL ends it.
#[cfg(feature = "postgres")]
const STUCK_TRANSACTION: &str = "5s";

/// Where the data is, from `DATABASE_URL`. It shows itself without the password.
#[derive(Clone)]
pub enum Location {
    /// A file.
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
    /// A server.
    #[cfg(feature = "postgres")]
    Postgres(Box<PgConnectOptions>),
}

impl FromStr for Location {
    type Err = StartError;

    fn from_str(url: &str) -> Result<Self, StartError> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            #[cfg(feature = "sqlite")]
            "sqlite" => {
                let options = SqliteConnectOptions::from_str(url).map_err(|_| malformed())?;
                let path = options.get_filename();
                let name = path.to_string_lossy();
                // Each connection would have a memory of its own.
                if name.is_empty() || name.contains(":memory:") || name.starts_with("file:sqlx-in-memory") {
                    return Err(StartError::setting(
                        "DATABASE_URL",
                        "an in-memory database cannot hold users; name a file, such as sqlite://countersign.db",
                    ));
                }
                // A whole path, for whoever reads at the start where their data is.
                Ok(Self::Sqlite(std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())))
            }
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                let options = PgConnectOptions::from_str(url).map_err(|_| malformed())?;
                Ok(Self::Postgres(Box::new(options.application_name("countersign"))))
            }
            _ => Err(malformed()),
        }
    }
}

impl Location {
    /// The files that hold the data. PostgreSQL has them elsewhere.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => ["", "-wal", "-shm"].map(|end| with_suffix(path, end)).into(),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Vec::new(),
        }
    }

    /// Where the secret key lies unless it is given: beside the file, or in this folder.
    pub fn key_file(&self) -> PathBuf {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => path.with_extension("key"),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => PathBuf::from("countersign.key"),
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => path.display().fmt(f),
            #[cfg(feature = "postgres")]
            Self::Postgres(options) => {
                let host = options.get_socket().map_or(options.get_host().into(), |socket| socket.to_string_lossy());
                write!(f, "PostgreSQL at {host}, database {}", options.get_database().unwrap_or("of the user"))
            }
        }
    }
}

fn malformed() -> StartError {
    let known = match (cfg!(feature = "sqlite"), cfg!(feature = "postgres")) {
        (true, true) => "sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE",
        (true, false) => "sqlite://FILE (this build has no PostgreSQL)",
        _ => "postgres://USER:PASSWORD@HOST/DATABASE (this build has no SQLite)",
    };
    StartError::setting("DATABASE_URL", format_args!("not an address of a database; write {known}"))
}

impl Store {
    /// Opens the database, making it when it is not there, and brings its schema up to date. `commits` says
    /// how writes to SQLite reach the disk; PostgreSQL sees to that itself. What is counted goes into the registry.
    #[cfg_attr(not(feature = "sqlite"), expect(unused_variables))]
    pub async fn open(location: &Location, commits: CommitMode, registry: &mut Registry) -> Result<Self, StartError> {
        let store = match location {
            #[cfg(feature = "sqlite")]
            Location::Sqlite(path) => open_sqlite(path, commits, registry).await?,
            #[cfg(feature = "postgres")]
            Location::Postgres(options) => open_postgres(options).await?,
        };
        registry.register_collector(Box::new(store.pools.clone()));
        Ok(store)
    }
}

#[cfg(feature = "sqlite")]
pub(super) fn cannot_open(path: &Path, error: &dyn std::fmt::Display) -> StartError {
    StartError::setting(
        "DATABASE_URL",
        format_args!(
            "cannot open {} ({error}); name a SQLite file, or a new one, that this user may write",
            path.display()
        ),
    )
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(path: &Path, commits: CommitMode, registry: &mut Registry) -> Result<Store, StartError> {
    let cannot = |error: &dyn std::fmt::Display| cannot_open(path, error);
    // SQLite gives the log and the index beside it the mode of the file itself.
    make_private(path).map_err(|error| cannot(&error))?;
    // sqlx's own migration lock does nothing on SQLite, and ten servers may start on one empty file.
    let lock = lock_beside(path).await.map_err(|error| cannot(&error))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match commits {
            CommitMode::Alone | CommitMode::Shared => SqliteSynchronous::Full,
            // Whole and in order all the same, whenever the machine goes down.
            CommitMode::SyncedLater => SqliteSynchronous::Normal,
        })
        .foreign_keys(true)
        .busy_timeout(PATIENCE)
        // A page that is written again and again goes to the file once for so many pages of the log: four times the default.
        .pragma("wal_autocheckpoint", "4000")
        // After an import the log does not stay as large as it was.
        .pragma("journal_size_limit", "67108864")
        // Where SQLite notes the pages as they were before each statement and savepoint; in a file, that is a write a page.
        .pragma("temp_store", "MEMORY");
    let mut write = options.connect().await.map_err(|error| cannot(&plain(&error)))?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut write)
        .await
        .map_err(|error| cannot(&plain(&error)))?;
    if numbers(&version) < numbers(OLDEST_SQLITE) {
        return Err(StartError(format!(
            "SQLite {version} can damage a database when it resets its log; build with SQLite {OLDEST_SQLITE} or newer"
        )));
    }
    SQLITE_MIGRATIONS.run(&mut write).await.map_err(|error| outdated(&error))?;
    drop(lock);
    // Each keeps some 3 MB of the file, half as much again as the default: ten million tokens have long ways to them.
    let read_only = options.clone().pragma("query_only", "ON").pragma("cache_size", "-3000");
    let mut read = Vec::with_capacity(SQLITE_READERS);
    for _ in 0..SQLITE_READERS {
        read.push(read_only.connect().await.map_err(|error| cannot(&plain(&error)))?);
    }
    // From here on the writer has patience of its own.
    sqlx::query("PRAGMA busy_timeout = 0").execute(&mut write).await.map_err(|error| cannot(&plain(&error)))?;
    let changes = Changes::of_file();
    // Else the first look would find the file changed, and everything read before it old.
    let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut write).await;
    let version = version.map_err(|error| cannot(&plain(&error)))?;
    let write = Writer::start((write, version), options, commits != CommitMode::Alone, registry, changes.clone());
    Ok(Store { pools: Pools::Sqlite { write, read: read.into(), path: path.to_owned() }, changes })
}

/// A connection of its own for the start: it may take longer than a request would wait for one.
#[cfg(feature = "postgres")]
pub(super) async fn connect_postgres(options: &PgConnectOptions) -> Result<PgConnection, StartError> {
    let cannot = |reason: &str| {
        StartError::setting(
            "DATABASE_URL",
            format_args!(
                "PostgreSQL at {} does not let us in ({reason}); start it, or correct the address, user and password",
                options.get_host(),
            ),
        )
    };
    let connected = tokio::time::timeout(START_PATIENCE, PgConnection::connect_with(options)).await;
    connected.map_err(|_| cannot("no answer in time"))?.map_err(|error| cannot(&plain(&error)))
}

#[cfg(feature = "postgres")]
async fn open_postgres(options: &PgConnectOptions) -> Result<Store, StartError> {
    let mut first = connect_postgres(options).await?;
    POSTGRES_MIGRATIONS.run(&mut first).await.map_err(|error| outdated(&error))?;
    drop(first.close().await);
    // A server that stops in the middle of a transaction must not stop the others with it.
    let patience = format!("{}ms", PATIENCE.as_millis());
    let options = options
        .clone()
        .options([("lock_timeout", patience.as_str()), ("idle_in_transaction_session_timeout", STUCK_TRANSACTION)]);
    let pool = |connections| {
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE);
        pool.connect_lazy_with(options.clone())
    };
    let pools = Pools::Postgres { write: pool(POSTGRES_WRITERS), read: pool(POSTGRES_READERS) };
    Ok(Store { pools, changes: Changes::of_server() })
}

/// The reason without sqlx's preamble.
pub(super) fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(fault) => fault.message().to_owned(),
        sqlx::Error::Io(fault) => fault.to_string(),
        sqlx::Error::PoolTimedOut => "no answer in time".to_owned(),
        other => other.to_string(),
    }
}

/// Why the schema cannot be brought up to date.
fn outdated(error: &MigrateError) -> StartError {
    StartError::setting("DATABASE_URL", schema::fault(error))
}

#[cfg(feature = "sqlite")]
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Makes sure that the file is there and that only its owner may read and write it. A file that is there is not opened:
/// closing it again would take from SQLite the locks this process may have on it.
#[cfg(feature = "sqlite")]
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => return made.map(drop),
    }
    #[cfg(unix)]
    {
        use std::{fs, os::unix::fs::PermissionsExt};
        // `sqlx migrate run` makes it with the mode of the shell.
        if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

/// What lies beside a file, or begins like it.
#[cfg(feature = "sqlite")]
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Holds every other Countersign off this database until dropped.
#[cfg(feature = "sqlite")]
async fn lock_beside(path: &Path) -> std::io::Result<File> {
    let name = with_suffix(path, ".lock");
    make_private(&name)?;
    let file = OpenOptions::new().write(true).open(&name)?;
    let mut waiting = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if !waiting => {
                waiting = true;
                tracing::info!("another Countersign is opening this database; waiting until it has");
            }
            Err(TryLockError::WouldBlock) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
