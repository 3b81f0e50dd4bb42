//! Authentication: from an `Authorization` header to a [`Principal`].
//!
//! Rule: the cache is consulted first, then the value is parsed (`parse.rs`), then the database decides. What can be
//! revoked or changed is read from the database, never taken from a token. Threats: a credential that is accepted after
//! its revocation, and work for malformed input.

pub mod activity;
pub mod cache;
pub mod checks;
pub mod confirm;
pub mod introspection;
pub mod parse;
pub mod personal_tokens;

use std::sync::Arc;

use secrecy::SecretString;

use crate::auth::credentials::cache::{Authenticated, Authentication, CacheKey, Evidence};
use crate::auth::credentials::checks::Check;
use crate::auth::credentials::parse::{AuthScheme, Credential, RawCredential};
use crate::auth::passwords::hash_replaced;
use crate::auth::sessions::jwt;
use crate::auth::{Actor, Auth};
use crate::error::Error;
use crate::model::{LiveSession, Method, Origin, PasswordHash, Principal, Status, Timestamp, TokenHash, UserId};
use crate::store::Conn;

impl Auth {
    /// Authenticates the caller by an `Authorization` header.
    pub async fn authenticate(&self, header: &[u8], origin: Origin) -> Result<Arc<Authenticated>, Error> {
        self.check(RawCredential::in_header(header)?, origin).await
    }

    /// Authenticates the caller by the opaque token of a session alone, from a cookie. [`Error::InvalidToken`] for anything else,
    /// also for a token that would do in a header.
    pub async fn authenticate_session(&self, token: &[u8], origin: Origin) -> Result<Arc<Authenticated>, Error> {
        let presented = RawCredential { scheme: AuthScheme::Bearer, value: token };
        match presented.parse()? {
            Credential::Opaque(_) => self.check(presented, origin).await,
            _ => Err(Error::InvalidToken),
        }
    }

    /// Authenticates the caller by a credential. A fresh cache entry is returned as it is; for a stale one only what
    /// can have changed is checked again.
    pub(in crate::auth) async fn check(
        &self,
        presented: RawCredential<'_>,
        origin: Origin,
    ) -> Result<Arc<Authenticated>, Error> {
        let key = self.credential_cache.key(presented);
        match key.and_then(|key| self.credential_cache.get(&key)) {
            Some(entry) if self.is_fresh(&entry) => {
                self.checks.count(Some(entry.method), Check::Cached);
                Ok(entry)
            }
            // Boxed: a future is as large as its largest branch, and this one is moved with every request.
            stale => Box::pin(self.check_uncached(presented, key, stale, origin)).await,
        }
    }

    async fn check_uncached(
        &self,
        presented: RawCredential<'_>,
        key: Option<CacheKey>,
        stale: Option<Arc<Authenticated>>,
        origin: Origin,
    ) -> Result<Arc<Authenticated>, Error> {
        let credential = presented.parse().inspect_err(|_| self.checks.count(None, Check::Refused))?;
        let method = match &credential {
            Credential::Jwt(_) => Method::Jwt,
            Credential::Opaque(_) => Method::Opaque,
            Credential::Personal(_) => Method::Personal,
            Credential::Basic { .. } => Method::Basic,
        };
        let evidence = stale.as_ref().map(|entry| &entry.evidence);
        let read = self.store.invalidation().read_version();
        let checked = match credential {
            Credential::Jwt(token) => self.check_jwt(token, evidence).await,
            Credential::Opaque(token) => self.check_opaque(token.hash(), origin).await,
            Credential::Personal(token) => self.check_personal(token.hash()).await,
            Credential::Basic { username, password } => self.check_basic(&username, &password, evidence, origin).await,
        };
        // Not when nobody could say: the database or the hash threads were busy.
        match &checked {
            Ok(_) => self.checks.count(Some(method), Check::LookedUp),
            Err(Error::Busy { .. } | Error::Unavailable(_) | Error::Internal(_)) => {}
            Err(_) => self.checks.count(Some(method), Check::Refused),
        }
        Ok(self.credential_cache.insert(key, read, checked?))
    }

    /// Looks a credential up: on a read replica, if there is one that is as new as the cache. Only a yes of that one counts; what it
    /// does not have, or has as it was, the primary is asked for.
    async fn look_up<T, F>(
        &self,
        query: impl Fn(Conn) -> F,
        is_live: impl FnOnce(&T) -> bool,
    ) -> Result<Option<T>, Error>
    where
        F: Future<Output = Result<Option<T>, Error>>,
    {
        match self.store.ask_replica(&query).await {
            Some(found) if is_live(&found) => Ok(Some(found)),
            _ => query(self.store.read().await?).await,
        }
    }

    /// The signature proves the issuer and the user. Whether the session is live and what the user may do comes from
    /// the database: a logout or a lost role takes effect with the next check.
    async fn check_jwt(&self, token: &str, evidence: Option<&Evidence>) -> Result<Authentication, Error> {
        let (keys, now) = (self.keys(), self.clock.now());
        let verified = match evidence {
            Some(Evidence::Jwt(verified)) if verified.is_valid_at(&keys, now) => Some(verified.clone()),
            _ => jwt::verify(&keys, &self.settings, token, now),
        };
        let verified = verified.ok_or(Error::InvalidToken)?;
        let session = verified.session;
        let query = |mut conn: Conn| async move { conn.session_by_id(session, now).await };
        let live = self.look_up(query, |live| self.is_live(live, now)).await?;
        let live = live.filter(|live| live.user.id == verified.user).ok_or(Error::InvalidToken)?;
        let checked = self.check_session(live, Method::Jwt, now)?;
        let (issued_at, expires_at) = (Some(verified.issued_at), Some(verified.expires_at));
        let principal = Principal { issued_at, expires_at, ..checked.principal };
        Ok(Authentication { principal, evidence: Evidence::Jwt(verified), ..checked })
    }

    async fn check_opaque(&self, hash: TokenHash, origin: Origin) -> Result<Authentication, Error> {
        let now = self.clock.now();
        let query = |mut conn: Conn| async move { conn.session_by_token(hash, now).await };
        let Some(live) = self.look_up(query, |live| self.is_live(live, now)).await? else {
            let rotated = self.store.read().await?.session_by_rotated_token(hash, now).await?;
            if let Some(session) = rotated {
                self.end_reused_session(session, origin).await?;
            }
            return Err(Error::InvalidToken);
        };
        let checked = self.check_session(live, Method::Opaque, now)?;
        Ok(Authentication { principal: Principal { opaque: Some(hash), ..checked.principal }, ..checked })
    }

    /// Whether a session was not idle for too long.
    fn is_live(&self, live: &LiveSession, now: Timestamp) -> bool {
        !self.is_idle_since(self.activity.sessions.last_use(live.id, live.last_seen_at), now)
    }

    /// The principal of a session, unless the session was idle for too long.
    fn check_session(&self, live: LiveSession, method: Method, now: Timestamp) -> Result<Authentication, Error> {
        if !self.is_live(&live, now) {
            return Err(Error::InvalidToken);
        }
        let seen_at = self.activity.sessions.last_use(live.id, live.last_seen_at);
        let principal = Principal {
            scopes: live.user.roles.scopes(),
            user: live.user,
            session: Some(live.id),
            token: None,
            opaque: None,
            method,
            issued_at: Some(live.created_at),
            expires_at: Some(live.expires_at),
        };
        let seen_at = self.activity.sessions.record(live.id, Some(seen_at), now);
        Ok(Authentication { principal, evidence: Evidence::Row, seen_at, ends_at: Some(live.expires_at) })
    }

    /// A personal token has those of its own scopes that its user still has.
    async fn check_personal(&self, hash: TokenHash) -> Result<Authentication, Error> {
        let now = self.clock.now();
        let query = |mut conn: Conn| async move { conn.personal_token(hash, now).await };
        let found = self.look_up(query, |_| true).await?;
        let (token, user) = found.ok_or(Error::InvalidToken)?;
        let principal = Principal {
            scopes: token.scopes.and(user.roles.scopes()),
            user,
            session: None,
            token: Some(token.id),
            opaque: None,
            method: Method::Personal,
            issued_at: Some(token.created_at),
            expires_at: token.expires_at,
        };
        let seen_at = self.activity.tokens.record(token.id, token.last_used_at, now);
        Ok(Authentication { principal, evidence: Evidence::Row, seen_at, ends_at: token.expires_at })
    }

    async fn check_basic(
        &self,
        username: &str,
        password: &SecretString,
        evidence: Option<&Evidence>,
        origin: Origin,
    ) -> Result<Authentication, Error> {
        let unchanged = match evidence {
            Some(Evidence::Password(hash)) => self.user_with_hash(username, hash).await?,
            _ => None,
        };
        let (id, hash) = match unchanged {
            Some(unchanged) => unchanged,
            None => self.check_stored_password(username, password, origin).await?,
        };
        // Read after the password is hashed: a user who was disabled meanwhile is refused.
        let user = self.store.read().await?.user(id).await?;
        let user = user.filter(|user| user.status == Status::Active).ok_or(Error::InvalidCredentials)?;
        let principal = Principal {
            scopes: user.roles.scopes(),
            user,
            session: None,
            token: None,
            opaque: None,
            method: Method::Basic,
            issued_at: None,
            expires_at: None,
        };
        Ok(Authentication { principal, evidence: Evidence::Password(hash), seen_at: self.clock.now(), ends_at: None })
    }

    /// The user and the hash that is stored, which confirms the request later.
    async fn check_stored_password(
        &self,
        username: &str,
        password: &SecretString,
        origin: Origin,
    ) -> Result<(UserId, PasswordHash), Error> {
        let attempt = Actor::Unknown { method: Method::Basic.into(), origin };
        // Another request may have upgraded the hash meanwhile.
        for _ in 0..2 {
            let (_, checked) = self.check_password(attempt, username, password).await?;
            if let Some(stored) = self.user_with_hash(username, &checked).await? {
                return Ok(stored);
            }
        }
        Err(hash_replaced())
    }

    /// The active user with this name, if their password hash is still the one that the password matched.
    async fn user_with_hash(
        &self,
        username: &str,
        known: &PasswordHash,
    ) -> Result<Option<(UserId, PasswordHash)>, Error> {
        let Some((username, email)) = self.login_name(username) else { return Ok(None) };
        let found = self.store.read().await?.password_of(&username, email.as_deref()).await?;
        let same = found.filter(|found| found.hash == *known && found.status == Status::Active);
        Ok(same.map(|found| (found.id, found.hash)))
    }
}
