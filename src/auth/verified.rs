//! Credentials that were checked a moment ago.
//!
//! Rule: what is kept says yes or nothing. It says yes while nothing has happened to its user, its session or its token since
//! before they were read ([`Changes`]), none of them has run out, and, of a JWT, the key still verifies; whenever that is not
//! so, everything is read again. A credential is found by a hash under a key that this process drew at its start and tells
//! nobody. Threats: a request that is let in after a logout because its look-up began before it, a credential made to be
//! taken for another, and a memory that grows with every token that was ever shown.

use std::{
    hash::Hasher,
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use quick_cache::sync::Cache;
use siphasher::sip128::{Hasher128, SipHasher13};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{
    Auth,
    credential::{Presented, Scheme},
    jwt, random,
};
use crate::{
    error::Error,
    model::{PasswordHash, Principal, Timestamp},
    store::{Changes, Moment},
};

/// What a credential is found by: its SipHash-1-3 of 128 bits. With the key unknown, nobody can look for two that share
/// one; to guess one of a million takes 2^108 tries, each a request.
pub type Tag = [u8; 16];

/// The most answers that are kept with their principals, of half a kilobyte each.
const ANSWERS: usize = 16_384;

/// Credentials that were checked, by their tags.
pub struct Verified {
    entries: Option<Cache<Tag, Arc<Proven>>>,
    /// Has taken in the key and nothing else.
    hasher: SipHasher13,
    /// Room for answers.
    answers: Arc<Semaphore>,
}

/// A principal, with what was found when they proved to be it.
pub struct Proven {
    principal: Principal,
    /// By what.
    pub proof: Proof,
    /// Before anything was read.
    moment: Moment,
    /// When its session or token ends, whatever it says itself.
    ends_at: Option<Timestamp>,
    /// When its session or token was last known to be used.
    seen_at: AtomicI64,
    /// What is said to it when it asks who it is, and the room that takes.
    answer: OnceLock<(Box<[u8]>, OwnedSemaphorePermit)>,
    /// Where that room comes from.
    answers: Arc<Semaphore>,
}

impl Deref for Proven {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

/// What was found to be right and stays so, whatever is read again.
pub enum Proof {
    /// A token that is found by its hash: the row is all there is.
    Row,
    /// The signature and the claims of a JWT.
    Jwt(jwt::Verified),
    /// That the password is the one of this hash.
    Password(PasswordHash),
}

/// What the database said of a credential that is good.
pub struct Found {
    /// Who presented it.
    pub principal: Principal,
    /// By what.
    pub proof: Proof,
    /// When its session or token was last used, this time included.
    pub seen_at: Timestamp,
    /// When its session or token ends, whatever it says itself.
    pub ends_at: Option<Timestamp>,
}

impl Verified {
    /// Room for so many; with none, nothing is kept.
    pub fn new(room: usize) -> Self {
        Self {
            entries: (room > 0).then(|| Cache::new(room)),
            hasher: SipHasher13::new_with_key(&random()),
            answers: Arc::new(Semaphore::new(room.min(ANSWERS))),
        }
    }

    /// What a credential is found by; none when nothing is kept.
    pub fn tag(&self, Presented { scheme, value }: Presented<'_>) -> Option<Tag> {
        self.entries.as_ref()?;
        let mut hasher = self.hasher;
        hasher.write(value);
        // Of what is shown as a password nothing is found that was shown as a token.
        hasher.write_u8(match scheme {
            Scheme::Basic => b'b',
            Scheme::Bearer => b't',
        });
        Some(hasher.finish128().as_bytes())
    }

    /// What is kept of a credential. It may be old.
    pub fn get(&self, tag: &Tag) -> Option<Arc<Proven>> {
        self.entries.as_ref()?.get(tag)
    }

    /// Keeps what was found, which was read after `moment`. Gives who it was.
    pub fn keep(&self, tag: Option<Tag>, moment: Moment, found: Found) -> Arc<Proven> {
        let Found { principal, proof, seen_at, ends_at } = found;
        let seen_at = AtomicI64::new(seen_at.0);
        let (answer, answers) = (OnceLock::new(), Arc::clone(&self.answers));
        let proven = Arc::new(Proven { principal, proof, moment, ends_at, seen_at, answer, answers });
        if let (Some(entries), Some(tag)) = (&self.entries, tag) {
            entries.insert(tag, Arc::clone(&proven));
        }
        proven
    }
}

impl Proven {
    /// What is said to it when it asks who it is: made of its principal and of nothing else, and kept with it while there is
    /// room, so that it is gone when it is.
    pub fn answer(&self, make: impl FnOnce(&Principal) -> Result<Vec<u8>, Error>) -> Result<Vec<u8>, Error> {
        if let Some((answer, _)) = self.answer.get() {
            return Ok(answer.to_vec());
        }
        let answer = make(&self.principal)?;
        if let Ok(room) = Arc::clone(&self.answers).try_acquire_owned() {
            // Another request may be quicker, and says the same.
            let _kept = self.answer.set((answer.as_slice().into(), room));
        }
        Ok(answer)
    }

    /// Whether nothing has happened since it was read to what it is about.
    fn is_current(&self, changes: &Changes) -> bool {
        let Principal { user, session, token, .. } = &self.principal;
        let of: [Uuid; 2] = [user.id.0, session.map(|id| id.0).or(token.map(|id| id.0)).unwrap_or(user.id.0)];
        changes.none_since(self.moment, of)
    }
}

impl Auth {
    /// Whether what is kept of a credential would be found again now. It notes the use.
    pub(super) fn still_holds(&self, entry: &Proven) -> bool {
        let now = self.clock.now();
        let lives = |end: Option<Timestamp>| end.is_none_or(|end| now < end);
        let holds = match &entry.proof {
            Proof::Jwt(verified) => self.with_keys(|keys| verified.holds(keys, now)),
            Proof::Row | Proof::Password(_) => true,
        };
        holds
            && lives(entry.expires_at)
            && lives(entry.ends_at)
            && entry.is_current(self.store.changes())
            && self.note_use(entry, now)
    }

    /// Notes a use of a session or token, unless it may have lain idle: another credential of the same session may have been
    /// used meanwhile, and what was written down of that is read again.
    fn note_use(&self, entry: &Proven, now: Timestamp) -> bool {
        let known = Timestamp(entry.seen_at.load(Relaxed));
        let seen = match (entry.session, entry.token) {
            (Some(_), _) if self.is_idle_since(known, now) => return false,
            (Some(session), _) => self.last_seen.note_session(session, known, now),
            (None, Some(token)) => self.last_seen.note_token(token, Some(known), now),
            (None, None) => known,
        };
        // A write takes the entry out of the caches of the other processors.
        if seen != known {
            entry.seen_at.store(seen.0, Relaxed);
        }
        true
    }
}
