//! Parses an `Authorization` header into a [`Credential`], by syntax alone.
//!
//! Rule: one header has one scheme and one meaning. The syntax alone determines the kind of a bearer token; a malformed
//! value is refused before a database query or a password hash. Threats: two parties that parse a header differently, a
//! token of one kind that is tried as another, and work for malformed input.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::model::{OpaqueToken, PersonalSecret};

/// A parsed credential that is not checked yet. Its `Debug` shows only the kind.
pub enum Credential<'a> {
    /// Username and password (RFC 7617).
    Basic {
        /// The username, as the client sent it.
        username: Zeroizing<String>,
        /// The password, as the client sent it.
        password: SecretString,
    },
    /// The random token of a session.
    Opaque(OpaqueToken),
    /// Three base64url parts, separated by dots.
    Jwt(&'a str),
    /// A personal token: `cst_`, the secret and a checksum, which is correct.
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

/// The scheme and the bytes of a credential before parsing. The cache looks it up by these, so a cached credential is
/// not parsed again.
#[derive(Clone, Copy)]
pub struct RawCredential<'a> {
    /// The authentication scheme.
    pub scheme: AuthScheme,
    /// What follows the scheme, without leading spaces.
    pub value: &'a [u8],
}

/// The supported authentication schemes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AuthScheme {
    /// HTTP Basic (RFC 7617).
    Basic,
    /// Bearer tokens (RFC 6750).
    Bearer,
}

impl<'a> RawCredential<'a> {
    /// Splits an `Authorization` header. [`Error::Unauthenticated`] for an unknown scheme.
    pub fn in_header(header: &'a [u8]) -> Result<Self, Error> {
        let end = header.iter().position(|byte| *byte == b' ').unwrap_or(header.len());
        let (scheme, mut value) = header.split_at(end);
        let scheme = if scheme.eq_ignore_ascii_case(b"basic") {
            AuthScheme::Basic
        } else if scheme.eq_ignore_ascii_case(b"bearer") {
            AuthScheme::Bearer
        } else {
            return Err(Error::Unauthenticated);
        };
        while let [b' ', rest @ ..] = value {
            value = rest;
        }
        Ok(Self { scheme, value })
    }

    /// A value without its scheme: a bearer token, or the value of HTTP Basic; none when it is malformed. No text is
    /// both, since base64 contains none of `.`, `-` and `_`.
    pub fn from_value(value: &'a str) -> Option<Self> {
        let schemes = [AuthScheme::Bearer, AuthScheme::Basic].into_iter();
        schemes.map(|scheme| Self { scheme, value: value.as_bytes() }).find(|raw| raw.parse().is_ok())
    }

    /// Parses the value. A malformed one is a wrong one: [`Error::InvalidCredentials`] or [`Error::InvalidToken`].
    pub fn parse(self) -> Result<Credential<'a>, Error> {
        let value = std::str::from_utf8(self.value).ok();
        match self.scheme {
            AuthScheme::Basic => value.and_then(Credential::parse_basic).ok_or(Error::InvalidCredentials),
            AuthScheme::Bearer => value.and_then(Credential::parse_bearer).ok_or(Error::InvalidToken),
        }
    }
}

impl<'a> Credential<'a> {
    /// Parses an `Authorization` header. [`Error::Unauthenticated`] for an unknown scheme,
    /// [`Error::InvalidCredentials`] or [`Error::InvalidToken`] for a malformed value.
    pub fn parse(header: &'a [u8]) -> Result<Self, Error> {
        RawCredential::in_header(header)?.parse()
    }

    /// The username ends at the first colon. Neither part may be empty or contain a control character (RFC 7617,
    /// section 2).
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
        // No early exit, so that the compiler can vectorise the loop.
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
