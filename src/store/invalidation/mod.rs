//! Invalidation of what is cached from the database.
//!
//! Rule: each statement that takes something away, or changes what answers show, names whose cached credentials it makes
//! stale ([`Invalidate`]). The commit notes that before its caller learns of it. Changes that other processes make to a
//! SQLite file are found by polling it ten times a second while the cache is in use; what was read counts as fresh for a
//! quarter of a second after the last poll, and no longer. What was read from PostgreSQL, where other servers write, counts
//! as fresh for 0.9 seconds after the read.
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
/// How often a file is polled.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// How long after a poll what was read from the file counts as fresh.
const FRESH_AFTER_POLL: Duration = Duration::from_millis(250);
/// How long after the read itself what was read from a server counts as fresh.
const FRESH_AFTER_READ: Duration = Duration::from_millis(900);

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
    other_writers: OtherWriters,
}

/// How changes by other processes are noticed.
enum OtherWriters {
    /// By polling the file. `last` is the time of the last poll, in microseconds after `created`, or 0; `is_wanted` whether
    /// anyone has used the cache since.
    Polled { last: AtomicU64, is_wanted: AtomicBool, wanted: Notify },
    /// Not at all.
    Unseen,
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
        let (last, is_wanted, wanted) = (AtomicU64::new(0), AtomicBool::new(false), Notify::new());
        Self::new(OtherWriters::Polled { last, is_wanted, wanted })
    }

    /// For a server, to which other servers write.
    pub fn of_server() -> Self {
        Self::new(OtherWriters::Unseen)
    }

    fn new(other_writers: OtherWriters) -> Self {
        Self(Arc::new(Inner { versions: VersionTable::new(SLOTS), created: Instant::now(), other_writers }))
    }

    /// The version to take before reading what will be cached.
    pub fn read_version(&self) -> ReadVersion {
        ReadVersion { number: self.0.versions.last(), at: Instant::now() }
    }

    /// Whether what was read at this version about these ids is certainly unchanged. When that cannot be known, it is not.
    pub fn unchanged_since(&self, read: ReadVersion, ids: impl IntoIterator<Item = Uuid>) -> bool {
        let others_are_known = match &self.0.other_writers {
            OtherWriters::Polled { last, is_wanted, wanted } => {
                if !is_wanted.load(SeqCst) && !is_wanted.swap(true, SeqCst) {
                    wanted.notify_one();
                }
                let last = last.load(SeqCst);
                last > 0 && self.0.created.elapsed() < Duration::from_micros(last) + FRESH_AFTER_POLL
            }
            OtherWriters::Unseen => read.at.elapsed() < FRESH_AFTER_READ,
        };
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

    /// Notes a poll of the file that began at this time, and whose finding has been noted.
    pub(in crate::store) fn note_poll(&self, at: Instant) {
        if let OtherWriters::Polled { last, .. } = &self.0.other_writers {
            let micros = at.saturating_duration_since(self.0.created).as_micros();
            last.fetch_max(u64::try_from(micros).unwrap_or(u64::MAX).max(1), SeqCst);
        }
    }

    /// Waits until the next poll of the file is due: only while the cache is in use, and not sooner than [`POLL_EVERY`] after
    /// the last one.
    pub(in crate::store) async fn poll_due(&self) {
        let OtherWriters::Polled { last, is_wanted, wanted } = &self.0.other_writers else {
            return std::future::pending().await;
        };
        if !is_wanted.load(SeqCst) {
            wanted.notified().await;
        }
        let last = self.0.created + Duration::from_micros(last.load(SeqCst));
        tokio::time::sleep_until((last + POLL_EVERY).into()).await;
        is_wanted.store(false, SeqCst);
    }
}
