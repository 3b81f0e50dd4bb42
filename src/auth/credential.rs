//! From an `Authorization` header to a [`Principal`].
//!
//! Rule: one header, one scheme, one shape; the shape alone says what a bearer token is, and a value of no known shape is
//! refused before anything is asked or hashed. Threats: two parties reading one header differently, tokens of one kind
//! tried as another, and work done for nonsense.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{Auth, jwt};
use crate::{
    error::Error,
    model::{Method, OpaqueToken, Principal, Status, TokenHash},
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
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(..)",
            Self::Opaque(_) => "Opaque(..)",
            Self::Jwt(_) => "Jwt(..)",
        })
    }
}

impl<'a> Credential<'a> {
    /// Reads the value of an `Authorization` header. An unknown scheme is no credential; a known one with anything amiss
    /// in it is a wrong one.
    pub fn parse(header: &'a [u8]) -> Result<Self, Error> {
        let header = std::str::from_utf8(header).map_err(|_| Error::Unauthenticated)?;
        let (scheme, value) = header.split_once(' ').unwrap_or((header, ""));
        let value = value.trim_start_matches(' ');
        if scheme.eq_ignore_ascii_case("basic") {
            Self::parse_basic(value).ok_or(Error::InvalidCredentials)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Self::parse_bearer(value).ok_or(Error::InvalidToken)
        } else {
            Err(Error::Unauthenticated)
        }
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
        let is_base64url =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if value.split('.').count() == 3 {
            value.split('.').all(is_base64url).then_some(Self::Jwt(value))
        } else {
            OpaqueToken::parse(value).map(Self::Opaque)
        }
    }
}

/// The value of a bearer token, whatever its shape.
pub(super) fn bearer_value(header: &[u8]) -> Option<&str> {
    let (scheme, value) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(value.trim_start_matches(' '))
}

impl Auth {
    /// Who presents this `Authorization` header.
    pub async fn authenticate(&self, header: &[u8]) -> Result<Principal, Error> {
        match Credential::parse(header)? {
            Credential::Jwt(token) => self.authenticate_jwt(token).await,
            Credential::Opaque(token) => self.authenticate_opaque(token.hash()).await,
            Credential::Basic { username, password } => self.authenticate_basic(&username, &password).await,
        }
    }

    /// The signature says who issued it and to whom; the session, whether it still counts, and the user's row, what they
    /// may do: someone demoted a moment ago is so now.
    async fn authenticate_jwt(&self, token: &str) -> Result<Principal, Error> {
        let now = self.clock.now();
        let verified = jwt::verify(&self.keys, &self.settings, token, now).ok_or(Error::InvalidToken)?;
        let live = self.store.read().await?.session_by_id(verified.session, now).await?;
        let (session, _, user) = live.ok_or(Error::InvalidToken)?;
        if user.id != verified.user {
            return Err(Error::InvalidToken);
        }
        let scopes = user.roles.scopes();
        let expires_at = Some(verified.expires_at);
        Ok(Principal { user, session: Some(session), scopes, method: Method::Jwt, expires_at })
    }

    async fn authenticate_opaque(&self, hash: TokenHash) -> Result<Principal, Error> {
        let live = self.store.read().await?.session_by_token(hash, self.clock.now()).await?;
        let (session, expires_at, user) = live.ok_or(Error::InvalidToken)?;
        let scopes = user.roles.scopes();
        let expires_at = Some(expires_at);
        Ok(Principal { user, session: Some(session), scopes, method: Method::Opaque, expires_at })
    }

    async fn authenticate_basic(&self, username: &str, password: &SecretString) -> Result<Principal, Error> {
        let (id, _) = self.check_password(username, password).await?;
        // Read after the hash: a user disabled while it ran is refused.
        let user = self.store.read().await?.user(id).await?;
        let user = user.filter(|user| user.status == Status::Active).ok_or(Error::InvalidCredentials)?;
        let scopes = user.roles.scopes();
        Ok(Principal { user, session: None, scopes, method: Method::Basic, expires_at: None })
    }
}
