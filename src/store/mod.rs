//! The only place that knows SQL.
//!
//! Every query is written once and runs on both stores: the macros below turn one text into two, which differ in a
//! leading comment, and check each against its own database through `sqlx-data.json` (see
//! `docs/decisions/0001-one-sql-text-two-stores.md`). Reads hang on [`Conn`], writes on [`Tx`], so a write outside a
//! transaction does not compile.

mod audit;
#[cfg(feature = "sqlite")]
mod backup;
mod changes;
mod counts;
#[cfg(test)]
mod every_order;
mod idempotency;
mod import;
mod inspection;
mod keys;
mod metrics;
mod open;
mod rotated_tokens;
mod schema;
mod sessions;
mod setup;
mod statuses;
mod tokens;
mod user_lists;
mod users;
#[cfg(feature = "sqlite")]
mod writer;

#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::{
    mem,
    ops::{Deref, DerefMut},
    sync::atomic,
    time::Duration,
};

use changes::Touched;
pub use changes::{Changes, Moment};

#[cfg(feature = "sqlite")]
use deadpool::unmanaged::{Object, Pool, PoolError};
#[cfg(feature = "sqlite")]
use sqlx::{Connection, SqliteConnection};
#[cfg(feature = "postgres")]
use sqlx::{PgPool, Postgres, Transaction, pool::PoolConnection};
use uuid::Uuid;

use crate::{error::Error, model::AuditRecord};

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
compile_error!("Countersign needs a store: turn on the feature `sqlite`, `postgres` or both");

/// How long a request waits for a connection, and then for another process to let go of the write lock: at most twice
/// this before it is told to come back.
const PATIENCE: Duration = Duration::from_millis(900);

/// The database, whichever it is.
#[derive(Clone, Debug)]
pub struct Store {
    pools: Pools,
    changes: Changes,
}

#[derive(Clone, Debug)]
enum Pools {
    /// SQLite has one writer at a time, so there is one connection for it, and others that only read.
    #[cfg(feature = "sqlite")]
    Sqlite { write: writer::Writer, read: Pool<SqliteConnection>, path: PathBuf },
    #[cfg(feature = "postgres")]
    Postgres { write: PgPool, read: PgPool },
}

/// How writes to SQLite reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitMode {
    /// Each before its commit returns, by itself.
    Alone,
    /// Each before its commit returns, together with those that come at the same time.
    Shared,
    /// All with [`Store::sync`], for work that is told of as one and can be done again.
    SyncedLater,
}

/// A connection to read with.
pub enum Conn {
    #[cfg(feature = "sqlite")]
    #[doc(hidden)]
    Sqlite(Held<Object<SqliteConnection>, writer::Turn>),
    #[cfg(feature = "postgres")]
    #[doc(hidden)]
    Postgres(Held<PoolConnection<Postgres>, Transaction<'static, Postgres>>),
}

/// A transaction to write in. Dropped without [`Tx::commit`], it leaves no trace.
pub struct Tx {
    conn: Conn,
    touched: Touched,
    records: Vec<AuditRecord>,
    #[cfg(feature = "postgres")]
    changes: Changes,
}

/// A connection, held to read with or in a transaction.
#[doc(hidden)]
pub enum Held<R, W> {
    Plain(R),
    Tx(W),
}

impl Store {
    /// A connection to read with. It goes back when dropped: do not hold it across a password hash.
    pub async fn read(&self) -> Result<Conn, Error> {
        Ok(match &self.pools {
            #[cfg(feature = "sqlite")]
            Pools::Sqlite { read, .. } => Conn::Sqlite(Held::Plain(
                tokio::time::timeout(PATIENCE, read.get()).await.unwrap_or(Err(PoolError::Timeout))?,
            )),
            // Here the connection is asked whether it still lives.
            #[cfg(feature = "postgres")]
            Pools::Postgres { read, .. } => Conn::Postgres(Held::Plain(Box::pin(read.acquire()).await?)),
        })
    }

    /// A transaction to write in. Run it in a task of its own (`Auth::finish`), for a handler is dropped when its client
    /// goes away and would cut it off in the middle.
    pub async fn write(&self) -> Result<Tx, Error> {
        let conn = match &self.pools {
            #[cfg(feature = "sqlite")]
            Pools::Sqlite { write, .. } => Conn::Sqlite(Held::Tx(write.turn().await?)),
            #[cfg(feature = "postgres")]
            Pools::Postgres { write, .. } => Conn::Postgres(Held::Tx(Box::pin(write.begin()).await?)),
        };
        Ok(self.transaction(conn))
    }

    /// A transaction for one statement that writes, and records. With SQLite it is the cheapest there is; whoever drops it
    /// after the statement takes those along who share its commit.
    pub async fn write_one(&self) -> Result<Tx, Error> {
        match &self.pools {
            #[cfg(feature = "sqlite")]
            Pools::Sqlite { write, .. } => Ok(self.transaction(Conn::Sqlite(Held::Tx(write.turn_for_one().await?)))),
            #[cfg(feature = "postgres")]
            Pools::Postgres { .. } => self.write().await,
        }
    }

    /// A transaction to write much in, which with SQLite shares its commit with nobody.
    pub async fn write_alone(&self) -> Result<Tx, Error> {
        match &self.pools {
            #[cfg(feature = "sqlite")]
            Pools::Sqlite { write, .. } => Ok(self.transaction(Conn::Sqlite(Held::Tx(write.turn_alone().await?)))),
            #[cfg(feature = "postgres")]
            Pools::Postgres { .. } => self.write().await,
        }
    }

    fn transaction(&self, conn: Conn) -> Tx {
        Tx {
            conn,
            touched: Touched::default(),
            records: Vec::new(),
            #[cfg(feature = "postgres")]
            changes: self.changes.clone(),
        }
    }

    /// What has changed since it was read, for whoever keeps it.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Hears of what other processes have changed, now and not in a moment.
    pub async fn look(&self) -> Result<(), Error> {
        match &self.pools {
            // Whoever gets the turn to write knows what the file is.
            #[cfg(feature = "sqlite")]
            Pools::Sqlite { write, .. } => write.turn().await.map(drop),
            #[cfg(feature = "postgres")]
            Pools::Postgres { .. } => {
                self.changes.note_all();
                Ok(())
            }
        }
    }

    /// Waits until the files have reached the disk. To be called when the store is closed: SQLite would lose the locks that
    /// this process has on them.
    pub fn sync(&self) -> Result<(), Error> {
        match &self.pools {
            #[cfg(feature = "sqlite")]
            Pools::Sqlite { path, .. } => {
                let mut log = path.as_os_str().to_owned();
                log.push("-wal");
                for file in [log, path.as_os_str().to_owned()] {
                    match std::fs::File::open(file).and_then(|file| file.sync_all()) {
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        synced => synced.map_err(|error| Error::Unavailable(error.into()))?,
                    }
                }
            }
            #[cfg(feature = "postgres")]
            Pools::Postgres { .. } => {}
        }
        Ok(())
    }

    /// Waits until every connection is given back, then closes them.
    pub async fn close(&self) {
        match &self.pools {
            #[cfg(feature = "sqlite")]
            Pools::Sqlite { write, read, .. } => {
                while read.status().size > 0 {
                    let Ok(connection) = read.remove().await else { break };
                    let _broken = connection.close().await;
                }
                read.close();
                write.close().await;
            }
            #[cfg(feature = "postgres")]
            Pools::Postgres { write, read } => {
                read.close().await;
                write.close().await;
            }
        }
    }
}

impl Tx {
    /// Makes what was written stay; when this returns, it is on the disk, and so is what was read: with SQLite, what others
    /// have written whose commit is on its way. Who finds something done and says so commits first, also when there was
    /// nothing left to write.
    pub async fn commit(mut self) -> Result<(), Error> {
        if !self.conn.shares_commit() {
            self.conn.append_audit(mem::take(&mut self.records)).await?;
        }
        match self.conn {
            // The writer counts what was touched, for the whole group before anyone of it hears.
            #[cfg(feature = "sqlite")]
            Conn::Sqlite(Held::Tx(turn)) => turn.commit(self.touched, self.records).await,
            #[cfg(feature = "postgres")]
            Conn::Postgres(Held::Tx(tx)) => {
                let done = tx.commit().await;
                // Whatever came of it: an answer that was lost may have been yes.
                self.changes.note(self.touched);
                Ok(done?)
            }
            _ => unreachable!("a Tx holds a transaction"),
        }
    }

    /// Says that something of this user, session or personal token is changed here that others may keep in memory. To be
    /// said whether there is such a one or not: who finds that another was quicker answers as if they had done it.
    fn touch(&mut self, id: impl Into<Uuid>) {
        self.touched.add(id.into());
    }

    /// Says the same of all there are.
    fn touch_all(&mut self) {
        self.touched.add_all();
    }
}

impl Deref for Tx {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

impl<C, R: Deref<Target = C>, W: Deref<Target = C>> Deref for Held<R, W> {
    type Target = C;
    fn deref(&self) -> &C {
        match self {
            Self::Plain(conn) => conn,
            Self::Tx(tx) => tx,
        }
    }
}

impl<C, R: DerefMut<Target = C>, W: DerefMut<Target = C>> DerefMut for Held<R, W> {
    fn deref_mut(&mut self) -> &mut C {
        match self {
            Self::Plain(conn) => conn,
            Self::Tx(tx) => tx,
        }
    }
}

/// One text, both stores: hands `query_*!` the text with the store's name before it. `$conn` is a `&mut Conn`; the text
/// may be several literals joined by `+`.
macro_rules! on_each_store {
    ($conn:expr, $query:ident { $($row:tt)* } { $($sql:tt)* } { $($args:tt)* } $fetch:ident) => {
        match $conn {
            #[cfg(feature = "sqlite")]
            $crate::store::Conn::Sqlite(conn) => {
                sqlx::$query!($($row)* "/* sqlite */ " + $($sql)* $($args)*).$fetch(&mut **conn).await
            }
            #[cfg(feature = "postgres")]
            $crate::store::Conn::Postgres(conn) => {
                sqlx::$query!($($row)* "/* postgres */ " + $($sql)* $($args)*).$fetch(&mut **conn).await
            }
        }
    };
}

/// The row, or none: `fetch_optional!(conn, Row, "SELECT …", args…)`.
macro_rules! fetch_optional {
    ($conn:expr, $Row:path, $sql:tt $(+ $more:tt)* $(, $arg:expr)* $(,)?) => {
        $crate::store::on_each_store!($conn, query_as { $Row, } { $sql $(+ $more)* } { $(, $arg)* } fetch_optional)
    };
}

/// All rows: `fetch_all!(conn, Row, "SELECT …", args…)`.
macro_rules! fetch_all {
    ($conn:expr, $Row:path, $sql:tt $(+ $more:tt)* $(, $arg:expr)* $(,)?) => {
        $crate::store::on_each_store!($conn, query_as { $Row, } { $sql $(+ $more)* } { $(, $arg)* } fetch_all)
    };
}

/// One value of one row: `fetch_scalar!(conn, "SELECT …", args…)`.
macro_rules! fetch_scalar {
    ($conn:expr, $sql:tt $(+ $more:tt)* $(, $arg:expr)* $(,)?) => {
        $crate::store::on_each_store!($conn, query_scalar {} { $sql $(+ $more)* } { $(, $arg)* } fetch_one)
    };
}

/// Runs a statement and gives the number of rows it touched: `execute!(conn, "UPDATE …", args…)`.
macro_rules! execute {
    ($conn:expr, $sql:tt $(+ $more:tt)* $(, $arg:expr)* $(,)?) => {
        match $conn {
            #[cfg(feature = "sqlite")]
            $crate::store::Conn::Sqlite(conn) => sqlx::query!("/* sqlite */ " + $sql $(+ $more)* $(, $arg)*)
                .execute(&mut **conn)
                .await
                .map(|done| done.rows_affected()),
            #[cfg(feature = "postgres")]
            $crate::store::Conn::Postgres(conn) => sqlx::query!("/* postgres */ " + $sql $(+ $more)* $(, $arg)*)
                .execute(&mut **conn)
                .await
                .map(|done| done.rows_affected()),
        }
    };
}

#[cfg(feature = "sqlite")]
pub use backup::{SoundCopy, back_up};
pub use import::PackedUsers;
pub use open::Location;
pub use schema::Schema;
use {execute, fetch_all, fetch_optional, fetch_scalar, on_each_store};

/// Uses of sessions or tokens, as a statement of SQLite reads them: `[["id in hex", milliseconds], …]`.
#[cfg(feature = "sqlite")]
fn json_of_uses(uses: impl Iterator<Item = (Uuid, crate::model::Timestamp)>) -> String {
    let uses = uses.map(|(id, at)| serde_json::json!([id.simple().to_string(), at.0]));
    uses.collect::<serde_json::Value>().to_string()
}

impl Conn {
    /// Whether someone else commits what is done here, with the work of others, and appends the records of all.
    fn shares_commit(&self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(Held::Tx(turn)) => turn.shares_commit(),
            _ => false,
        }
    }

    /// Whether the database answers, from its tables and not from memory.
    pub async fn ping(&mut self) -> Result<(), Error> {
        fetch_scalar!(self, r#"SELECT EXISTS (SELECT 1 FROM setup) AS "awaits_admin!: bool""#)?;
        Ok(())
    }
}

#[cfg(feature = "sqlite")]
impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Tells a database that is away or busy, which passes, from a fault, which does not.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let passing = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => true,
            sqlx::Error::Database(fault) => fault.code().is_some_and(|code| is_passing(&code)),
            _ => false,
        };
        if passing { Self::Unavailable(error.into()) } else { Self::Internal(error.into()) }
    }
}

/// Whether a database's error code says that it cannot now, not that it was asked wrongly. SQLite gives its extended
/// result code, whose low byte is the kind; PostgreSQL a SQLSTATE, whose first two characters are the class.
fn is_passing(code: &str) -> bool {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const READ_ONLY: u32 = 8;
    const IO: u32 = 10;
    const FULL: u32 = 13;
    const CANNOT_OPEN: u32 = 14;
    // Connection lost, rolled back for another's sake, out of resources, shut down by an operator, fault of the machine.
    const CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];
    const LOCK_TIMEOUT: &str = "55P03";
    if code.len() == 5 {
        return CLASSES.iter().any(|class| code.starts_with(class)) || ["25006", LOCK_TIMEOUT].contains(&code);
    }
    matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(BUSY | LOCKED | READ_ONLY | IO | FULL | CANNOT_OPEN))
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
