//! Status lists: revocation for services that verify JWTs offline (draft-ietf-oauth-status-list).
//!
//! Rule: every session has an index in a list, drawn at random. When the session ends, its bit is set in the next list
//! that is served. No other session gets the index before the session's tokens have expired. Threats: a logout that
//! offline verifiers never learn of, and indices that reveal the order of logins.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;

use crate::auth::keys::etag;
use crate::auth::{Auth, random};
use crate::error::Error;
use crate::model::{Session, StatusIndex, StatusList, StatusListId, Timestamp, TokenHash};
use crate::store::Tx;

/// The `typ` of a status list token (section 5.1 of the draft).
const TYPE: &str = "statuslist+jwt";
/// Bits in a list: 16 KiB, which compress well while few are set.
const LIST_SIZE: u32 = 1 << 17;
/// Random indices to try in a list. When all of them are taken, the list is about nine tenths full and is closed.
const MAX_DRAWS: usize = 64;
/// How long a verifier may use a list when it cannot fetch a newer one.
const EXPIRY: Duration = Duration::from_secs(15 * 60);

/// A signed status list, ready to serve.
pub struct SignedStatusList {
    /// The list as a JWT.
    pub jwt: String,
    /// The entity tag: it changes with the list.
    pub etag: String,
    /// The list that was signed.
    list: StatusList,
    signed_at: Timestamp,
    expires_at: Timestamp,
}

/// A cache of signed status lists.
#[derive(Default)]
pub struct SignedStatusLists {
    signed: Mutex<HashMap<StatusListId, Arc<SignedStatusList>>>,
    /// Held while a list is signed, so that concurrent requests wait for it instead of signing it again.
    signing: tokio::sync::Mutex<()>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: String,
    iat: i64,
    exp: i64,
    ttl: u64,
    status_list: Bits,
}

#[derive(Serialize)]
struct Bits {
    bits: u8,
    lst: String,
}

/// Inserts a session with a free index in the open list; opens a list when there is none. Returns the index.
pub(in crate::auth) async fn insert_session(
    tx: &mut Tx,
    session: &Session,
    token: TokenHash,
    now: Timestamp,
) -> Result<StatusIndex, Error> {
    // The second round uses a new list, which another server may have opened meanwhile.
    for _ in 0..3 {
        let Some(list) = tx.open_status_list().await? else {
            let list = StatusList { id: StatusListId::new(now, random()), size: LIST_SIZE, version: 0 };
            tx.insert_status_list(&list, now).await?;
            continue;
        };
        for _ in 0..MAX_DRAWS {
            let index = StatusIndex { list: list.id, idx: u32::from_le_bytes(random()) % list.size.max(1) };
            if !tx.is_revoked(index).await? && tx.insert_session(session, token, index).await? {
                return Ok(index);
            }
        }
        tx.close_status_list(list.id, now).await?;
    }
    Err(Error::Internal("no status list has a free index".into()))
}

impl Auth {
    /// The URL of a list, as in the `uri` of JWTs.
    pub(in crate::auth) fn status_list_uri(&self, id: StatusListId) -> String {
        format!("{}/statuslists/{id}", self.settings.tokens.issuer().trim_end_matches('/'))
    }

    /// The current signed status list. [`Error::NotFound`] when there is none with this id, or no longer.
    pub async fn status_list(&self, id: StatusListId) -> Result<Arc<SignedStatusList>, Error> {
        let (now, ttl) = (self.clock.now(), self.settings.tokens.status_ttl);
        let list = self.store.read().await?.status_list(id).await?.ok_or(Error::NotFound)?;
        if let Some(signed) = self.status_lists.get(&list, now, ttl) {
            return Ok(signed);
        }
        let _signing = self.status_lists.signing.lock().await;
        let mut conn = self.store.read().await?;
        // Read the version before the bits: a later revocation advances the version, so the list is signed again.
        let list = conn.status_list(id).await?.ok_or(Error::NotFound)?;
        if let Some(signed) = self.status_lists.get(&list, now, ttl) {
            return Ok(signed);
        }
        let revoked = conn.revoked_statuses(id).await?;
        drop(conn);
        let signed = Arc::new(self.sign_status_list(list, &revoked, now)?);
        self.status_lists.insert(Arc::clone(&signed), now, ttl);
        Ok(signed)
    }

    fn sign_status_list(&self, list: StatusList, revoked: &[u32], now: Timestamp) -> Result<SignedStatusList, Error> {
        let ttl = self.settings.tokens.status_ttl;
        let keys = self.keys();
        let key = keys.signing(now).ok_or_else(|| Error::Internal("no key signs".into()))?;
        let expires_at = now.after(EXPIRY.max(ttl * 2));
        let expires_at = key.verifies_until.map_or(expires_at, |until| until.min(expires_at));
        let claims = Claims {
            iss: self.settings.tokens.issuer(),
            sub: self.status_list_uri(list.id),
            iat: now.as_unix_seconds(),
            exp: expires_at.as_unix_seconds(),
            ttl: ttl.as_secs(),
            status_list: Bits { bits: 1, lst: compress(list.size, revoked)? },
        };
        let jwt = key.sign(TYPE, &claims)?;
        Ok(SignedStatusList { etag: etag(jwt.as_bytes()), jwt, list, signed_at: now, expires_at })
    }
}

impl SignedStatusLists {
    fn lock(&self) -> MutexGuard<'_, HashMap<StatusListId, Arc<SignedStatusList>>> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cached list, if nothing was revoked since and it is fresh.
    fn get(&self, list: &StatusList, now: Timestamp, ttl: Duration) -> Option<Arc<SignedStatusList>> {
        let lists = self.lock();
        lists.get(&list.id).filter(|signed| signed.list.version == list.version && signed.is_fresh(now, ttl)).cloned()
    }

    /// Caches a list, and removes those that are no longer fresh.
    fn insert(&self, signed: Arc<SignedStatusList>, now: Timestamp, ttl: Duration) {
        let mut lists = self.lock();
        lists.retain(|_, kept| kept.is_fresh(now, ttl));
        lists.insert(signed.list.id, signed);
    }
}

impl SignedStatusList {
    /// Whether the list was signed recently and does not expire within `ttl`, for which clients cache it.
    fn is_fresh(&self, now: Timestamp, ttl: Duration) -> bool {
        self.signed_at <= now && now < self.signed_at.after(EXPIRY / 3) && now.after(ttl) < self.expires_at
    }
}

/// The bits of a list, compressed with zlib (RFC 1950), in base64url. Index 0 is the lowest bit of the first byte.
fn compress(size: u32, revoked: &[u32]) -> Result<String, Error> {
    let mut bytes = vec![0_u8; usize::try_from(size.div_ceil(8)).unwrap_or(0)];
    for idx in revoked {
        if let Some(byte) = usize::try_from(idx / 8).ok().and_then(|at| bytes.get_mut(at)) {
            *byte |= 1 << (idx % 8);
        }
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let compressed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    Ok(URL_SAFE_NO_PAD.encode(compressed.map_err(|error| Error::Internal(error.into()))?))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn index_0_is_the_lowest_bit_of_the_first_byte() {
        // The example of the draft, section 4.1: 1 0 0 1 1 1 0 1  1 1 0 0 0 1 0 1.
        let lst = compress(16, &[0, 3, 4, 5, 7, 8, 9, 13, 15]).unwrap();
        let mut bytes = Vec::new();
        flate2::read::ZlibDecoder::new(&*URL_SAFE_NO_PAD.decode(lst).unwrap()).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [0xb9, 0xa3]);
    }
}
