//! When sessions and personal tokens were last used.
//!
//! Rule: a request only notes it in memory, once a minute for a session, or once a second when lying idle ends it; the
//! database hears of it in batches.
//! Threat: a write for every read, which would make reading as dear as writing.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Auth;
use crate::{
    error::Error,
    model::{SessionId, Timestamp, TokenId},
};

/// How much later a use must be than the last one known to be worth noting.
const GRAIN: Duration = Duration::from_secs(60);
/// The same when sessions end by lying idle.
const FINE_GRAIN: Duration = Duration::from_secs(1);
/// How many are written in one transaction.
const STEP: usize = 500;

/// What was noted and is not in the database yet.
pub struct LastSeen {
    grain: Duration,
    sessions: Noted<SessionId>,
    tokens: Noted<TokenId>,
}

struct Noted<Id>(Mutex<HashMap<Id, Timestamp>>);

impl<Id> Default for Noted<Id> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Id: Copy + Eq + Hash> Noted<Id> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: Id, now: Timestamp) {
        self.lock().insert(id, now);
    }

    fn snapshot(&self) -> Vec<(Id, Timestamp)> {
        self.lock().iter().map(|(id, at)| (*id, *at)).collect()
    }

    /// Forgets what is in the database now, but not what was noted since.
    fn forget(&self, written: &[(Id, Timestamp)]) {
        let mut noted = self.lock();
        for (id, at) in written {
            if noted.get(id) == Some(at) {
                noted.remove(id);
            }
        }
    }
}

impl LastSeen {
    /// Nothing noted yet. How finely depends on whether sessions end by lying idle.
    pub fn new(idle_ttl: Option<Duration>) -> Self {
        let grain = if idle_ttl.is_some() { FINE_GRAIN } else { GRAIN };
        Self { grain, sessions: Noted::default(), tokens: Noted::default() }
    }

    /// When this session was last used, if that is not in the database yet.
    pub fn session(&self, id: SessionId) -> Option<Timestamp> {
        self.sessions.lock().get(&id).copied()
    }

    /// Notes a use of a session that was last known to be used at `known`.
    pub fn note_session(&self, id: SessionId, known: Timestamp, now: Timestamp) {
        if known.after(self.grain) <= now {
            self.sessions.note(id, now);
        }
    }

    /// Notes a use of a personal token.
    pub fn note_token(&self, id: TokenId, known: Option<Timestamp>, now: Timestamp) {
        if known.is_none_or(|known| known.after(GRAIN) <= now) {
            self.tokens.note(id, now);
        }
    }
}

impl Auth {
    /// Whether a session that was last used then has lain idle for longer than it may.
    pub(super) fn is_idle_since(&self, seen_at: Timestamp, now: Timestamp) -> bool {
        self.settings.idle_ttl.is_some_and(|idle| seen_at.after(idle) <= now)
    }

    /// Writes down when sessions and tokens were last used. To be called every few seconds.
    pub async fn write_last_seen(&self) -> Result<(), Error> {
        for step in self.last_seen.sessions.snapshot().chunks(STEP) {
            let (auth, written) = (self.clone(), step.to_vec());
            self.finish(async move {
                let mut tx = auth.store.write().await?;
                for (id, at) in written {
                    tx.note_session_seen(id, at).await?;
                }
                tx.commit().await
            })
            .await?;
            self.last_seen.sessions.forget(step);
        }
        for step in self.last_seen.tokens.snapshot().chunks(STEP) {
            let (auth, written) = (self.clone(), step.to_vec());
            self.finish(async move {
                let mut tx = auth.store.write().await?;
                for (id, at) in written {
                    tx.note_token_used(id, at).await?;
                }
                tx.commit().await
            })
            .await?;
            self.last_seen.tokens.forget(step);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_forgotten_unless_it_was_noted_again_meanwhile() {
        let (noted, once, again) = (Noted::default(), SessionId::default(), SessionId(uuid::Uuid::from_u128(1)));
        noted.note(once, Timestamp(1));
        noted.note(again, Timestamp(1));
        let written = noted.snapshot();
        noted.note(again, Timestamp(2));
        noted.forget(&written);
        assert_eq!(noted.snapshot(), [(again, Timestamp(2))]);
    }
}
