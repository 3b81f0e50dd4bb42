//! A token bucket for guesses, in which a slot can be taken for a while and given back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::model::Timestamp;

/// How many times over a bucket can be used up: by guesses that several servers admit at the same moment, before they hear of each
/// other. What is used up beyond the last slot has to come back, too.
pub const MAX_DEBT: u32 = 10;

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
    /// When all slots will have come back that were used up on this server, and of which others have not been told.
    all_free_at: Timestamp,
    /// When all slots will have come back of which servers have told each other.
    told_free_at: Timestamp,
    /// Odd while others are being told: what is read meanwhile may have what is also counted here.
    tellings: u64,
    /// Whether others are still to be told that all slots have come back: until then their word is of before.
    is_clear_untold: bool,
    /// When the row of this bucket in the table of blocks was last seen; none when there is none.
    pub block_seen_at: Option<Timestamp>,
    /// The end of that row.
    pub noted: Timestamp,
}

impl Default for Slots {
    fn default() -> Self {
        let never = Timestamp(0);
        Self {
            in_flight: 0,
            all_free_at: never,
            told_free_at: never,
            tellings: 0,
            is_clear_untold: false,
            block_seen_at: None,
            noted: never,
        }
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
        self.told_free_at = self.told_free_at.min(now.after(refill * burst * MAX_DEBT));
        let all_free_at = self.all_free_at(now);
        let first_free_at = all_free_at.before(refill * (burst - 1));
        let ahead = u64::try_from(all_free_at.0.saturating_sub(now.0)).unwrap_or(0);
        let used = ahead.div_ceil(u64::try_from(refill.as_millis()).unwrap_or(u64::MAX).max(1));
        match () {
            () if used >= u64::from(burst) => Slot::UsedUp(first_free_at),
            () if used + u64::from(self.in_flight) >= u64::from(burst) => Slot::InUse,
            () => Slot::Free,
        }
    }

    /// When all slots will have come back.
    pub fn all_free_at(&self, now: Timestamp) -> Timestamp {
        let untold = u64::try_from(self.all_free_at.0.saturating_sub(now.0)).unwrap_or(0);
        self.told_free_at.max(now).after(Duration::from_millis(untold))
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
        *slots = Slots {
            in_flight: slots.in_flight,
            tellings: slots.tellings,
            is_clear_untold: slots.is_clear_untold,
            ..Slots::default()
        };
        drop(slots);
        self.settled.notify_waiters();
    }

    /// How often others have been told. Take it before what they say is read.
    pub fn tellings(&self) -> u64 {
        self.lock().tellings
    }

    /// Takes note of when all slots will have come back of which servers have told each other, unless that was read while this
    /// server was telling.
    pub fn learn(&self, all_free_at: Timestamp, tellings: u64) {
        let mut slots = self.lock();
        if slots.tellings == tellings && tellings.is_multiple_of(2) && !slots.is_clear_untold {
            slots.told_free_at = all_free_at;
        }
    }

    /// Begins to tell others what was used up here. [`Bucket::end_telling`] follows.
    pub fn begin_telling(&self) {
        self.lock().tellings |= 1;
    }

    /// Ends that. When others were told, or may have been: so much, and this is when all slots will have come back of which servers
    /// have told each other. `is_cleared` says whether they were told, too, that all slots had come back before.
    pub fn end_telling(&self, told: Option<(Duration, Timestamp)>, is_cleared: bool) {
        let mut slots = self.lock();
        slots.tellings = (slots.tellings | 1) + 1;
        if let Some((used, all_free_at)) = told {
            slots.all_free_at = slots.all_free_at.before(used);
            slots.told_free_at = all_free_at;
            // All slots may have come back since that was begun, which the others are told next.
            slots.is_clear_untold &= !is_cleared;
        }
    }

    /// Notes that others are to be told that all slots have come back.
    pub fn expect_clear(&self) {
        self.lock().is_clear_untold = true;
    }
}

#[cfg(test)]
mod tests;
