use serde::Serialize;

use super::{Scopes, SessionId, Timestamp, TokenHash, TokenId, User};

/// Who is calling, however they proved it.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The user as the database has it now.
    pub user: User,
    /// The session of the token; none with HTTP Basic and with a personal access token.
    pub session: Option<SessionId>,
    /// The personal access token, if that is what was presented.
    pub token: Option<TokenId>,
    /// The hash of the opaque token, if that is what was presented: a refresh may exchange it.
    pub opaque: Option<TokenHash>,
    /// What this credential may do here.
    pub scopes: Scopes,
    /// How they proved it.
    pub method: Method,
    /// When the credential presented was issued; a password was not.
    pub issued_at: Option<Timestamp>,
    /// When the credential presented runs out; a password does not, nor a
    /// personal token made without an end.
    pub expires_at: Option<Timestamp>,
}

/// The ways to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Username and password with each request (RFC 7617).
    Basic,
    /// The random token of a login, looked up.
    Opaque,
    /// The signed token of a login (RFC 9068).
    Jwt,
    /// A personal access token, looked up.
    Personal,
}

impl Method {
    /// The word for answers and the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Opaque => "opaque",
            Self::Jwt => "jwt",
            Self::Personal => "personal",
        }
    }
}
