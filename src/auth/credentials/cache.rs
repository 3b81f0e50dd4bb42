//! Credentials that were checked a moment ago.
//!
//! Rule: what is kept says yes or nothing. It says yes while nothing has happened to its user, its session or its token since
//! before they were read ([`Invalidation`]), none of them has run out, and, of a JWT, the key still verifies; whenever that is not
//! so, everything is read again. A credential is found by a hash under a key that this process drew at its start and tells
//! nobody. Threats: a request that is let in after a logout because its look-up began before it, a credential made to be
//! taken for another, and a memory that grows with every token that was ever shown.

use std::{
    hash::Hasher,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use quick_cache::sync::Cache;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::{
    auth::{
        Auth,
        credentials::parse::{AuthScheme, RawCredential},
        random,
        sessions::jwt::VerifiedJwt,
    },
    model::{PasswordHash, Principal, Timestamp},
    store::ReadVersion,
};

/// What a credential is found by: its SipHash-1-3 of 128 bits. With the key unknown, nobody can look for two that share
/// one; to guess one of a million takes 2^108 tries, each a request.
pub type CacheKey = [u8; 16];

/// Credentials that were checked, by their tags.
pub struct CredentialCache {
    entries: Option<Cache<CacheKey, Arc<Authenticated>>>,
    /// Has taken in the key and nothing else.
    hasher: SipHasher13,
}

/// A principal, with what was found when they proved to be it.
pub struct Authenticated {
    principal: Principal,
    /// By what.
    pub evidence: Evidence,
    /// Before anything was read.
    read: ReadVersion,
    /// When its session or token ends, whatever it says itself.
    ends_at: Option<Timestamp>,
    /// When its session or token was last known to be used.
    seen_at: AtomicI64,
}

impl Deref for Authenticated {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

/// What was found to be right and stays so, whatever is read again.
pub enum Evidence {
    /// A token that is found by its hash: the row is all there is.
    Row,
    /// The signature and the claims of a JWT.
    Jwt(VerifiedJwt),
    /// That the password is the one of this hash.
    Password(PasswordHash),
}

/// What the database said of a credential that is good.
pub struct Authentication {
    /// Who presented it.
    pub principal: Principal,
    /// By what.
    pub evidence: Evidence,
    /// When its session or token was last used, this time included.
    pub seen_at: Timestamp,
    /// When its session or token ends, whatever it says itself.
    pub ends_at: Option<Timestamp>,
}

impl CredentialCache {
    /// Room for so many; with none, nothing is kept.
    pub fn new(room: usize) -> Self {
        Self { entries: (room > 0).then(|| Cache::new(room)), hasher: SipHasher13::new_with_key(&random()) }
    }

    /// What a credential is found by; none when nothing is kept.
    pub fn key(&self, RawCredential { scheme, value }: RawCredential<'_>) -> Option<CacheKey> {
        self.entries.as_ref()?;
        let mut hasher = self.hasher;
        hasher.write(value);
        // Of what is shown as a password nothing is found that was shown as a token.
        hasher.write_u8(match scheme {
            AuthScheme::Basic => b'b',
            AuthScheme::Bearer => b't',
        });
        Some(hasher.finish128().as_bytes())
    }

    /// What is kept of a credential. It may be old.
    pub fn get(&self, tag: &CacheKey) -> Option<Arc<Authenticated>> {
        self.entries.as_ref()?.get(tag)
    }

    /// Keeps what was found, which was read after `moment`. Gives who it was.
    pub fn insert(&self, tag: Option<CacheKey>, read: ReadVersion, found: Authentication) -> Arc<Authenticated> {
        let Authentication { principal, evidence, seen_at, ends_at } = found;
        let seen_at = AtomicI64::new(seen_at.0);
        let proven = Arc::new(Authenticated { principal, evidence, read, ends_at, seen_at });
        if let (Some(entries), Some(tag)) = (&self.entries, tag) {
            entries.insert(tag, Arc::clone(&proven));
        }
        proven
    }
}

impl Auth {
    /// Whether what is kept of a credential would be found again now. It notes the use.
    pub(in crate::auth) fn is_fresh(&self, entry: &Authenticated) -> bool {
        let now = self.clock.now();
        let lives = |end: Option<Timestamp>| end.is_none_or(|end| now < end);
        let holds = match &entry.evidence {
            Evidence::Jwt(verified) => self.with_keys(|keys| verified.holds(keys, now)),
            Evidence::Row | Evidence::Password(_) => true,
        };
        let Principal { user, session, token, .. } = &entry.principal;
        let credential = session.map(|id| id.0).or(token.map(|id| id.0)).unwrap_or(user.id.0);
        holds
            && lives(entry.expires_at)
            && lives(entry.ends_at)
            && self.store.invalidation().unchanged_since(entry.read, [user.id.0, credential])
            && self.note_use(entry, now)
    }

    /// Notes a use of a session or token, unless it may have lain idle: another credential of the same session may have been
    /// used meanwhile, and what was written down of that is read again.
    fn note_use(&self, entry: &Authenticated, now: Timestamp) -> bool {
        let known = Timestamp(entry.seen_at.load(Relaxed));
        let seen = match (entry.session, entry.token) {
            (Some(_), _) if self.is_idle_since(known, now) => return false,
            (Some(session), _) => self.activity.sessions.record(session, Some(known), now),
            (None, Some(token)) => self.activity.tokens.record(token, Some(known), now),
            (None, None) => known,
        };
        // A write takes the entry out of the caches of the other processors.
        if seen != known {
            entry.seen_at.store(seen.0, Relaxed);
        }
        true
    }
}
