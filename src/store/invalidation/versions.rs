//! A table of version numbers.
//!
//! Each change has a number, and leaves it in the slots of what it changed. A reader takes the last number before it reads;
//! what it read is unchanged until a higher number stands in one of its slots. So a change need not find and evict what is
//! cached, and a reader that is late to fill the cache, having read before the change, fills in an entry that is stale from
//! the beginning.
//!
//! This file is compiled twice: for use, and for `loom.rs`, which runs it in every order that two processors could.

use super::atomic::AtomicU64;
use super::atomic::Ordering::{AcqRel, Acquire, Release};

/// The numbers. Two keys may share a slot: a change of one then makes what was read of the other stale too, and it is read
/// again.
pub struct VersionTable {
    last: AtomicU64,
    of_all: AtomicU64,
    slots: Box<[AtomicU64]>,
}

impl VersionTable {
    /// A table with this many slots, at least one.
    pub fn new(slots: usize) -> Self {
        Self {
            last: AtomicU64::new(0),
            of_all: AtomicU64::new(0),
            slots: (0..slots.max(1)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn slot(&self, key: u64) -> &AtomicU64 {
        let at = usize::try_from(key % self.slots.len() as u64).unwrap_or(0);
        self.slots.get(at).unwrap_or(&self.of_all)
    }

    /// The number of the last change. Take it before reading: whoever has a number reads everything that was committed
    /// before the number was given out.
    pub fn last(&self) -> u64 {
        self.last.load(Acquire)
    }

    /// Notes a change of these keys. Call it when the change is committed, and before anyone learns of it.
    pub fn advance(&self, keys: impl IntoIterator<Item = u64>) {
        let number = self.next();
        for key in keys {
            self.slot(key).fetch_max(number, Release);
        }
    }

    /// Notes that anything may have changed.
    pub fn advance_all(&self) {
        self.of_all.fetch_max(self.next(), Release);
    }

    fn next(&self) -> u64 {
        self.last.fetch_add(1, AcqRel) + 1
    }

    /// Whether none of these keys has changed since this number was the last.
    pub fn unchanged_since(&self, number: u64, keys: impl IntoIterator<Item = u64>) -> bool {
        self.of_all.load(Acquire) <= number && keys.into_iter().all(|key| self.slot(key).load(Acquire) <= number)
    }
}
