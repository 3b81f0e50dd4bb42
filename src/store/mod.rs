//! The only place that knows SQL.
//!
//! This file has the types: [`Store`] is the database, [`Conn`] a connection to read with, [`Tx`] a transaction to write in.
//! Reads are methods of [`Conn`] and writes are methods of [`Tx`], so a write outside a transaction does not compile. Each
//! file in `tables/` is one table. `query.rs` has the macros that every query is written with, and a worked example.

mod commit;
mod copying;
mod error;
mod invalidation;
mod location;
mod metrics;
mod migrations;
mod postgres;
mod query;
mod read_only;
mod sqlite;
mod tables;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deadpool::unmanaged::{Object, Pool, PoolError};
use prometheus_client::registry::Registry;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, SqliteConnection};
use tokio_util::task::AbortOnDropHandle;

pub use self::copying::{CopyError, copy};
use self::invalidation::Invalidated;
pub use self::invalidation::{Invalidation, ReadVersion};
pub use self::location::Location;
pub use self::migrations::Schema;
use self::postgres::{Begin, Cluster};
pub use self::sqlite::Durability;
pub use self::sqlite::backup::{VerifiedCopy, back_up};
use self::sqlite::open_file::OpenFile;
use self::sqlite::writer::{Lease, WriterHandle};
pub use self::tables::servers::Agreement;
pub use self::tables::user_columns::PackedUsers;
use crate::error::{Error, StartError};
use crate::model::{AuditRecord, ChainKey};

/// How long a request waits for a connection, and then for another process to release the write lock. A request therefore
/// waits for at most twice this before it is answered with 503.
const PATIENCE: Duration = Duration::from_millis(900);

/// The database, whichever it is. Cloning it gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Store {
    pools: Pools,
    invalidation: Invalidation,
    chain_key: KnownLater<ChainKey>,
}

/// What is set once, after the store was opened: the key may lie beside a database that has to be found first.
type KnownLater<T> = Arc<OnceLock<T>>;

#[derive(Clone, Debug)]
enum Pools {
    /// SQLite has one writer at a time, so there is one connection that writes, and others that only read.
    Sqlite { write: WriterHandle, read: Pool<SqliteConnection>, file: OpenFile },
    Postgres {
        write: PgPool,
        read: PgPool,
        cluster: Cluster,
        begin: &'static Begin,
        /// What hears of the changes of other servers, until the last handle to the store is dropped.
        line: Option<Arc<AbortOnDropHandle<()>>>,
    },
}

/// A connection as its driver knows it: what a query runs on.
pub enum Driver<'c> {
    #[doc(hidden)]
    Sqlite(&'c mut SqliteConnection),
    #[doc(hidden)]
    Postgres(&'c mut PgConnection),
}

impl Driver<'_> {
    /// The same for a shorter time.
    fn driver(&mut self) -> Driver<'_> {
        match self {
            Self::Sqlite(connection) => Driver::Sqlite(connection),
            Self::Postgres(connection) => Driver::Postgres(connection),
        }
    }
}

/// What a query can run on: a pooled connection, or a transaction.
pub trait Connection {
    /// The connection, for one query.
    fn driver(&mut self) -> Driver<'_>;
}

/// A connection to read with. Every query that reads is a method of this type.
pub struct Conn<C = Pooled>(C);

impl<C: Connection> Conn<C> {
    fn driver(&mut self) -> Driver<'_> {
        self.0.driver()
    }
}

/// A connection that goes back to its pool when dropped.
pub enum Pooled {
    #[doc(hidden)]
    Sqlite(Object<SqliteConnection>),
    #[doc(hidden)]
    Postgres(PoolConnection<Postgres>),
    #[doc(hidden)]
    PostgresTransaction(sqlx::Transaction<'static, Postgres>),
}

impl Connection for Pooled {
    fn driver(&mut self) -> Driver<'_> {
        match self {
            Self::Sqlite(connection) => Driver::Sqlite(connection),
            Self::Postgres(connection) => Driver::Postgres(connection),
            Self::PostgresTransaction(transaction) => Driver::Postgres(transaction),
        }
    }
}

/// A transaction as its store knows it. It is rolled back when dropped.
pub enum Transaction {
    #[doc(hidden)]
    Sqlite(Lease),
    #[doc(hidden)]
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Connection for Transaction {
    fn driver(&mut self) -> Driver<'_> {
        match self {
            Self::Sqlite(lease) => Driver::Sqlite(lease),
            Self::Postgres(transaction) => Driver::Postgres(transaction),
        }
    }
}

/// A transaction to write in. Every query that writes is a method of this type. Dropped without [`Tx::commit`], it leaves
/// no trace.
pub struct Tx {
    conn: Conn<Transaction>,
    invalidated: Invalidated,
    records: Vec<AuditRecord>,
    invalidation: Invalidation,
    chain_key: KnownLater<ChainKey>,
    cluster: Cluster,
}

/// A transaction can read, too.
impl Deref for Tx {
    type Target = Conn<Transaction>;
    fn deref(&self) -> &Self::Target {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.conn
    }
}

impl Store {
    /// Opens the database, creates it when it does not exist, and brings its schema up to date. `durability` says how writes
    /// to SQLite reach the disk; PostgreSQL decides that by its own settings. Metrics are added to `registry`.
    pub async fn open(
        location: &Location,
        durability: Durability,
        registry: &mut Registry,
    ) -> Result<Self, StartError> {
        let store = match location {
            Location::Sqlite(path) => sqlite::open(path, durability, registry).await?,
            Location::Postgres(server) => postgres::open(server).await?,
        };
        registry.register_collector(Box::new(store.pools.clone()));
        Ok(store)
    }

    /// A connection to read with. It goes back to the pool when dropped: do not hold it across a password hash.
    pub async fn read(&self) -> Result<Conn, Error> {
        Ok(Conn(match &self.pools {
            Pools::Sqlite { read, file, .. } => {
                file.check()?;
                Pooled::Sqlite(tokio::time::timeout(PATIENCE, read.get()).await.unwrap_or(Err(PoolError::Timeout))?)
            }
            // The pool checks that the connection is alive. Boxed, because this future is large and seldom needed.
            Pools::Postgres { read, begin: Begin { to_read: None, .. }, .. } => {
                Pooled::Postgres(Box::pin(read.acquire()).await?)
            }
            Pools::Postgres { read, begin: Begin { to_read: Some(begin), .. }, .. } => {
                Pooled::PostgresTransaction(Box::pin(query::in_time(read.begin_with(*begin))).await?)
            }
        }))
    }

    /// What a query finds on a read replica that is as new as the cache, if there is one. What it does not find may only not have
    /// come there yet.
    pub async fn ask_replica<T, F>(&self, query: impl FnOnce(Conn) -> F) -> Option<T>
    where
        F: Future<Output = Result<Option<T>, Error>>,
    {
        let Pools::Postgres { cluster: Cluster { replica: Some(replica), .. }, .. } = &self.pools else { return None };
        // Whether the server has lately heard of all changes.
        if !self.invalidation.unchanged_since(self.invalidation.read_version(), []) {
            return None;
        }
        replica.ask(query).await
    }

    /// A transaction to write in. On SQLite it may share its commit with other transactions. Run it in a task of its own
    /// (`Auth::finish`): axum drops a handler when its client disconnects, which would cut the transaction at an await.
    pub async fn write(&self) -> Result<Tx, Error> {
        Ok(self.transaction(match &self.pools {
            Pools::Sqlite { write, .. } => Transaction::Sqlite(write.lease().await?),
            Pools::Postgres { write, begin, .. } => {
                Transaction::Postgres(Box::pin(query::in_time(write.begin_with(begin.to_write))).await?)
            }
        }))
    }

    /// A transaction for a bulk write. On SQLite it does not share its commit with other transactions.
    pub async fn write_alone(&self) -> Result<Tx, Error> {
        match &self.pools {
            Pools::Sqlite { write, .. } => Ok(self.transaction(Transaction::Sqlite(write.lease_alone().await?))),
            Pools::Postgres { .. } => self.write().await,
        }
    }

    fn transaction(&self, transaction: Transaction) -> Tx {
        Tx {
            conn: Conn(transaction),
            invalidated: Invalidated::default(),
            records: Vec::new(),
            invalidation: self.invalidation.clone(),
            chain_key: self.chain_key.clone(),
            cluster: match &self.pools {
                Pools::Postgres { cluster, .. } => cluster.clone(),
                Pools::Sqlite { .. } => Cluster::default(),
            },
        }
    }

    /// Sets the key of the audit trail. Without it a transaction that records something fails.
    pub fn set_chain_key(&self, key: ChainKey) {
        let _set_before = self.chain_key.set(key);
    }

    /// Whether servers on other machines may use it, too.
    pub fn is_shared(&self) -> bool {
        matches!(self.pools, Pools::Postgres { .. })
    }

    /// What has been invalidated since it was read.
    pub fn invalidation(&self) -> &Invalidation {
        &self.invalidation
    }

    /// Learns now, rather than at the next poll, what other processes have changed.
    pub async fn poll_other_writers(&self) -> Result<(), Error> {
        match &self.pools {
            // The writer asks for the version of the file each time it leases its connection.
            Pools::Sqlite { write, .. } => write.lease().await.map(drop),
            Pools::Postgres { .. } => {
                self.invalidation.note_everything();
                Ok(())
            }
        }
    }

    /// Waits until the files have reached the disk. Call it only when the store is closed: opening and closing the files
    /// would release the locks that SQLite holds on them for this process.
    pub fn sync(&self) -> Result<(), Error> {
        match &self.pools {
            Pools::Sqlite { file, .. } => sqlite::sync(file.path()),
            Pools::Postgres { .. } => Ok(()),
        }
    }

    /// Waits until every connection has been returned, then closes them.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { write, read, .. } => {
                while read.status().size > 0 {
                    let Ok(connection) = read.remove().await else { break };
                    let _broken = connection.close().await;
                }
                read.close();
                write.close().await;
            }
            Pools::Postgres { write, read, cluster, line, .. } => {
                if let Some(line) = line {
                    line.abort();
                }
                read.close().await;
                // One of them may wait for a standby that is away, and was answered for long.
                let _waits = tokio::time::timeout(PATIENCE, write.close()).await;
                if let Some(replica) = &cluster.replica {
                    replica.close().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
