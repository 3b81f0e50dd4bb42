//! What was changed, counted.
//!
//! Every change has a number and leaves it at whatever it was about. Whoever reads takes the last number before they do;
//! what they read is good until a higher one stands at what it was about. Nothing has to be found and thrown away, and what
//! is kept too late, by someone who read before the change, is old from its first moment.
//!
//! This file is compiled twice: for use, and for a test that runs it in every order two processors could.

use super::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Release},
};

/// The numbers. Two things may share a place: then a change to one makes what was read of the other old too, and it is read
/// again.
pub struct Counts {
    last: AtomicU64,
    of_all: AtomicU64,
    of: Box<[AtomicU64]>,
}

impl Counts {
    /// With this many places, at least one.
    pub fn new(places: usize) -> Self {
        Self {
            last: AtomicU64::new(0),
            of_all: AtomicU64::new(0),
            of: (0..places.max(1)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn place(&self, thing: u64) -> &AtomicU64 {
        let at = usize::try_from(thing % self.of.len() as u64).unwrap_or(0);
        self.of.get(at).unwrap_or(&self.of_all)
    }

    /// The number of the last change. To be taken before reading: whoever gets a number reads what was committed before it
    /// was given.
    pub fn last(&self) -> u64 {
        self.last.load(Acquire)
    }

    /// Notes a change of these things. To be called when it is committed and before anyone hears of that.
    pub fn note(&self, things: impl IntoIterator<Item = u64>) {
        let number = self.next();
        for thing in things {
            self.place(thing).fetch_max(number, Release);
        }
    }

    /// Notes that anything may have changed.
    pub fn note_all(&self) {
        self.of_all.fetch_max(self.next(), Release);
    }

    fn next(&self) -> u64 {
        self.last.fetch_add(1, AcqRel) + 1
    }

    /// Whether what was read after this number stands: nothing has happened to any of these things since.
    pub fn is_current(&self, number: u64, things: impl IntoIterator<Item = u64>) -> bool {
        self.of_all.load(Acquire) <= number && things.into_iter().all(|thing| self.place(thing).load(Acquire) <= number)
    }
}
