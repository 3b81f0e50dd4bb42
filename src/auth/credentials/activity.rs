//! When sessions and personal tokens were last used.
//!
//! Rule: a request only notes it in memory, once a minute for a session, or once a second when lying idle ends it; the
//! database hears of it in batches.
//! Threat: a write for every read, which would make reading as dear as writing.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    auth::Auth,
    error::Error,
    model::{SessionId, Timestamp, TokenId},
    store::Tx,
};

/// How much later a use must be than the last one known to be worth noting.
const GRAIN: Duration = Duration::from_secs(60);
/// The same when sessions end by lying idle.
const FINE_GRAIN: Duration = Duration::from_secs(1);
/// How many are written in one transaction.
const STEP: usize = 500;

/// What was noted and is not in the database yet.
pub struct Activity {
    pub sessions: PendingUses<SessionId>,
    pub tokens: PendingUses<TokenId>,
}

/// Uses by id. What is in the database stays for a round, since a request may have read the row just before.
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

    /// Records a use, unless one was `known` within the grain. Returns the last known use.
    pub fn record(&self, id: Id, known: Option<Timestamp>, now: Timestamp) -> Timestamp {
        if let Some(known) = known.filter(|known| known.after(self.grain) > now) {
            return known;
        }
        self.lock().insert(id, Use { at: now, is_written: false });
        now
    }

    /// The last use, of which the database knows that at `stored`.
    pub fn last_use(&self, id: Id, stored: Timestamp) -> Timestamp {
        self.lock().get(&id).map_or(stored, |used| used.at.max(stored))
    }

    /// What is to be written now, in the order of the ids: of two servers that write down the same ones neither waits for
    /// the other for ever. What was written in the round before is forgotten.
    fn take_batch(&self) -> Vec<(Id, Timestamp)> {
        let mut noted = self.lock();
        noted.retain(|_, used| !used.is_written);
        noted.iter().map(|(id, used)| (*id, used.at)).collect()
    }

    /// Marks what is in the database now, but not what was noted since.
    fn mark_written(&self, written: &[(Id, Timestamp)]) {
        let mut noted = self.lock();
        for (id, at) in written {
            if let Some(used) = noted.get_mut(id).filter(|used| used.at == *at) {
                used.is_written = true;
            }
        }
    }
}

impl Activity {
    /// Nothing noted yet. How finely depends on whether sessions end by lying idle.
    pub fn new(idle_ttl: Option<Duration>) -> Self {
        let grain = if idle_ttl.is_some() { FINE_GRAIN } else { GRAIN };
        Self { sessions: PendingUses::new(grain), tokens: PendingUses::new(GRAIN) }
    }
}

impl Auth {
    /// Whether a session that was last used then has lain idle for longer than it may.
    pub(in crate::auth) fn is_idle_since(&self, seen_at: Timestamp, now: Timestamp) -> bool {
        self.settings.idle_ttl.is_some_and(|idle| seen_at.after(idle) <= now)
    }

    /// Writes down when sessions and tokens were last used. To be called every few seconds.
    pub async fn write_activity(&self) -> Result<(), Error> {
        self.write_down(&self.activity.sessions, async |tx, uses| tx.record_sessions_seen(uses).await).await?;
        self.write_down(&self.activity.tokens, async |tx, uses| tx.record_tokens_used(uses).await).await
    }

    async fn write_down<Id, W>(&self, noted: &PendingUses<Id>, write: W) -> Result<(), Error>
    where
        Id: Copy + Ord,
        W: AsyncFn(&mut Tx, &[(Id, Timestamp)]) -> Result<(), Error>,
    {
        for step in noted.take_batch().chunks(STEP) {
            let mut tx = self.store.write().await?;
            write(&mut tx, step).await?;
            tx.commit().await?;
            noted.mark_written(step);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_forgotten_a_round_later_unless_it_was_noted_again() {
        let (once, again) = (SessionId::default(), SessionId(uuid::Uuid::from_u128(1)));
        let noted = PendingUses::new(GRAIN);
        noted.record(again, None, Timestamp(1));
        noted.record(once, None, Timestamp(1));
        let written = noted.take_batch();
        assert_eq!(written, [(once, Timestamp(1)), (again, Timestamp(1))], "in order");
        noted.record(again, None, Timestamp(2));
        noted.mark_written(&written);
        assert_eq!(noted.last_use(once, Timestamp(0)), Timestamp(1));
        assert_eq!(noted.take_batch(), [(again, Timestamp(2))]);
        assert_eq!(noted.last_use(once, Timestamp(0)), Timestamp(0));
    }
}
