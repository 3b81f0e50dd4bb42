//! From an `Authorization` header to a [`Credential`], by its shape alone.
//!
//! Rule: one header, one scheme, one shape; the shape alone says what a bearer token is, and a value of no known shape is
//! refused before the database is asked or a password hashed. Threats: two parties reading one header differently, tokens of
//! one kind tried as another, and work done for nonsense.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{
    error::Error,
    model::{OpaqueToken, PersonalSecret},
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
pub struct RawCredential<'a> {
    pub scheme: AuthScheme,
    pub value: &'a [u8],
}

/// The schemes there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AuthScheme {
    /// RFC 7617.
    Basic,
    /// RFC 6750.
    Bearer,
}

impl<'a> RawCredential<'a> {
    /// What an `Authorization` header presents. An unknown scheme is no credential.
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

    /// What a service was given in place of a header: the value of a bearer token, or of HTTP Basic. No text is both,
    /// since base64 has none of `.`, `-` and `_`.
    pub fn as_value(value: &'a str) -> Option<Self> {
        let schemes = [AuthScheme::Bearer, AuthScheme::Basic].into_iter();
        schemes.map(|scheme| Self { scheme, value: value.as_bytes() }).find(|presented| presented.read().is_ok())
    }

    /// Reads it. With anything amiss in it, it is a wrong one.
    pub fn read(self) -> Result<Credential<'a>, Error> {
        let value = std::str::from_utf8(self.value).ok();
        match self.scheme {
            AuthScheme::Basic => value.and_then(Credential::parse_basic).ok_or(Error::InvalidCredentials),
            AuthScheme::Bearer => value.and_then(Credential::parse_bearer).ok_or(Error::InvalidToken),
        }
    }
}

impl<'a> Credential<'a> {
    /// Reads the value of an `Authorization` header. An unknown scheme is no credential; a known one with anything amiss
    /// in it is a wrong one.
    pub fn parse(header: &'a [u8]) -> Result<Self, Error> {
        RawCredential::in_header(header)?.read()
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
