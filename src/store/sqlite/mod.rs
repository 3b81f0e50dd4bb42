//! Opens a SQLite file.

pub mod backup;
pub mod bulk;
pub mod integrity;
pub mod open_file;
pub mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use prometheus_client::registry::Registry;
use sqlx::ConnectOptions;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::error::{Error, StartError};
use crate::private_file;
use crate::store::error::reason;
use crate::store::location::with_suffix;
use crate::store::sqlite::open_file::OpenFile;
use crate::store::sqlite::writer::WriterHandle;
use crate::store::{Invalidation, KnownLater, PATIENCE, Pools, Store, migrations};

/// The oldest SQLite without the bug that can corrupt a database when its write-ahead log is reset.
const OLDEST_SQLITE: &str = "3.51.3";

/// Connections that read the file at the same time; each has a thread. They are not in sqlx's pool, which makes a round trip
/// to that thread each time a connection is returned: that takes as long as reading the row did.
const READERS: usize = 4;

/// When a commit returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the disk has it.
    EachCommit,
    /// At once. [`Store::sync`] then waits for the disk: for work that is reported as a whole and can be repeated.
    AtSync,
}

/// Opens the file, creates it when it does not exist, and brings its schema up to date.
pub async fn open(path: &Path, durability: Durability, registry: &mut Registry) -> Result<Store, StartError> {
    let cannot = |error: sqlx::Error| cannot_open(path, &error);
    let cannot_io = |error: io::Error| cannot(error.into());
    // SQLite gives the write-ahead log and its index the mode of the file itself.
    create_private(path).and_then(|()| check_writable(path)).map_err(cannot_io)?;
    let file = OpenFile::at(path).map_err(cannot_io)?;
    // sqlx's own migration lock does nothing on SQLite, and ten servers may start on one empty file.
    let lock = lock_beside(path).await.map_err(cannot_io)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match durability {
            Durability::EachCommit => SqliteSynchronous::Full,
            // A power failure can lose the last commits, but leaves the file consistent.
            Durability::AtSync => SqliteSynchronous::Normal,
        })
        .foreign_keys(true)
        .busy_timeout(PATIENCE)
        // A checkpoint copies each page once, however often it was written since the last one. Four times the default.
        .pragma("wal_autocheckpoint", "4000")
        // After an import the log shrinks again.
        .pragma("journal_size_limit", "67108864")
        // The statement journal, which every savepoint needs: in a file, that would be one more write for each page.
        .pragma("temp_store", "MEMORY");
    let mut write = options.connect().await.map_err(cannot)?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut write).await.map_err(cannot)?;
    if numbers(&version) < numbers(OLDEST_SQLITE) {
        return Err(StartError(format!(
            "SQLite {version} can damage a database when it resets its log; build with SQLite {OLDEST_SQLITE} or newer"
        )));
    }
    migrations::SQLITE.run(&mut write).await.map_err(|error| match error {
        // The file is at fault, not its schema.
        MigrateError::Execute(fault) | MigrateError::ExecuteMigration(fault, _) if mend(&fault) != OTHER => {
            cannot(fault)
        }
        error => migrations::outdated(&error),
    })?;
    drop(lock);
    // 3 MB of the file for each reader, half as much again as the default: the index of ten million tokens is deep.
    let read_only = options.clone().pragma("query_only", "ON").pragma("cache_size", "-3000");
    let mut read = Vec::with_capacity(READERS);
    for _ in 0..READERS {
        read.push(read_only.connect().await.map_err(cannot)?);
    }
    // From here on the writer waits for the lock by itself.
    sqlx::query("PRAGMA busy_timeout = 0").execute(&mut write).await.map_err(cannot)?;
    let invalidation = Invalidation::of_file();
    // Without it, the first poll would find another version than none, and invalidate everything that was read before.
    let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut write).await;
    let version = version.map_err(cannot)?;
    file.check().map_err(cannot)?;
    let chain_key = KnownLater::default();
    let write = WriterHandle::start(
        (write, version),
        (options, file.clone()),
        registry,
        invalidation.clone(),
        chain_key.clone(),
    );
    Ok(Store { pools: Pools::Sqlite { write, read: read.into(), file }, invalidation, chain_key })
}

/// Opens a file for reads only, without a migration. None when the database does not exist yet.
pub async fn open_read_only(path: &Path) -> Result<Option<Store>, StartError> {
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_open(path, &error.into())),
        // What `touch` makes, and a server that stopped before its first write.
        Ok(file) if file.len() == 0 => return Ok(None),
        Ok(_) => {}
    }
    // Without a log no process has the file open, and SQLite would create one.
    let is_closed = !with_suffix(path, "-wal").exists();
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(is_closed);
    let cannot = |error: sqlx::Error| cannot_open(path, &error);
    let file = OpenFile::at(path).map_err(|error| cannot(error.into()))?;
    let reader = options.connect().await.map_err(cannot)?;
    let pools = Pools::Sqlite { write: WriterHandle::none(), read: [reader].into(), file };
    Ok(Some(Store { pools, invalidation: Invalidation::of_file(), chain_key: KnownLater::default() }))
}

fn cannot_open(path: &Path, error: &sqlx::Error) -> StartError {
    StartError::setting(
        "DATABASE_URL",
        format_args!("cannot open {} ({}); {}", path.display(), reason(error), mend(error)),
    )
}

/// What to do about a file that cannot be opened, by the error of the system or the result code of SQLite.
fn mend(error: &sqlx::Error) -> &'static str {
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    match error {
        sqlx::Error::Io(fault) if fault.kind() == io::ErrorKind::PermissionDenied => MAY_NOT,
        sqlx::Error::Io(fault) if fault.kind() == io::ErrorKind::StorageFull => FULL,
        sqlx::Error::Io(fault) if fault.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code)) => {
            "raise the limit of open files"
        }
        sqlx::Error::Database(fault) => {
            match fault.code().and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
                Some(7) => NO_MEMORY,
                Some(8) => MAY_NOT,
                Some(11 | 26) => "it is damaged or no SQLite database: restore a backup, or name another file",
                Some(13) => FULL,
                Some(14) => {
                    "name a SQLite file, or a new one, that this user may write; or raise the limit of open files"
                }
                _ => OTHER,
            }
        }
        _ => OTHER,
    }
}

const MAY_NOT: &str = "let this user write to it and to its folder, or name another file";
const FULL: &str = "free some space on its disk";
const NO_MEMORY: &str = "free some memory";
const OTHER: &str = "name a SQLite file, or a new one, that this user may write";

/// Makes sure that this user may write to a file: SQLite would open it for reads only and say so at the first write.
fn check_writable(path: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::access(path, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK)?;
    #[cfg(not(target_os = "linux"))]
    let _ = path;
    Ok(())
}

/// Waits until the file and its log have reached the disk.
pub fn sync(path: &Path) -> Result<(), Error> {
    for file in [&with_suffix(path, "-wal"), path] {
        match File::open(file).and_then(|file| file.sync_all()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => synced.map_err(|error| Error::Unavailable(error.into()))?,
        }
    }
    Ok(())
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Makes sure that the file exists and that only its owner may read and write it. An existing file is not opened: closing it
/// again would release the locks that SQLite may hold on it for this process.
fn create_private(path: &Path) -> io::Result<()> {
    match private_file::create_new(path) {
        // `sqlx migrate run` creates it with the mode of the shell.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => private_file::restrict(path),
        created => created.map(drop),
    }
}

/// Keeps every other Countersign from opening this database until the lock is dropped.
async fn lock_beside(path: &Path) -> io::Result<File> {
    let name = with_suffix(path, ".lock");
    create_private(&name)?;
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
