use serde::Serialize;

use super::{Scopes, SessionId, Timestamp, TokenHash, TokenId, User};

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The user in the current state of the database.
    pub user: User,
    /// The session of the token; `None` with HTTP Basic and with a personal access token.
    pub session: Option<SessionId>,
    /// The id of the personal access token, if one was presented.
    pub token: Option<TokenId>,
    /// The hash of the opaque token, if one was presented: a refresh may exchange it.
    pub opaque: Option<TokenHash>,
    /// The scopes of the credential.
    pub scopes: Scopes,
    /// The kind of credential.
    pub method: Method,
    /// When the credential was issued; `None` for a password.
    pub issued_at: Option<Timestamp>,
    /// When the credential expires; `None` for a password and for a personal token without an expiry.
    pub expires_at: Option<Timestamp>,
}

/// The kind of credential that authenticated a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Username and password with each request (RFC 7617).
    Basic,
    /// The random token of a session, looked up in the database.
    Opaque,
    /// The signed token of a session (RFC 9068).
    Jwt,
    /// A personal access token, looked up in the database.
    Personal,
}

impl Method {
    /// The word used in responses, the log and the audit trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Opaque => "opaque",
            Self::Jwt => "jwt",
            Self::Personal => "personal",
        }
    }
}
