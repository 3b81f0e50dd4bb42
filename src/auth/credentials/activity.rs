//! When sessions and personal tokens were last used.
//!
//! Rule: a request records a use in memory only, at most once a minute, or once a second for sessions with an idle
//! timeout. Batches of uses are written to the database. Threat: a write for every read would make reads as expensive
//! as writes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::auth::Auth;
use crate::error::Error;
use crate::model::{SessionId, Timestamp, TokenId};
use crate::store::Tx;

/// How much later than the last known use a use must be to be recorded.
const GRAIN: Duration = Duration::from_secs(60);
/// The same for sessions with an idle timeout.
const FINE_GRAIN: Duration = Duration::from_secs(1);
/// Uses per transaction.
const STEP: usize = 500;

/// Uses that are not in the database yet.
pub struct Activity {
    /// Uses of sessions.
    pub sessions: PendingUses<SessionId>,
    /// Uses of personal tokens.
    pub tokens: PendingUses<TokenId>,
}

/// The last use by id. A written use stays until the next batch: a request may have read the row just before the write.
pub struct PendingUses<Id> {
    grain: Duration,
    uses: Mutex<BTreeMap<Id, Use>>,
}

#[derive(Clone, Copy, PartialEq)]
struct Use {
    at: Timestamp,
    is_written: bool,
}

impl<Id: Copy + Ord> PendingUses<Id> {
    fn new(grain: Duration) -> Self {
        Self { grain, uses: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Use>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a use at `now`, unless the last `known` use is recent enough. Returns the last known use.
    pub fn record(&self, id: Id, known: Option<Timestamp>, now: Timestamp) -> Timestamp {
        if let Some(known) = known.filter(|known| known.after(self.grain) > now) {
            return known;
        }
        self.lock().insert(id, Use { at: now, is_written: false });
        now
    }

    /// The last use, given that the database has `stored`.
    pub fn last_use(&self, id: Id, stored: Timestamp) -> Timestamp {
        self.lock().get(&id).map_or(stored, |used| used.at.max(stored))
    }

    /// The uses to write, in the order of their ids: two servers that write the same rows do not deadlock. Removes the
    /// uses that were written before.
    fn take_batch(&self) -> Vec<(Id, Timestamp)> {
        let mut pending = self.lock();
        pending.retain(|_, used| !used.is_written);
        pending.iter().map(|(id, used)| (*id, used.at)).collect()
    }

    /// Marks these uses as written, unless a later use was recorded meanwhile.
    fn mark_written(&self, written: &[(Id, Timestamp)]) {
        let mut pending = self.lock();
        for (id, at) in written {
            if let Some(used) = pending.get_mut(id).filter(|used| used.at == *at) {
                used.is_written = true;
            }
        }
    }
}

impl Activity {
    /// `idle_ttl` is the idle timeout of sessions.
    pub fn new(idle_ttl: Option<Duration>) -> Self {
        let grain = if idle_ttl.is_some() { FINE_GRAIN } else { GRAIN };
        Self { sessions: PendingUses::new(grain), tokens: PendingUses::new(GRAIN) }
    }
}

impl Auth {
    /// Whether a session that was last used at `seen_at` has reached its idle timeout.
    pub(in crate::auth) fn is_idle_since(&self, seen_at: Timestamp, now: Timestamp) -> bool {
        self.settings.tokens.idle_ttl.is_some_and(|idle| seen_at.after(idle) <= now)
    }

    /// Writes the pending uses to the database. Call this every few seconds.
    pub async fn write_activity(&self) -> Result<(), Error> {
        self.write_uses(&self.activity.sessions, async |tx, uses| tx.record_sessions_seen(uses).await).await?;
        self.write_uses(&self.activity.tokens, async |tx, uses| tx.record_tokens_used(uses).await).await
    }

    async fn write_uses<Id, W>(&self, pending: &PendingUses<Id>, write: W) -> Result<(), Error>
    where
        Id: Copy + Ord,
        W: AsyncFn(&mut Tx, &[(Id, Timestamp)]) -> Result<(), Error>,
    {
        for step in pending.take_batch().chunks(STEP) {
            let mut tx = self.store.write().await?;
            write(&mut tx, step).await?;
            tx.commit().await?;
            pending.mark_written(step);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_use_is_dropped_with_the_next_batch_unless_a_later_one_was_recorded() {
        let (once, again) = (SessionId::default(), SessionId(uuid::Uuid::from_u128(1)));
        let pending = PendingUses::new(GRAIN);
        pending.record(again, None, Timestamp(1));
        pending.record(once, None, Timestamp(1));
        let written = pending.take_batch();
        assert_eq!(written, [(once, Timestamp(1)), (again, Timestamp(1))], "in order");
        pending.record(again, None, Timestamp(2));
        pending.mark_written(&written);
        assert_eq!(pending.last_use(once, Timestamp(0)), Timestamp(1));
        assert_eq!(pending.take_batch(), [(again, Timestamp(2))]);
        assert_eq!(pending.last_use(once, Timestamp(0)), Timestamp(0));
    }

    #[test]
    fn a_use_is_recorded_once_the_last_one_is_a_grain_ago() {
        let (id, known) = (TokenId::default(), Some(Timestamp(100_000)));
        for (idle_ttl, grain) in [(None, 60_000), (Some(GRAIN), 1000)] {
            let activity = Activity::new(idle_ttl);
            let seen = |later: i64| activity.sessions.record(SessionId::default(), known, Timestamp(100_000 + later)).0;
            assert_eq!([0, grain - 1, grain].map(seen), [100_000, 100_000, 100_000 + grain]);
            assert_eq!(activity.sessions.take_batch().len(), 1);
            assert_eq!(activity.tokens.record(id, known, Timestamp(159_999)), Timestamp(100_000));
            assert_eq!(activity.tokens.record(id, known, Timestamp(160_000)), Timestamp(160_000));
            assert_eq!(
                activity.tokens.last_use(id, Timestamp(170_000)),
                Timestamp(170_000),
                "another server knows more"
            );
        }
    }
}
