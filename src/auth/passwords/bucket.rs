//! A token bucket for guesses, in which a slot can be taken for a while and given back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::model::{BlockId, Timestamp};

/// Slots for guesses. Those that are used up come back one after the other.
#[derive(Default)]
pub struct Bucket {
    slots: Mutex<Slots>,
    /// Tells those who wait that a slot was given back, or used up.
    pub settled: Notify,
}

/// The state of a bucket: how many slots are taken, and what the table of blocks says of it.
pub struct Slots {
    /// How many are in use by passwords whose outcome is not known yet.
    pub in_flight: u32,
    /// When all slots will have come back.
    all_free_at: Timestamp,
    /// The row of this bucket in the table of blocks, and when it was last seen there.
    pub block: Option<(BlockId, Timestamp)>,
    /// The `all_free_at` of that row.
    pub noted: Timestamp,
}

impl Default for Slots {
    fn default() -> Self {
        Self { in_flight: 0, all_free_at: Timestamp(0), block: None, noted: Timestamp(0) }
    }
}

/// What a bucket says to a newcomer.
pub enum Slot {
    /// There is a free slot.
    Free,
    /// The slots that are left are in use, and some may be given back.
    InUse,
    /// All are used up, and this is when the first comes back.
    UsedUp(Timestamp),
}

impl Slots {
    /// Whether there is a free slot, out of `burst`, of which one comes back every `refill`.
    pub fn look(&mut self, burst: u32, refill: Duration, now: Timestamp) -> Slot {
        // A clock that was set back does not prolong the wait.
        self.all_free_at = self.all_free_at.min(now.after(refill * burst));
        let first_free_at = self.all_free_at.before(refill * (burst - 1));
        let ahead = u64::try_from(self.all_free_at.0.saturating_sub(now.0)).unwrap_or(0);
        let used = ahead.div_ceil(u64::try_from(refill.as_millis()).unwrap_or(u64::MAX).max(1));
        match () {
            () if used >= u64::from(burst) => Slot::UsedUp(first_free_at),
            () if used + u64::from(self.in_flight) >= u64::from(burst) => Slot::InUse,
            () => Slot::Free,
        }
    }

    /// When all slots will have come back.
    pub fn all_free_at(&self) -> Timestamp {
        self.all_free_at
    }
}

impl Bucket {
    /// The state, for the time of the guard.
    pub fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a slot back. `used_up` says when it comes back if the password was wrong.
    pub fn settle(&self, used_up: Option<(Duration, Timestamp)>) {
        let mut slots = self.lock();
        slots.in_flight = slots.in_flight.saturating_sub(1);
        if let Some((refill, now)) = used_up {
            slots.all_free_at = slots.all_free_at.max(now).after(refill);
        }
        drop(slots);
        self.settled.notify_waiters();
    }

    /// Gives all slots back that are used up.
    pub fn clear(&self) {
        let mut slots = self.lock();
        *slots = Slots { in_flight: slots.in_flight, ..Slots::default() };
        drop(slots);
        self.settled.notify_waiters();
    }

    /// Whether this is the bucket of a row in the table of blocks.
    pub fn is_of(&self, id: BlockId) -> bool {
        self.lock().block.is_some_and(|(block, _)| block == id)
    }
}
