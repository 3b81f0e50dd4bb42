//! What has changed since it was read: for whoever keeps what they read here.
//!
//! Rule: a transaction that takes something away, or changes what is shown, names whose it is ([`Touched`]), and that is
//! counted when it is committed, before its maker hears so. What other processes change in a SQLite file is found by looking,
//! ten times a second while anyone asks; what was read is good for a quarter of a second after the last look, and no longer.
//! From PostgreSQL, where other servers write, it is good for 0.9 seconds after it was read.
//! Threat: a request that is let in by what was true a moment ago.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::counts::Counts;

/// Places to count at, 64 KiB.
const PLACES: usize = 8192;
/// How often the file is looked at.
#[cfg(feature = "sqlite")]
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long after a look what was read from the file stands.
const LOOK_HOLDS: Duration = Duration::from_millis(250);
/// How long what was read from a server stands, where nothing can be looked at.
const READ_HOLDS: Duration = Duration::from_millis(900);

/// What has changed. Cloning it gives another handle to the same.
#[derive(Clone)]
pub struct Changes(Arc<Inner>);

struct Inner {
    counts: Counts,
    begun: Instant,
    others: Others,
}

/// How changes by other processes are heard of.
enum Others {
    /// By looking at the file. The last look, in microseconds after `begun`, or 0; whether anyone asked since.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code))]
    Looked { at: AtomicU64, is_asked_for: AtomicBool, asked: Notify },
    /// Not at all.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code))]
    Unseen,
}

/// A moment before something was read.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    number: u64,
    at: Instant,
}

/// What a transaction has changed: users, sessions and personal tokens by their ids.
#[derive(Debug, Default)]
pub struct Touched {
    ids: Vec<Uuid>,
    all: bool,
}

impl Touched {
    /// Adds one.
    pub fn add(&mut self, id: Uuid) {
        if self.ids.last() != Some(&id) {
            self.ids.push(id);
        }
    }

    /// Adds everything.
    pub fn add_all(&mut self) {
        self.all = true;
    }
}

/// What a thing is counted by: the half of its id in which all but two bits are random (RFC 9562, sections 4.1 and 5.4).
fn number(id: Uuid) -> u64 {
    id.as_u64_pair().1
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changes(..)")
    }
}

impl Changes {
    /// Of a file that other processes may write to.
    #[cfg(feature = "sqlite")]
    pub(super) fn of_file() -> Self {
        Self::new(Others::Looked { at: AtomicU64::new(0), is_asked_for: AtomicBool::new(false), asked: Notify::new() })
    }

    /// Of a server that others write to.
    #[cfg(feature = "postgres")]
    pub(super) fn of_server() -> Self {
        Self::new(Others::Unseen)
    }

    fn new(others: Others) -> Self {
        Self(Arc::new(Inner { counts: Counts::new(PLACES), begun: Instant::now(), others }))
    }

    /// The moment before something is read that will be kept.
    pub fn moment(&self) -> Moment {
        Moment { number: self.0.counts.last(), at: Instant::now() }
    }

    /// Whether what was read after this moment about these things stands. When that cannot be said, it does not.
    pub fn none_since(&self, moment: Moment, things: impl IntoIterator<Item = Uuid>) -> bool {
        let is_seen = match &self.0.others {
            Others::Looked { at, is_asked_for, asked } => {
                if !is_asked_for.load(SeqCst) && !is_asked_for.swap(true, SeqCst) {
                    asked.notify_one();
                }
                let looked = at.load(SeqCst);
                looked > 0 && self.0.begun.elapsed() < Duration::from_micros(looked) + LOOK_HOLDS
            }
            Others::Unseen => moment.at.elapsed() < READ_HOLDS,
        };
        is_seen && self.0.counts.is_current(moment.number, things.into_iter().map(number))
    }

    /// Counts what a transaction has changed. To be called when it is committed, or may be, and before anyone hears so.
    pub(super) fn note(&self, touched: Touched) {
        if touched.all {
            self.note_all();
        } else if !touched.ids.is_empty() {
            self.0.counts.note(touched.ids.into_iter().map(number));
        }
    }

    /// Counts a change of anything there is.
    pub(super) fn note_all(&self) {
        self.0.counts.note_all();
    }

    /// Notes that at this moment the file was as it was known to be.
    #[cfg(feature = "sqlite")]
    pub(super) fn note_look(&self, at: Instant) {
        if let Others::Looked { at: looked, .. } = &self.0.others {
            let micros = at.saturating_duration_since(self.0.begun).as_micros();
            looked.fetch_max(u64::try_from(micros).unwrap_or(u64::MAX).max(1), SeqCst);
        }
    }

    /// Waits until it is time to look at the file: a while from now, and only if someone asks whether it has changed.
    #[cfg(feature = "sqlite")]
    pub(super) async fn time_to_look(&self) {
        let Others::Looked { at, is_asked_for, asked } = &self.0.others else { return std::future::pending().await };
        if !is_asked_for.load(SeqCst) {
            asked.notified().await;
        }
        let last = self.0.begun + Duration::from_micros(at.load(SeqCst));
        tokio::time::sleep_until((last + LOOK_EVERY).into()).await;
        is_asked_for.store(false, SeqCst);
    }
}
