//! From an `Authorization` header to a [`Principal`].
//!
//! Rule: one header, one scheme, one shape; the shape alone says what a bearer token is, and a value of no known shape is
//! refused before the database is asked or a password hashed. What was let in is looked for before its shape is. Threats:
//! two parties reading one header differently, tokens of one kind tried as another, and work done for nonsense.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{
    Actor, Auth, jwt,
    verified::{Found, Proof, Proven, Tag},
};
use crate::{
    error::Error,
    model::{
        LiveSession, Method, OpaqueToken, Origin, PasswordHash, PersonalSecret, Principal, Scope, Scopes, SessionId,
        Status, Timestamp, TokenHash, TokenId, UserId, fold_username,
    },
};

/// A credential as it was presented, not yet checked. It prints as its kind alone.
pub enum Credential<'a> {
    /// Username and password (RFC 7617).
    Basic {
        /// As it was typed.
        username: Zeroizing<String>,
        /// As it was typed.
        password: SecretString,
    },
    /// The random token of a login.
    Opaque(OpaqueToken),
    /// Three parts of base64url with dots between.
    Jwt(&'a str),
    /// `cst_`, secret and checksum, which is right.
    Personal(PersonalSecret),
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(..)",
            Self::Opaque(_) => "Opaque(..)",
            Self::Jwt(_) => "Jwt(..)",
            Self::Personal(_) => "Personal(..)",
        })
    }
}

/// A credential as it came: the bytes that were shown, and under which scheme. It is kept and found by that, so that
/// nothing of it has to be read again when it comes again.
#[derive(Clone, Copy)]
pub(super) struct Presented<'a> {
    pub(super) scheme: Scheme,
    pub(super) value: &'a [u8],
}

/// The schemes there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// RFC 7617.
    Basic,
    /// RFC 6750.
    Bearer,
}

impl<'a> Presented<'a> {
    /// What an `Authorization` header presents. An unknown scheme is no credential.
    pub(super) fn in_header(header: &'a [u8]) -> Result<Self, Error> {
        let end = header.iter().position(|byte| *byte == b' ').unwrap_or(header.len());
        let (scheme, mut value) = header.split_at(end);
        let scheme = if scheme.eq_ignore_ascii_case(b"basic") {
            Scheme::Basic
        } else if scheme.eq_ignore_ascii_case(b"bearer") {
            Scheme::Bearer
        } else {
            return Err(Error::Unauthenticated);
        };
        while let [b' ', rest @ ..] = value {
            value = rest;
        }
        Ok(Self { scheme, value })
    }

    /// What a service was given in place of a header: the value of a bearer token, or of HTTP Basic. No text is both,
    /// since base64 has none of `.`, `-` and `_`.
    pub(super) fn as_value(value: &'a str) -> Option<Self> {
        let schemes = [Scheme::Bearer, Scheme::Basic].into_iter();
        schemes.map(|scheme| Self { scheme, value: value.as_bytes() }).find(|presented| presented.read().is_ok())
    }

    /// Reads it. With anything amiss in it, it is a wrong one.
    fn read(self) -> Result<Credential<'a>, Error> {
        let value = std::str::from_utf8(self.value).ok();
        match self.scheme {
            Scheme::Basic => value.and_then(Credential::parse_basic).ok_or(Error::InvalidCredentials),
            Scheme::Bearer => value.and_then(Credential::parse_bearer).ok_or(Error::InvalidToken),
        }
    }
}

impl<'a> Credential<'a> {
    /// Reads the value of an `Authorization` header. An unknown scheme is no credential; a known one with anything amiss
    /// in it is a wrong one.
    pub fn parse(header: &'a [u8]) -> Result<Self, Error> {
        Presented::in_header(header)?.read()
    }

    /// The name ends at the first colon. Neither half may be empty or hold a control character (RFC 7617, section 2).
    fn parse_basic(value: &str) -> Option<Self> {
        let decoded = Zeroizing::new(STANDARD.decode(value).ok()?);
        let text = std::str::from_utf8(&decoded).ok()?;
        let (username, password) = text.split_once(':')?;
        if username.is_empty() || password.is_empty() || text.chars().any(char::is_control) {
            return None;
        }
        Some(Self::Basic { username: Zeroizing::new(username.to_owned()), password: password.into() })
    }

    fn parse_bearer(value: &'a str) -> Option<Self> {
        let is_base64url = |byte: u8| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_');
        // To the end in any case, so that many bytes are looked at at once.
        let is_part = |part: &str| !part.is_empty() && part.bytes().fold(true, |good, byte| good & is_base64url(byte));
        let mut parts = value.split('.');
        match [parts.next(), parts.next(), parts.next(), parts.next()] {
            [Some(header), Some(claims), Some(signature), None] => {
                [header, claims, signature].into_iter().all(is_part).then_some(Self::Jwt(value))
            }
            _ if value.starts_with(PersonalSecret::PREFIX) => PersonalSecret::parse(value).map(Self::Personal),
            _ => OpaqueToken::parse(value).map(Self::Opaque),
        }
    }
}

/// What a caller was let in by, without the credential itself: enough to ask again.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    user: UserId,
    session: Option<SessionId>,
    token: Option<TokenId>,
    scope: Option<Scope>,
}

impl Standing {
    /// That of a caller who was let in for what takes this scope.
    pub fn of(principal: &Principal, scope: Option<Scope>) -> Self {
        Self { user: principal.user.id, session: principal.session, token: principal.token, scope }
    }
}

impl Auth {
    /// Whether a caller who was let in would be let in now.
    pub async fn confirm(&self, standing: Standing) -> Result<(), Error> {
        let (now, mut conn) = (self.clock.now(), self.store.read().await?);
        let (user, within) = match (standing.session, standing.token) {
            (Some(session), _) => (conn.session_by_id(session, now).await?.map(|live| live.user), Scopes::all()),
            (None, Some(token)) => match conn.personal_token_by_id(token, now).await? {
                Some((token, user)) => (Some(user), token.scopes),
                None => (None, Scopes::default()),
            },
            (None, None) => {
                let user = conn.user(standing.user).await?.filter(|user| user.status == Status::Active);
                (Some(user.ok_or(Error::InvalidCredentials)?), Scopes::all())
            }
        };
        let scopes = user.ok_or(Error::InvalidToken)?.roles.scopes().and(within);
        match standing.scope {
            Some(scope) if !scopes.contains(scope) => Err(Error::Forbidden(scope)),
            _ => Ok(()),
        }
    }

    /// Who presents this `Authorization` header.
    pub async fn authenticate(&self, header: &[u8], origin: Origin) -> Result<Arc<Proven>, Error> {
        self.check(Presented::in_header(header)?, origin).await
    }

    /// Who presents this credential. One that was checked a moment ago is not checked again while nothing can have changed;
    /// otherwise what can have changed is read again.
    pub(super) async fn check(&self, presented: Presented<'_>, origin: Origin) -> Result<Arc<Proven>, Error> {
        let tag = self.verified.tag(presented);
        let known = tag.and_then(|tag| self.verified.get(&tag));
        match known {
            Some(known) if self.still_holds(&known) => Ok(known),
            // Boxed, since a future is as large as its largest branch, and is moved with every request.
            known => Box::pin(self.check_again(presented.read()?, tag, known, origin)).await,
        }
    }

    async fn check_again(
        &self,
        credential: Credential<'_>,
        tag: Option<Tag>,
        known: Option<Arc<Proven>>,
        origin: Origin,
    ) -> Result<Arc<Proven>, Error> {
        let proof = known.as_ref().map(|known| &known.proof);
        let moment = self.store.changes().moment();
        let found = match credential {
            Credential::Jwt(token) => self.check_jwt(token, proof).await,
            Credential::Opaque(token) => self.check_opaque(token.hash(), origin).await,
            Credential::Personal(token) => self.check_personal(token.hash()).await,
            Credential::Basic { username, password } => self.check_basic(&username, &password, proof, origin).await,
        };
        Ok(self.verified.keep(tag, moment, found?))
    }

    /// The signature says who issued it and to whom; the session, whether it still counts, and the user's row, what they
    /// may do: someone demoted a moment ago is so now.
    async fn check_jwt(&self, token: &str, proof: Option<&Proof>) -> Result<Found, Error> {
        let (keys, now) = (self.keys(), self.clock.now());
        let verified = match proof {
            Some(Proof::Jwt(verified)) if verified.holds(&keys, now) => Some(verified.clone()),
            _ => jwt::verify(&keys, &self.settings, token, now),
        };
        let verified = verified.ok_or(Error::InvalidToken)?;
        let live = self.store.read().await?.session_by_id(verified.session, now).await?;
        let live = live.filter(|live| live.user.id == verified.user).ok_or(Error::InvalidToken)?;
        let found = self.found(live, Method::Jwt, now)?;
        let (issued_at, expires_at) = (Some(verified.issued_at), Some(verified.expires_at));
        let principal = Principal { issued_at, expires_at, ..found.principal };
        Ok(Found { principal, proof: Proof::Jwt(verified), ..found })
    }

    async fn check_opaque(&self, hash: TokenHash, origin: Origin) -> Result<Found, Error> {
        let now = self.clock.now();
        let mut conn = self.store.read().await?;
        let Some(live) = conn.session_by_token(hash, now).await? else {
            let rotated = conn.session_by_rotated_token(hash, now).await?;
            drop(conn);
            if let Some(session) = rotated {
                self.end_reused_session(session, origin).await?;
            }
            return Err(Error::InvalidToken);
        };
        drop(conn);
        let found = self.found(live, Method::Opaque, now)?;
        Ok(Found { principal: Principal { opaque: Some(hash), ..found.principal }, ..found })
    }

    /// The user of a session, unless it has lain idle for too long.
    fn found(&self, live: LiveSession, method: Method, now: Timestamp) -> Result<Found, Error> {
        let seen_at = self.last_seen.session(live.id).max(Some(live.last_seen_at)).unwrap_or(live.last_seen_at);
        if self.is_idle_since(seen_at, now) {
            return Err(Error::InvalidToken);
        }
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
        let seen_at = self.last_seen.note_session(live.id, seen_at, now);
        Ok(Found { principal, proof: Proof::Row, seen_at, ends_at: Some(live.expires_at) })
    }

    /// What the token may do is what it was given, as far as its owner may still do it.
    async fn check_personal(&self, hash: TokenHash) -> Result<Found, Error> {
        let now = self.clock.now();
        let found = self.store.read().await?.personal_token(hash, now).await?;
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
        let seen_at = self.last_seen.note_token(token.id, token.last_used_at, now);
        Ok(Found { principal, proof: Proof::Row, seen_at, ends_at: token.expires_at })
    }

    async fn check_basic(
        &self,
        username: &str,
        password: &SecretString,
        proof: Option<&Proof>,
        origin: Origin,
    ) -> Result<Found, Error> {
        let unchanged = match proof {
            Some(Proof::Password(hash)) => self.user_of_hash(username, hash).await?,
            _ => None,
        };
        let attempt = Actor::Unknown { method: Method::Basic.as_str(), origin };
        let (id, hash) = match unchanged {
            Some(unchanged) => unchanged,
            None => self.check_password(attempt, username, password).await?,
        };
        // Read after the hash: a user disabled while it ran is refused.
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
        Ok(Found { principal, proof: Proof::Password(hash), seen_at: self.clock.now(), ends_at: None })
    }

    /// The active user of this name, if their password is still the one that was found to be right.
    async fn user_of_hash(
        &self,
        username: &str,
        known: &PasswordHash,
    ) -> Result<Option<(UserId, PasswordHash)>, Error> {
        let found = self.store.read().await?.password_of(&fold_username(username)).await?;
        let same = found.filter(|(_, hash, status)| hash == known && *status == Status::Active);
        Ok(same.map(|(id, hash, _)| (id, hash)))
    }
}
