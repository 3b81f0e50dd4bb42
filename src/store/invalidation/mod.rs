//! Invalidation of what is cached from the database.
//!
//! Rule: each statement that takes something away, or changes what answers show, names whose cached credentials it makes
//! stale ([`Invalidate`]). The commit notes that before its caller learns of it. What other processes change in a SQLite file,
//! or other servers on PostgreSQL, is found by polling while the cache is in use: the version of the file, or the log of
//! changes (`store/tables/changes.rs`). What was read counts as fresh for a short time after the beginning of the last poll
//! that was answered, and no longer: a server that is cut off asks the database for each request.
//! Threat: a request that is let in by what was true a moment ago.

#[cfg(test)]
mod loom;
mod versions;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{self, AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use self::versions::VersionTable;

/// Slots of the version table, 64 KiB.
const SLOTS: usize = 8192;
/// How a database is polled.
struct Pace {
    /// How long after the beginning of a poll the next one begins.
    every: Duration,
    /// How long after the beginning of a poll what was read counts as fresh.
    fresh: Duration,
    /// How long what was read counts as fresh at all.
    longest: Duration,
}

/// A file notices every writer.
const OF_FILE: Pace =
    Pace { every: Duration::from_millis(100), fresh: Duration::from_millis(250), longest: Duration::MAX };
/// The log of a server has what Countersign writes, of this version. Whatever else writes is noticed at the latest after
/// `longest`. `fresh` is less than the second after which nobody may be let in by what was revoked.
const OF_SERVER: Pace =
    Pace { every: Duration::from_millis(25), fresh: Duration::from_millis(600), longest: Duration::from_secs(30) };

/// What a statement makes stale in the cache. It must be named whether the statement meets a row or not: a request that
/// finds that another one was quicker answers as if it had done the work itself.
#[derive(Clone, Copy, Debug)]
pub enum Invalidate {
    /// Nothing: the statement changes no user, session or personal token, or only what is checked at each use (expiry) or
    /// never cached (times of use, locks).
    Nothing,
    /// The credentials of the user, session or personal token with this id.
    CredentialsOf(Uuid),
    /// Every credential.
    Everything,
}

/// All that a transaction makes stale.
#[derive(Debug, Default)]
pub struct Invalidated {
    ids: Vec<Uuid>,
    everything: bool,
}

impl Invalidated {
    /// What other servers are to be told: nothing, these ids, or everything.
    pub fn for_others(&self) -> Option<Option<&[Uuid]>> {
        match (self.everything, self.ids.as_slice()) {
            (true, _) => Some(None),
            (false, []) => None,
            (false, ids) => Some(Some(ids)),
        }
    }

    /// Adds what one statement makes stale.
    pub fn add(&mut self, what: Invalidate) {
        match what {
            Invalidate::Nothing => {}
            Invalidate::CredentialsOf(id) if self.ids.last() == Some(&id) => {}
            Invalidate::CredentialsOf(id) => self.ids.push(id),
            Invalidate::Everything => self.everything = true,
        }
    }
}

/// What has been made stale. Cloning it gives another handle to the same.
#[derive(Clone)]
pub struct Invalidation(Arc<Inner>);

struct Inner {
    versions: VersionTable,
    created: Instant,
    pace: &'static Pace,
    /// The beginning of the last poll that was answered, in microseconds after `created`, or 0.
    last_poll: AtomicU64,
    /// Whether anyone has used the cache since.
    is_wanted: AtomicBool,
    wanted: Notify,
}

/// The state of the database at a read: what was cached then stays fresh until something newer makes it stale.
#[derive(Clone, Copy, Debug)]
pub struct ReadVersion {
    number: u64,
    at: Instant,
}

/// The key of an id in the version table: the half of a UUID in which all but two bits are random (RFC 9562, sections 5.4
/// and 5.7).
fn key(id: Uuid) -> u64 {
    id.as_u64_pair().1
}

impl std::fmt::Debug for Invalidation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Invalidation(..)")
    }
}

impl Invalidation {
    /// For a file, to which other processes may write.
    pub fn of_file() -> Self {
        Self::new(&OF_FILE)
    }

    /// For a server, to which other servers write.
    pub fn of_server() -> Self {
        Self::new(&OF_SERVER)
    }

    fn new(pace: &'static Pace) -> Self {
        Self(Arc::new(Inner {
            versions: VersionTable::new(SLOTS),
            created: Instant::now(),
            pace,
            last_poll: AtomicU64::new(0),
            is_wanted: AtomicBool::new(false),
            wanted: Notify::new(),
        }))
    }

    /// The version to take before reading what will be cached.
    pub fn read_version(&self) -> ReadVersion {
        ReadVersion { number: self.0.versions.last(), at: Instant::now() }
    }

    /// Whether what was read at this version about these ids is certainly unchanged. When that cannot be known, it is not.
    pub fn unchanged_since(&self, read: ReadVersion, ids: impl IntoIterator<Item = Uuid>) -> bool {
        let Inner { created, pace, last_poll, is_wanted, wanted, .. } = &*self.0;
        if !is_wanted.load(SeqCst) && !is_wanted.swap(true, SeqCst) {
            wanted.notify_one();
        }
        let (last, now) = (last_poll.load(SeqCst), Instant::now());
        let others_are_known = last > 0
            && now.saturating_duration_since(*created) < Duration::from_micros(last) + pace.fresh
            && now.saturating_duration_since(read.at) < pace.longest;
        others_are_known && self.0.versions.unchanged_since(read.number, ids.into_iter().map(key))
    }

    /// Notes what a transaction made stale. Call it when the transaction is committed, or may be, and before anyone learns of
    /// it.
    pub(in crate::store) fn note(&self, invalidated: Invalidated) {
        if invalidated.everything {
            self.note_everything();
        } else if !invalidated.ids.is_empty() {
            self.0.versions.advance(invalidated.ids.into_iter().map(key));
        }
    }

    /// Notes that anything may have changed.
    pub(in crate::store) fn note_everything(&self) {
        self.0.versions.advance_all();
    }

    /// Notes what other servers have made stale: these ids, or everything.
    pub(in crate::store) fn note_of_others(&self, ids: Option<&[Uuid]>) {
        match ids {
            Some(ids) => self.0.versions.advance(ids.iter().copied().map(key)),
            None => self.note_everything(),
        }
    }

    /// Notes a poll that began at this time, and whose finding has been noted.
    pub(in crate::store) fn note_poll(&self, at: Instant) {
        let micros = at.saturating_duration_since(self.0.created).as_micros();
        self.0.last_poll.fetch_max(u64::try_from(micros).unwrap_or(u64::MAX).max(1), SeqCst);
    }

    /// Waits until the next poll is due: only while the cache is in use, and not sooner after the last one than its pace says.
    pub(in crate::store) async fn poll_due(&self) {
        let Inner { created, pace, last_poll, is_wanted, wanted, .. } = &*self.0;
        if !is_wanted.load(SeqCst) {
            wanted.notified().await;
        }
        let last = *created + Duration::from_micros(last_poll.load(SeqCst));
        tokio::time::sleep_until((last + pace.every).into()).await;
        is_wanted.store(false, SeqCst);
    }
}
