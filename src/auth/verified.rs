//! Credentials that were checked a moment ago.
//!
//! Rule: what is kept says yes or nothing. It says yes while nothing has happened to its user, its session or its token since
//! before they were read ([`Changes`]), none of them has run out, and, of a JWT, the key still verifies; whenever that is not
//! so, everything is read again. A credential is found by a hash under a key that this process drew at its start and tells
//! nobody. Threats: a request that is let in after a logout because its look-up began before it, a credential made to be
//! taken for another, and a memory that grows with every token that was ever shown.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use aws_lc_rs::hmac;
use quick_cache::sync::Cache;
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::{Auth, Credential, jwt, random};
use crate::{
    model::{PasswordHash, Principal, Timestamp},
    store::{Changes, Moment},
};

/// What a credential is found by: half of its HMAC-SHA256 (RFC 2104, section 5). With the key unknown, nobody can look for
/// two that share one; to guess one of a million takes 2^108 tries, each a request.
pub type Tag = [u8; 16];

/// Credentials that were checked, by their tags.
pub struct Verified {
    entries: Option<Cache<Tag, Arc<Entry>>>,
    key: hmac::Key,
}

/// A credential that was good.
pub struct Entry {
    /// Who presented it.
    pub principal: Arc<Principal>,
    /// By what.
    pub proof: Proof,
    /// Before anything was read.
    moment: Moment,
    /// When its session or token ends, whatever it says itself.
    ends_at: Option<Timestamp>,
    /// When its session or token was last known to be used.
    seen_at: AtomicI64,
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
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>());
        Self { entries: (room > 0).then(|| Cache::new(room)), key }
    }

    /// What a credential is found by; none when nothing is kept.
    pub fn tag(&self, credential: &Credential<'_>) -> Option<Tag> {
        self.entries.as_ref()?;
        let mut context = hmac::Context::with_key(&self.key);
        match credential {
            Credential::Basic { username, password } => {
                context.update(b"b");
                // A name may hold anything here but a colon.
                context.update(username.as_bytes());
                context.update(b":");
                context.update(password.expose_secret().as_bytes());
            }
            Credential::Opaque(token) => {
                context.update(b"o");
                context.update(token.expose());
            }
            Credential::Jwt(token) => {
                context.update(b"j");
                context.update(token.as_bytes());
            }
            Credential::Personal(token) => {
                context.update(b"p");
                context.update(token.expose());
            }
        }
        context.sign().as_ref().first_chunk().copied()
    }

    /// What is kept of a credential. It may be old.
    pub fn get(&self, tag: &Tag) -> Option<Arc<Entry>> {
        self.entries.as_ref()?.get(tag)
    }

    /// Keeps what was found, which was read after `moment`. Gives who it was.
    pub fn keep(&self, tag: Option<Tag>, moment: Moment, found: Found) -> Arc<Principal> {
        let Found { principal, proof, seen_at, ends_at } = found;
        let principal = Arc::new(principal);
        if let (Some(entries), Some(tag)) = (&self.entries, tag) {
            let entry =
                Entry { principal: Arc::clone(&principal), proof, moment, ends_at, seen_at: AtomicI64::new(seen_at.0) };
            entries.insert(tag, Arc::new(entry));
        }
        principal
    }
}

impl Entry {
    /// Whether nothing has happened since it was read to what it is about.
    fn is_current(&self, changes: &Changes) -> bool {
        let Principal { user, session, token, .. } = &*self.principal;
        let of: [Uuid; 2] = [user.id.0, session.map(|id| id.0).or(token.map(|id| id.0)).unwrap_or(user.id.0)];
        changes.none_since(self.moment, of)
    }
}

impl Auth {
    /// Whether what is kept of a credential would be found again now. It notes the use.
    pub(super) fn still_holds(&self, entry: &Entry) -> bool {
        let now = self.clock.now();
        let lives = |end: Option<Timestamp>| end.is_none_or(|end| now < end);
        let holds = match &entry.proof {
            Proof::Jwt(verified) => self.with_keys(|keys| verified.holds(keys, now)),
            Proof::Row | Proof::Password(_) => true,
        };
        holds
            && lives(entry.principal.expires_at)
            && lives(entry.ends_at)
            && entry.is_current(self.store.changes())
            && self.note_use(entry, now)
    }

    /// Notes a use of a session or token, unless it may have lain idle: another credential of the same session may have been
    /// used meanwhile, and what was written down of that is read again.
    fn note_use(&self, entry: &Entry, now: Timestamp) -> bool {
        let known = Timestamp(entry.seen_at.load(Relaxed));
        let seen = match (entry.principal.session, entry.principal.token) {
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
