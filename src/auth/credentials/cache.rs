//! A cache of checked credentials.
//!
//! Rule: the cache only accepts a credential, never refuses one. An entry is valid while its user, session and token
//! are unchanged since before they were read ([`Invalidation`](crate::store::Invalidation)) and have not expired, and
//! while the key of a JWT still verifies; otherwise everything is read again. The cache key is a keyed hash; its secret
//! is random for each process. Threats: a request that is accepted after a logout because it read the session before, a
//! credential made to collide with another, and memory that grows with every token presented.

use std::hash::Hasher;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;

use quick_cache::sync::Cache;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::auth::credentials::parse::{AuthScheme, RawCredential};
use crate::auth::sessions::jwt::VerifiedJwt;
use crate::auth::{Auth, random};
use crate::model::{PasswordHash, Principal, Timestamp};
use crate::store::ReadVersion;

/// The 128-bit SipHash-1-3 of a credential. Without the secret nobody can search for collisions offline; to hit one of
/// a million entries by chance takes 2^108 requests.
pub type CacheKey = [u8; 16];

/// Checked credentials by their [`CacheKey`].
pub struct CredentialCache {
    entries: Option<Cache<CacheKey, Arc<Authenticated>>>,
    /// Initialised with the secret; each lookup hashes with a copy.
    hasher: SipHasher13,
}

/// A cache entry: a principal, and what the check of the credential found.
pub struct Authenticated {
    principal: Principal,
    /// What need not be checked again when the rows are read again.
    pub evidence: Evidence,
    /// Taken before the rows were read.
    read: ReadVersion,
    /// When the session or the personal token expires; a JWT may expire earlier.
    ends_at: Option<Timestamp>,
    /// The last known use of the session or the personal token, in milliseconds.
    seen_at: AtomicI64,
}

impl Deref for Authenticated {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

/// What a check proved and a change in the database does not disprove.
pub enum Evidence {
    /// Nothing: the token is looked up by its hash.
    Row,
    /// The signature and the claims of a JWT are valid.
    Jwt(VerifiedJwt),
    /// The password matches this hash.
    Password(PasswordHash),
}

/// The result of checking a valid credential against the database.
pub struct Authentication {
    /// Who presented the credential.
    pub principal: Principal,
    /// What need not be checked again when the rows are read again.
    pub evidence: Evidence,
    /// The last known use of the session or the personal token.
    pub seen_at: Timestamp,
    /// When the session or the personal token expires; a JWT may expire earlier.
    pub ends_at: Option<Timestamp>,
}

impl CredentialCache {
    /// A cache for `capacity` entries; 0 disables it.
    pub fn new(capacity: usize) -> Self {
        Self { entries: (capacity > 0).then(|| Cache::new(capacity)), hasher: SipHasher13::new_with_key(&random()) }
    }

    /// The cache key of a credential; none when the cache is disabled.
    pub fn key(&self, RawCredential { scheme, value }: RawCredential<'_>) -> Option<CacheKey> {
        self.entries.as_ref()?;
        let mut hasher = self.hasher;
        hasher.write(value);
        // A value presented under one scheme must not match an entry of the other.
        hasher.write_u8(match scheme {
            AuthScheme::Basic => b'b',
            AuthScheme::Bearer => b't',
        });
        Some(hasher.finish128().as_bytes())
    }

    /// The entry of a credential. It may be stale: see [`Auth::is_fresh`].
    pub fn get(&self, key: &CacheKey) -> Option<Arc<Authenticated>> {
        self.entries.as_ref()?.get(key)
    }

    /// Inserts the result of a check that read the database at `read` or later. Returns the entry.
    pub fn insert(&self, key: Option<CacheKey>, read: ReadVersion, checked: Authentication) -> Arc<Authenticated> {
        let Authentication { principal, evidence, seen_at, ends_at } = checked;
        let seen_at = AtomicI64::new(seen_at.0);
        let entry = Arc::new(Authenticated { principal, evidence, read, ends_at, seen_at });
        if let (Some(entries), Some(key)) = (&self.entries, key) {
            entries.insert(key, Arc::clone(&entry));
        }
        entry
    }
}

impl Auth {
    /// Whether a cache entry is still valid. Records the use if it is.
    pub(in crate::auth) fn is_fresh(&self, entry: &Authenticated) -> bool {
        let now = self.clock.now();
        let is_before = |end: Option<Timestamp>| end.is_none_or(|end| now < end);
        let proof_is_valid = match &entry.evidence {
            Evidence::Jwt(verified) => self.with_keys(|keys| verified.is_valid_at(keys, now)),
            Evidence::Row | Evidence::Password(_) => true,
        };
        let Principal { user, session, token, .. } = &entry.principal;
        let credential = session.map(|id| id.0).or(token.map(|id| id.0)).unwrap_or(user.id.0);
        proof_is_valid
            && is_before(entry.expires_at)
            && is_before(entry.ends_at)
            && self.store.invalidation().unchanged_since(entry.read, [user.id.0, credential])
            && self.record_use(entry, now)
    }

    /// Records a use of the session or token. Returns false when the session may have been idle for too long: only the
    /// database knows whether another credential of it was used meanwhile.
    fn record_use(&self, entry: &Authenticated, now: Timestamp) -> bool {
        let known = Timestamp(entry.seen_at.load(Relaxed));
        let seen = match (entry.session, entry.token) {
            (Some(_), _) if self.is_idle_since(known, now) => return false,
            (Some(session), _) => self.activity.sessions.record(session, Some(known), now),
            (None, Some(token)) => self.activity.tokens.record(token, Some(known), now),
            (None, None) => known,
        };
        // A store would evict the cache line from the other cores.
        if seen != known {
            entry.seen_at.store(seen.0, Relaxed);
        }
        true
    }
}
