use serde::Serialize;

use crate::model::{PasswordHash, Roles, Scopes, SessionId, Timestamp, TokenHash, TokenId, User, UserId};

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

impl Principal {
    /// What the credential is in the database.
    pub fn credential_id(&self) -> CredentialId {
        match (self.session, self.token) {
            (Some(session), _) => CredentialId::Session(session),
            (None, Some(token)) => CredentialId::Token(token),
            (None, None) => CredentialId::Password(self.user.id),
        }
    }

    /// The roles of the user that the credential may speak for: not those that grant a scope which it lacks.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.user.roles.iter().filter(|role| Roles::scopes_of(role).are_within(self.scopes))
    }
}

/// A credential as the database knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialId {
    /// A session, by its opaque token or one of its JWTs.
    Session(SessionId),
    /// A personal access token.
    Token(TokenId),
    /// The password of a user.
    Password(UserId),
}

/// The user of a credential, as the database has it now.
#[derive(Debug)]
pub struct Holder {
    /// The user.
    pub user: User,
    /// The scopes to which the credential is limited.
    pub scopes: Scopes,
    /// The hash of the password, if that is the credential.
    pub password: Option<PasswordHash>,
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
