//! The one connection that writes to a SQLite file, and group commit: requests that write at the same time share a commit.
//!
//! SQLite has one writer at a time, and a commit waits for the disk. So one task owns the connection and leases it to
//! requests, one after the other. Requests that come while a commit is under way form the next group. A group is one
//! transaction; each of its members is a savepoint in it.
//!
//! Rule: a member learns that its work is committed only after the commit of its group is on the disk. When that commit
//! fails, every member learns so. A member that fails, gives up or panics is rolled back to its savepoint, which costs the
//! other members nothing. After any fault of the connection itself, the connection is closed and the next group gets a new
//! one: nobody could be sure any more in which transaction it was.
//! Threat: an acknowledged write that is lost, and one request that takes the writes of all others down with it.

mod lease;

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{iter, mem};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, Row, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::model::ChainKey;
use crate::store::invalidation::Invalidation;
use crate::store::sqlite::open_file::OpenFile;
pub use crate::store::sqlite::writer::lease::Lease;
use crate::store::sqlite::writer::lease::{PendingCommit, Shared, lease, unavailable};
use crate::store::tables::audit;
use crate::store::{Driver, KnownLater, PATIENCE};

/// The most members of a group.
const MAX_MEMBERS: usize = 256;
/// How long a group admits members. Without an end, a stream of requests would delay the commit of the first for ever.
const OPEN_FOR: Duration = Duration::from_millis(100);
/// Rolls the last member back. Both this and [`RENEW`] fail when there is no savepoint, which shows that SQLite has rolled
/// the whole transaction back by itself, as it may when the disk is full.
const UNDO: &str = "ROLLBACK TO member";
/// Keeps what the last member did, and begins the savepoint of the next.
const RENEW: &str = "RELEASE member; SAVEPOINT member";
/// How often the writer asks for the lock while another process holds it.
const LOCK_POLL: Duration = Duration::from_millis(3);
/// How long a request waits for its lease: behind others, and for another process to release the lock.
const LEASE_TIMEOUT: Duration = PATIENCE.saturating_mul(2);

/// Where leases are asked for. Cloning it gives another handle to the same writer.
#[derive(Clone, Debug)]
pub struct WriterHandle {
    requests: mpsc::UnboundedSender<Request>,
    closing: CancellationToken,
}

/// A request for a lease.
struct Request {
    lease: oneshot::Sender<Result<Lease, Error>>,
    isolation: Isolation,
}

/// What a lease is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// A group: a savepoint in a transaction with others.
    Savepoint,
    /// A transaction of its own, for bulk writes: a savepoint would make SQLite keep a copy of every page it changes.
    Transaction,
}

impl WriterHandle {
    /// Starts the task that writes. It begins with this connection, for which SQLite says that the file is in this version,
    /// and opens others like it after a fault.
    pub fn start(
        (connection, version): (SqliteConnection, i64),
        (options, file): (SqliteConnectOptions, OpenFile),
        registry: &mut Registry,
        invalidation: Invalidation,
        chain_key: KnownLater<ChainKey>,
    ) -> Self {
        let (requests, received) = mpsc::unbounded_channel();
        let closing = CancellationToken::new();
        let writer = Writer {
            requests: received,
            options: options.busy_timeout(Duration::ZERO),
            file,
            max_members: MAX_MEMBERS,
            open_for: OPEN_FOR,
            metrics: CommitMetrics::new(registry),
            invalidation,
            chain_key,
            file_version: Some(version),
        };
        tokio::spawn(writer.run(connection, closing.clone()));
        Self { requests, closing }
    }

    /// A handle that gives no leases, for a file that is opened for reads only.
    pub fn none() -> Self {
        let (requests, _) = mpsc::unbounded_channel();
        Self { requests, closing: CancellationToken::new() }
    }

    /// A lease in a group. Reads in it see what is in the file and what earlier members of the group have written.
    pub async fn lease(&self) -> Result<Lease, Error> {
        self.ask(Isolation::Savepoint).await
    }

    /// A lease for a bulk write, which shares its commit with nobody.
    pub async fn lease_alone(&self) -> Result<Lease, Error> {
        self.ask(Isolation::Transaction).await
    }

    async fn ask(&self, isolation: Isolation) -> Result<Lease, Error> {
        let (lease, leased) = oneshot::channel();
        self.requests.send(Request { lease, isolation }).map_err(|_| unavailable("the writer has stopped"))?;
        match time::timeout(LEASE_TIMEOUT, leased).await {
            Ok(leased) => leased.map_err(unavailable)?,
            Err(_) => Err(unavailable("the write connection did not become free in time")),
        }
    }

    /// Waits for the group that is under way, then closes the connection.
    pub async fn close(&self) {
        self.closing.cancel();
        self.requests.closed().await;
    }
}

/// The task that writes.
struct Writer {
    requests: mpsc::UnboundedReceiver<Request>,
    options: SqliteConnectOptions,
    file: OpenFile,
    max_members: usize,
    open_for: Duration,
    metrics: CommitMetrics,
    invalidation: Invalidation,
    chain_key: KnownLater<ChainKey>,
    /// `PRAGMA data_version` of this connection: SQLite changes it when another connection has committed, and only other
    /// processes have such. None when the connection is new.
    file_version: Option<i64>,
}

struct CommitMetrics {
    members: Histogram,
    duration: Histogram,
}

impl CommitMetrics {
    fn new(registry: &mut Registry) -> Self {
        let members = Histogram::new(exponential_buckets(1.0, 2.0, 9));
        // From a tenth of a millisecond to some three seconds.
        let duration = Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        registry.register("commit_members", "Writes that shared a commit", members.clone());
        registry.register_with_unit("commit_duration", "How long a commit took", Unit::Seconds, duration.clone());
        Self { members, duration }
    }
}

impl Writer {
    async fn run(mut self, connection: SqliteConnection, closing: CancellationToken) {
        let mut connection = Some(Arc::new(Mutex::new(connection)));
        let (invalidation, mut first) = (self.invalidation.clone(), None);
        loop {
            let request = match first.take() {
                Some(request) => Some(request),
                None => tokio::select! {
                    biased;
                    () = closing.cancelled() => break,
                    request = self.requests.recv() => request,
                    () = invalidation.poll_due() => {
                        if let Some(idle) = &connection {
                            // When the poll fails, the cache counts nothing as fresh until one succeeds.
                            let _failed = self.poll_file_version(idle, "PRAGMA data_version").await;
                        }
                        continue;
                    }
                },
            };
            let Some(request) = request else { break };
            // Requests that gave up while another process held the lock would otherwise each cost one more attempt.
            if request.lease.is_closed() {
                continue;
            }
            // A connection that is made now would be to the other file, beside the log of ours, and SQLite would bring the two together.
            if let Err(error) = self.file.check() {
                drop(request.lease.send(Err(error.into())));
                self.forget_file_version();
                continue;
            }
            let sound = match connection.take() {
                Some(sound) => Ok(sound),
                None => self.options.connect().await.map(|connection| Arc::new(Mutex::new(connection))),
            };
            match sound {
                Ok(sound) => (connection, first) = self.run_group(sound, request).await,
                Err(error) => drop(request.lease.send(Err(error.into()))),
            }
        }
        if let Some(connection) = connection.and_then(Arc::into_inner) {
            let mut connection = connection.into_inner();
            // By hand, not by sqlx's `optimize_on_close`: that also runs on readers, on which it fails, and a failure ends the
            // wait for the close. The process could then exit before the last connection has removed the log.
            let _statistics_stay_as_they_were = sqlx::query("PRAGMA optimize").execute(&mut connection).await;
            let _closed_either_way = connection.close().await;
        }
    }

    /// Runs one transaction, from its beginning until every member knows the outcome. Gives back the connection if it is
    /// sound, and the request for a transaction of its own that ended this group.
    async fn run_group(&mut self, connection: Shared, first: Request) -> (Option<Shared>, Option<Request>) {
        let isolation = first.isolation;
        let alone = isolation == Isolation::Transaction;
        if let Err(error) = self.begin(&connection, alone).await {
            drop(first.lease.send(Err(error.into())));
            self.forget_file_version();
            return (None, None);
        }
        let (begun, mut members, mut done, mut next) = (Instant::now(), Vec::new(), Ok(()), Some(first));
        let mut for_itself = None;
        while let Some(request) = next.take() {
            let member = lease(&connection, request.lease).await;
            let commits = member.is_some();
            members.extend(member);
            if !alone && members.len() < self.max_members && begun.elapsed() < self.open_for {
                next = iter::from_fn(|| self.requests.try_recv().ok()).find(|request| !request.lease.is_closed());
                for_itself = next.take_if(|request| request.isolation == Isolation::Transaction);
            }
            let at = Instant::now();
            done = match &next {
                Some(_) => execute(&connection, if commits { RENEW } else { UNDO }).await,
                None if members.is_empty() => execute(&connection, "ROLLBACK").await,
                // What went into a file without a name is on no disk.
                None => {
                    let committed = commit(&connection, isolation, commits, &mut members, &self.chain_key).await;
                    committed.and_then(|()| self.file.check())
                }
            }
            .map_err(Arc::new);
            if done.is_ok() {
                // The lock was ours all along, so no other process has written since the group began.
                self.invalidation.note_poll(at);
            }
            if next.is_none() && !members.is_empty() {
                self.metrics.members.observe(members.len() as f64);
                self.metrics.duration.observe(at.elapsed().as_secs_f64());
            }
            next = next.filter(|_| done.is_ok());
        }
        if done.is_err() {
            self.forget_file_version();
        }
        let outcomes = members.into_iter().map(|PendingCommit { outcome, invalidated, .. }| {
            self.invalidation.note(invalidated);
            outcome
        });
        // All invalidations come before the first answer: a member may report what another has done.
        for outcome in outcomes.collect::<Vec<_>>() {
            let _gone_away = outcome.send(done.clone());
        }
        (done.is_ok().then_some(connection), for_itself)
    }

    /// Begins a transaction. While another process has the lock, this asks every few milliseconds: SQLite's own busy handler
    /// asks ever more seldom, and would miss the short moments in which an import releases the lock.
    async fn begin(&mut self, connection: &Shared, alone: bool) -> Result<(), sqlx::Error> {
        let since = Instant::now();
        let begin = if alone {
            "BEGIN IMMEDIATE; PRAGMA data_version"
        } else {
            "BEGIN IMMEDIATE; SAVEPOINT member; PRAGMA data_version"
        };
        loop {
            match self.poll_file_version(connection, begin).await {
                Err(error) if is_busy(&error) && since.elapsed() < PATIENCE => time::sleep(LOCK_POLL).await,
                begun => return begun,
            }
        }
    }

    /// Runs a text that ends by asking for the version of the file, which tells whether another process has written to it.
    async fn poll_file_version(&mut self, connection: &Shared, sql: &'static str) -> Result<(), sqlx::Error> {
        let at = Instant::now();
        self.file.check()?;
        let version: i64 = connection.lock().await.fetch_one(sql).await?.try_get(0)?;
        if self.file_version.replace(version) != Some(version) {
            self.invalidation.note_everything();
        }
        self.invalidation.note_poll(at);
        Ok(())
    }

    /// The next connection will be another one, for which SQLite counts versions from anew.
    fn forget_file_version(&mut self) {
        self.file_version = None;
        self.invalidation.note_everything();
    }
}

/// Commits the work of the members, with their audit records. What the last member did stays if `commits`.
async fn commit(
    connection: &Shared,
    isolation: Isolation,
    commits: bool,
    members: &mut [PendingCommit],
    chain_key: &KnownLater<ChainKey>,
) -> Result<(), sqlx::Error> {
    let records: Vec<_> = members.iter_mut().flat_map(|member| mem::take(&mut member.records)).collect();
    if records.is_empty() {
        return execute(connection, if commits { "COMMIT" } else { "ROLLBACK TO member; COMMIT" }).await;
    }
    // SQLite may have rolled the transaction back by itself. What is appended after that would be committed at once, and be a
    // record of work that is gone; so each of these fails then.
    match isolation {
        Isolation::Savepoint => execute(connection, if commits { "RELEASE member" } else { UNDO }).await?,
        // The other way round: in a transaction, another cannot begin.
        Isolation::Transaction if execute(connection, "BEGIN").await.is_ok() => return Err(sqlx::Error::BeginFailed),
        Isolation::Transaction => {}
    }
    audit::append(&mut Driver::Sqlite(&mut *connection.lock().await), chain_key, records, None).await?;
    execute(connection, "COMMIT").await
}

fn is_busy(error: &sqlx::Error) -> bool {
    const BUSY: u32 = 5;
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == BUSY)
}

async fn execute(connection: &Shared, sql: &'static str) -> Result<(), sqlx::Error> {
    connection.lock().await.execute(sql).await.map(drop)
}

#[cfg(test)]
mod tests;
