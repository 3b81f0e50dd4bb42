//! JWT access tokens (RFC 9068): issued at login and refresh, verified by their signature.
//!
//! Rule (RFC 8725): the key, found by `kid` in memory, determines the algorithm. The header has `typ`, `alg` and `kid`
//! and nothing else. Every claim that a check uses is required and typed. Threats: `alg: none`, algorithm confusion,
//! headers that contain a key or the URL of one, unknown critical extensions, and ambiguous claims.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::auth::keys::Keys;
use crate::auth::{Auth, Settings, random};
use crate::error::Error;
use crate::model::{Roles, Scope, SessionId, StatusIndex, Timestamp, User, UserId};

/// The `typ` of an access token (RFC 9068, section 2.1).
const TYPE: &str = "at+jwt";
/// Longer tokens are refused unread. No token that this service issues comes near.
const MAX_BYTES: usize = 8 * 1024;
/// The clock skew in seconds that `iat` and `nbf` tolerate between two servers. `exp` tolerates none.
const CLOCK_SKEW: i64 = 5;

#[derive(Serialize)]
struct NewClaims<'a> {
    iss: &'a str,
    sub: UserId,
    aud: &'a str,
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: Uuid,
    sid: SessionId,
    name: &'a str,
    preferred_username: &'a str,
    roles: &'a Roles,
    scope: String,
    /// With the scope `email`.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusClaim>,
}

/// The reference to the status list of the session (draft-ietf-oauth-status-list, section 6.2).
#[derive(Serialize)]
struct StatusClaim {
    status_list: StatusReference,
}

#[derive(Serialize)]
struct StatusReference {
    idx: u32,
    uri: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderIn<'a> {
    typ: &'a str,
    alg: &'a str,
    kid: &'a str,
}

/// The claims that a check uses. Duplicate members are refused: RFC 8259 does not define which one counts.
struct ClaimsIn<'a> {
    iss: Cow<'a, str>,
    sub: Uuid,
    aud: Cow<'a, str>,
    exp: i64,
    nbf: i64,
    iat: i64,
    sid: Uuid,
}

/// The claims of a JWT whose signature is valid. Whether its session is live, only the database knows.
#[derive(Clone, Debug)]
pub struct VerifiedJwt {
    /// `sub`: the user.
    pub user: UserId,
    /// `sid`: the session.
    pub session: SessionId,
    /// `iat`: when it was issued.
    pub issued_at: Timestamp,
    /// `exp`: when it expires.
    pub expires_at: Timestamp,
    not_before: i64,
    kid: Arc<str>,
}

impl VerifiedJwt {
    /// Whether the token is valid at `now`: its key still verifies, and it is neither too early nor expired.
    pub fn is_valid_at(&self, keys: &Keys, now: Timestamp) -> bool {
        let latest_start = now.as_unix_seconds() + CLOCK_SKEW;
        now < self.expires_at
            && self.not_before <= latest_start
            && self.issued_at.as_unix_seconds() <= latest_start
            && keys.verifying(&self.kid, now).is_some()
    }
}

/// A JWT that was issued just now.
pub struct Jwt {
    /// The token in compact serialization.
    pub token: String,
    /// Its lifetime.
    pub expires_in: Duration,
}

impl Auth {
    /// Issues a JWT for a session, which expires at `session_ends`. The JWT expires no later than the session, its idle
    /// timeout and the signing key.
    pub(in crate::auth) fn issue_jwt(
        &self,
        user: &User,
        session: SessionId,
        status: Option<StatusIndex>,
        session_ends: Timestamp,
        now: Timestamp,
    ) -> Result<Jwt, Error> {
        let (keys, settings) = (self.keys(), &self.settings);
        let key = keys.signing(now).ok_or_else(|| Error::Internal("no key signs".into()))?;
        let limits = [
            Some(now.after(settings.tokens.jwt_ttl)),
            Some(session_ends),
            settings.tokens.idle_ttl.map(|idle| now.after(idle)),
            key.verifies_until,
        ];
        let exp = limits.into_iter().flatten().min().unwrap_or(now).as_unix_seconds();
        let iat = now.as_unix_seconds();
        let email = user.email.as_deref().filter(|_| user.roles.scopes().contains(Scope::Email));
        let token = key.sign(
            TYPE,
            &NewClaims {
                iss: settings.tokens.issuer(),
                sub: user.id,
                aud: &settings.tokens.audience,
                exp,
                nbf: iat,
                iat,
                jti: uuid::Builder::from_random_bytes(random()).into_uuid(),
                sid: session,
                name: user.display_name(),
                preferred_username: &user.username,
                roles: &user.roles,
                scope: user.roles.scopes().to_string(),
                email,
                email_verified: email.map(|_| user.email_verified),
                status: status.map(|status| StatusClaim {
                    status_list: StatusReference { idx: status.idx, uri: self.status_list_uri(status.list) },
                }),
            },
        )?;
        let expires_in = Duration::from_secs(u64::try_from(exp - iat).unwrap_or(0));
        Ok(Jwt { token, expires_in })
    }
}

/// Verifies the signature and the claims of a token. Returns none when anything is wrong.
pub fn verify(keys: &Keys, settings: &Settings, token: &str, now: Timestamp) -> Option<VerifiedJwt> {
    if token.len() > MAX_BYTES {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;

    let header = URL_SAFE_NO_PAD.decode(header).ok()?;
    // serde would accept an array for the struct, too. It refuses duplicate members itself, since it knows all of them.
    let header: HeaderIn<'_> = header.starts_with(b"{").then(|| serde_json::from_slice(&header).ok())??;
    let key = keys.verifying(header.kid, now)?;
    if header.typ != TYPE || header.alg != key.algorithm.as_str() || !key.verify(message, signature) {
        return None;
    }

    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: ClaimsIn<'_> = serde_json::from_slice(&claims).ok()?;
    let verified = VerifiedJwt {
        user: UserId(claims.sub),
        session: SessionId(claims.sid),
        issued_at: Timestamp::from_unix_seconds(claims.iat),
        expires_at: Timestamp::from_unix_seconds(claims.exp),
        not_before: claims.nbf,
        kid: Arc::clone(&key.kid),
    };
    let is_valid = claims.iss == settings.tokens.issuer()
        && claims.aud == settings.tokens.audience
        && verified.is_valid_at(keys, now);
    is_valid.then_some(verified)
}

impl<'de> Deserialize<'de> for ClaimsIn<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ClaimsVisitor)
    }
}

/// A JSON string, borrowed when it contains no escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct ClaimsVisitor;

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = ClaimsIn<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClaimsIn<'de>, A::Error> {
        let (mut iss, mut aud) = (None, None);
        let (mut sub, mut jti, mut sid) = (None::<Uuid>, None::<Uuid>, None::<Uuid>);
        let (mut exp, mut nbf, mut iat) = (None, None, None);
        let mut members = Vec::with_capacity(16);
        while let Some(Text(member)) = map.next_key()? {
            match member.as_ref() {
                "iss" => iss = Some(map.next_value::<Text<'_>>()?.0),
                "aud" => aud = Some(map.next_value::<Text<'_>>()?.0),
                "sub" => sub = Some(map.next_value()?),
                "jti" => jti = Some(map.next_value()?),
                "sid" => sid = Some(map.next_value()?),
                "exp" => exp = Some(map.next_value()?),
                "nbf" => nbf = Some(map.next_value()?),
                "iat" => iat = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            members.push(member);
        }
        members.sort_unstable();
        if !members.is_sorted_by(|a, b| a < b) {
            return Err(A::Error::custom("duplicate member"));
        }
        let all = || {
            let _required = jti?;
            Some(ClaimsIn { iss: iss?, sub: sub?, aud: aud?, exp: exp?, nbf: nbf?, iat: iat?, sid: sid? })
        };
        all().ok_or_else(|| A::Error::custom("missing claim"))
    }
}
