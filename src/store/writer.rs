//! The one connection that writes to a SQLite file, and the commits that requests share.
//!
//! SQLite has one writer at a time, and a commit waits for the disk. So a task has the connection and lends it to those who
//! ask, in their order; those who come while a commit is on its way share the next one. A group is one transaction, and
//! each of its members a savepoint in it, or one statement.
//!
//! Rule: a member hears that its work stays after the commit of its group has come back from the disk, and no sooner; when
//! the group fails, each of them hears that. A member that fails, gives up or panics is undone to its savepoint, and
//! costs its neighbours nothing. One that has a single statement goes without a savepoint, since SQLite undoes a statement
//! that fails by itself; whether it did cannot be seen from here, so whoever has used such a turn and does not keep it takes
//! the group along. Whatever goes wrong on the connection itself ends it, and with it what SQLite, or we, could believe of a
//! transaction that is none any more; the next group has a new one.
//! Threat: an acknowledged write that is lost, and one request that takes the writes of all others with it.

use std::{
    iter, mem,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::{
    metrics::histogram::{Histogram, exponential_buckets},
    registry::{Registry, Unit},
};
use sqlx::{ConnectOptions, Connection, Executor, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{Mutex, OwnedMutexGuard, mpsc, oneshot},
    time,
};
use tokio_util::sync::CancellationToken;

use super::{Changes, Conn, Held, PATIENCE, Touched};
use crate::{error::Error, model::AuditRecord};

/// The most members of a group.
const MOST_MEMBERS: usize = 256;
/// How long a group takes in members; without an end to it, a stream of requests would put off the commit of the first.
const OPEN_FOR: Duration = Duration::from_millis(100);
/// Undoes the turn that was last. Without the savepoint this fails, as does to release it: that tells that SQLite has rolled
/// the whole back by itself, as it may when the disk is full.
const UNDO: &str = "ROLLBACK TO member";
/// Keeps what was done since the savepoint, and puts it here.
const RENEW: &str = "RELEASE member; SAVEPOINT member";
/// How often another process is asked for the lock.
const LOCK_POLL: Duration = Duration::from_millis(3);
/// How long a request waits for its turn, and for another process to let go of the lock.
const TURN_TIMEOUT: Duration = PATIENCE.saturating_mul(2);

/// Where turns are asked for.
#[derive(Clone, Debug)]
pub struct Writer {
    requests: mpsc::UnboundedSender<Request>,
    closing: CancellationToken,
}

/// Someone who waits for a turn.
struct Request {
    turn: oneshot::Sender<Result<Turn, Error>>,
    within: Within,
}

/// What a turn is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// A group, with a savepoint to go back to.
    Savepoint,
    /// A group, for one statement.
    Group,
    /// A transaction of its own: with a savepoint SQLite keeps every page as it was.
    Transaction,
}

/// Someone who waits for the commit of the group.
struct Member {
    outcome: oneshot::Sender<Result<(), Arc<sqlx::Error>>>,
    touched: Touched,
    records: Vec<AuditRecord>,
}

/// The connection, as it is lent.
struct Lent {
    connection: SqliteConnection,
    /// Whether it was used in this turn.
    used: bool,
}

/// A turn with the connection. Dropped without [`Turn::commit`], it leaves no trace.
pub struct Turn {
    lent: OwnedMutexGuard<Lent>,
    keep: oneshot::Sender<Member>,
    shares_commit: bool,
}

impl Writer {
    /// Starts the task that writes over this connection, for which the file is in this version, and over others like it
    /// after something went wrong. With `group_commit` requests share commits.
    pub fn start(
        (connection, version): (SqliteConnection, i64),
        options: SqliteConnectOptions,
        group_commit: bool,
        registry: &mut Registry,
        changes: Changes,
    ) -> Self {
        let options = options.busy_timeout(Duration::ZERO);
        let (requests, asked) = mpsc::unbounded_channel();
        let closing = CancellationToken::new();
        let most_members = if group_commit { MOST_MEMBERS } else { 1 };
        let commits = Commits::new(registry);
        let version = Some(version);
        let groups = Groups { asked, options, most_members, open_for: OPEN_FOR, commits, changes, version };
        tokio::spawn(groups.run(connection, closing.clone()));
        Self { requests, closing }
    }

    /// One that nobody gets a turn from, for a file that is only looked at.
    pub fn none() -> Self {
        let (requests, _) = mpsc::unbounded_channel();
        Self { requests, closing: CancellationToken::new() }
    }

    /// A turn with the connection, in which reads see what is in the file and what those before have written.
    pub async fn turn(&self) -> Result<Turn, Error> {
        self.ask(Within::Savepoint).await
    }

    /// A turn for one statement that writes. Dropped after it was used, it takes the group along.
    pub async fn turn_for_one(&self) -> Result<Turn, Error> {
        self.ask(Within::Group).await
    }

    /// A turn for much work, which shares its commit with nobody.
    pub async fn turn_alone(&self) -> Result<Turn, Error> {
        self.ask(Within::Transaction).await
    }

    async fn ask(&self, within: Within) -> Result<Turn, Error> {
        let (turn, lent) = oneshot::channel();
        self.requests.send(Request { turn, within }).map_err(|_| unavailable("the writer has stopped"))?;
        match time::timeout(TURN_TIMEOUT, lent).await {
            Ok(lent) => lent.map_err(unavailable)?,
            Err(_) => Err(unavailable("no turn to write in time")),
        }
    }

    /// Waits for the group that is under way, then closes the connection.
    pub async fn close(&self) {
        self.closing.cancel();
        self.requests.closed().await;
    }
}

impl Turn {
    /// Whether the writer appends the records of all who share the commit; else it is to be done in the turn.
    pub fn shares_commit(&self) -> bool {
        self.shares_commit
    }

    /// Makes what was written stay; when this returns, it is on the disk, and what was touched is counted, also for those
    /// who were told before.
    pub async fn commit(self, touched: Touched, records: Vec<AuditRecord>) -> Result<(), Error> {
        let (outcome, told) = oneshot::channel();
        drop(self.lent);
        // Were the task gone, so would be the other end of the outcome.
        let _gone = self.keep.send(Member { outcome, touched, records });
        told.await.map_err(unavailable)?.map_err(unavailable)
    }
}

impl Deref for Turn {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        &self.lent.connection
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.lent.used = true;
        &mut self.lent.connection
    }
}

fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable(cause.into())
}

/// The task that writes.
struct Groups {
    asked: mpsc::UnboundedReceiver<Request>,
    options: SqliteConnectOptions,
    most_members: usize,
    open_for: Duration,
    commits: Commits,
    changes: Changes,
    /// What SQLite calls the state of the file, on this connection: it is another when another connection has committed,
    /// and only other processes have such.
    version: Option<i64>,
}

/// What is counted of commits.
struct Commits {
    members: Histogram,
    duration: Histogram,
}

impl Commits {
    fn new(registry: &mut Registry) -> Self {
        let members = Histogram::new(exponential_buckets(1.0, 2.0, 9));
        // From a tenth of a millisecond to some three seconds.
        let duration = Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        registry.register("commit_members", "Writes that shared a commit", members.clone());
        registry.register_with_unit("commit_duration", "How long a commit took", Unit::Seconds, duration.clone());
        Self { members, duration }
    }
}

/// Whoever has the lock has the turn.
type Shared = Arc<Mutex<Lent>>;

fn shared(connection: SqliteConnection) -> Shared {
    Arc::new(Mutex::new(Lent { connection, used: false }))
}

impl Groups {
    async fn run(mut self, connection: SqliteConnection, closing: CancellationToken) {
        let mut connection = Some(shared(connection));
        let (changes, mut first) = (self.changes.clone(), None);
        loop {
            let request = match first.take() {
                Some(request) => Some(request),
                None => tokio::select! {
                biased;
                () = closing.cancelled() => break,
                request = self.asked.recv() => request,
                () = changes.time_to_look() => {
                    if let Some(idle) = &connection {
                        // When it fails, nothing that was read stands until one succeeds.
                        let _not_seen = self.look(idle, "PRAGMA data_version").await;
                    }
                    continue;
                }
                },
            };
            let Some(request) = request else { break };
            // Else those who gave up while another process held the lock would each be tried for, one after the other.
            if request.turn.is_closed() {
                continue;
            }
            let sound = match connection.take() {
                Some(sound) => Ok(sound),
                None => self.options.connect().await.map(shared),
            };
            match sound {
                Ok(sound) => (connection, first) = self.run_group(sound, request).await,
                Err(error) => drop(request.turn.send(Err(error.into()))),
            }
        }
        if let Some(connection) = connection.and_then(Arc::into_inner) {
            let mut connection = connection.into_inner().connection;
            // Told by sqlx as it closes, a failure of this would be the end of waiting, also on readers, on which it cannot
            // but fail; and the process could end before the last to close has written the log back and taken it away.
            let _as_large_as_they_were = sqlx::query("PRAGMA optimize").execute(&mut connection).await;
            let _closed_either_way = connection.close().await;
        }
    }

    /// One transaction, from its beginning until its members have heard. Gives the connection back if all went well on it,
    /// and who is to begin the next group, if that is known.
    async fn run_group(&mut self, connection: Shared, first: Request) -> (Option<Shared>, Option<Request>) {
        let alone = first.within == Within::Transaction || self.most_members == 1;
        if let Err(error) = self.begin(&connection, alone).await {
            drop(first.turn.send(Err(error.into())));
            self.forget();
            return (None, None);
        }
        let (begun, mut members, mut done, mut next) = (Instant::now(), Vec::new(), Ok(()), Some(first));
        let mut for_itself = None;
        // Whether there is something since the savepoint that stays.
        let mut written = false;
        while let Some(Request { turn, within }) = next.take() {
            let member = lend(&connection, turn, !alone).await;
            let stays = member.is_some();
            let given_up = within == Within::Group && !stays && connection.lock().await.used;
            written |= within == Within::Group && stays;
            members.extend(member);
            if !alone && members.len() < self.most_members && begun.elapsed() < self.open_for {
                next = iter::from_fn(|| self.asked.try_recv().ok()).find(|request| !request.turn.is_closed());
                for_itself = next.take_if(|request| request.within == Within::Transaction);
            }
            let at = Instant::now();
            done = match &next {
                None if members.is_empty() => execute(&connection, "ROLLBACK").await,
                _ if given_up => Err(sqlx::Error::Protocol("a turn for one statement was used and given up".into())),
                None => commit(&connection, stays || within == Within::Group, &mut members).await,
                Some(_) if within == Within::Savepoint => execute(&connection, if stays { RENEW } else { UNDO }).await,
                Some(next) if next.within == Within::Savepoint && mem::take(&mut written) => {
                    execute(&connection, RENEW).await
                }
                Some(_) => Ok(()),
            }
            .map_err(Arc::new);
            if done.is_ok() {
                // It is still our transaction: nobody else has written since it began.
                self.changes.note_look(at);
            }
            if next.is_none() && !members.is_empty() {
                self.commits.members.observe(members.len() as f64);
                self.commits.duration.observe(at.elapsed().as_secs_f64());
            }
            next = next.filter(|_| done.is_ok());
        }
        if done.is_err() {
            self.forget();
        }
        let told = members.into_iter().map(|Member { outcome, touched, .. }| {
            self.changes.note(touched);
            outcome
        });
        // All are counted before the first is told: one may answer for what another has done.
        for outcome in told.collect::<Vec<_>>() {
            let _gone_away = outcome.send(done.clone());
        }
        (done.is_ok().then_some(connection), for_itself)
    }

    /// Begins a group. While another process has the lock, it is asked for every few milliseconds: SQLite's own patience
    /// asks ever more seldom, and whoever lets go for moments only, as an import does between two transactions, would not
    /// be met.
    async fn begin(&mut self, connection: &Shared, alone: bool) -> Result<(), sqlx::Error> {
        let since = Instant::now();
        let begin = if alone {
            "BEGIN IMMEDIATE; PRAGMA data_version"
        } else {
            "BEGIN IMMEDIATE; SAVEPOINT member; PRAGMA data_version"
        };
        loop {
            match self.look(connection, begin).await {
                Err(error) if is_busy(&error) && since.elapsed() < PATIENCE => time::sleep(LOCK_POLL).await,
                begun => return begun,
            }
        }
    }

    /// Learns from this text, which ends by asking for the version, whether another process has written to the file.
    async fn look(&mut self, connection: &Shared, sql: &'static str) -> Result<(), sqlx::Error> {
        let at = Instant::now();
        let version: i64 = connection.lock().await.connection.fetch_one(sql).await?.try_get(0)?;
        if self.version.replace(version) != Some(version) {
            self.changes.note_all();
        }
        self.changes.note_look(at);
        Ok(())
    }

    /// The connection is another from here on, and its version says nothing about that of the one before.
    fn forget(&mut self) {
        self.version = None;
        self.changes.note_all();
    }
}

/// Lends the connection and waits until it is back. Gives who wants their work to stay, if they do.
async fn lend(connection: &Shared, turn: oneshot::Sender<Result<Turn, Error>>, shares_commit: bool) -> Option<Member> {
    let (keep, kept) = oneshot::channel();
    let mut lent = Arc::clone(connection).lock_owned().await;
    lent.used = false;
    // Who has given up meanwhile drops the turn as anyone may.
    drop(turn.send(Ok(Turn { lent, keep, shares_commit })));
    kept.await.ok()
}

/// Commits the work of the members, with the records of it; what was done since the savepoint stays, or else is undone.
async fn commit(connection: &Shared, stays: bool, members: &mut [Member]) -> Result<(), sqlx::Error> {
    let records: Vec<_> = members.iter_mut().flat_map(|member| mem::take(&mut member.records)).collect();
    if records.is_empty() {
        return execute(connection, if stays { "COMMIT" } else { "ROLLBACK TO member; COMMIT" }).await;
    }
    // Records are of work that is there.
    if !stays {
        execute(connection, UNDO).await?;
    }
    let (keep, _) = oneshot::channel();
    let turn = Turn { lent: Arc::clone(connection).lock_owned().await, keep, shares_commit: false };
    Conn::Sqlite(Held::Tx(turn)).append_audit(records).await?;
    execute(connection, "COMMIT").await
}

fn is_busy(error: &sqlx::Error) -> bool {
    const BUSY: u32 = 5;
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == BUSY)
}

async fn execute(connection: &Shared, sql: &'static str) -> Result<(), sqlx::Error> {
    connection.lock().await.connection.execute(sql).await.map(drop)
}

#[cfg(test)]
mod tests;
