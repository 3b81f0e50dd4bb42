//! The errors of the service. This module knows no HTTP: `http::problem` maps each error to a status.

use std::time::Duration;

use crate::model::{Scope, Step, nearest};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No credential was presented, or its scheme is not supported.
    #[error("no credential")]
    Unauthenticated,
    /// The bearer token is malformed, unknown, expired or revoked, or its user is disabled.
    #[error("the token is not valid")]
    InvalidToken,
    /// The username and password were refused. It never says which is wrong, nor whether the user is disabled.
    #[error("the username or the password is wrong")]
    InvalidCredentials,
    /// More than one credential was presented.
    #[error("more than one credential")]
    AmbiguousCredential,
    /// The caller is authenticated but lacks the scope that the operation requires.
    #[error("the credential lacks the scope {}", .0.as_str())]
    Forbidden(Scope),
    /// A browser sent a password because a page of another site made it.
    #[error("a page of another site sent the request")]
    ForeignPage,
    /// The resource does not exist, or belongs to another user.
    #[error("not found")]
    NotFound,
    /// The user is disabled.
    #[error("the user is disabled")]
    UserDisabled,
    /// The one-time link was used, has expired, or was replaced; or there never was one.
    #[error("the link is not valid any more")]
    LinkSpent,
    /// Another user has this e-mail address, and has verified it.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// Nobody may make an account for themselves.
    #[error("registration is closed")]
    RegistrationClosed,
    /// There is no mail server.
    #[error("no mail server is set")]
    MailUnavailable,
    /// Another user has this username.
    #[error("the username is taken")]
    UsernameTaken,
    /// The credential belongs to no session, so none can be ended.
    #[error("the credential has no session")]
    NoSession,
    /// The caller is authenticated but lacks a required role.
    #[error("the caller lacks a role")]
    MissingRole,
    /// A refresh requires the opaque token of a login.
    #[error("not an opaque token")]
    OpaqueRequired,
    /// The user has reached the limit of personal tokens.
    #[error("too many personal tokens")]
    TooManyTokens,
    /// The value to revoke is of a kind that cannot be revoked (RFC 7009, section 2.2.1).
    #[error("this kind of token cannot be revoked")]
    UnsupportedTokenType,
    /// There is no key to rotate: the key of HS256 is a setting.
    #[error("there is no key to rotate")]
    NoRotation,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The change would leave no active admin.
    #[error("the last active admin cannot be removed")]
    LastAdmin,
    /// The resource has changed since the caller read it.
    #[error("the resource has changed since it was read")]
    Stale,
    /// The credential is valid, but its user must complete a step first.
    #[error("the user must complete a step first: {0:?}")]
    StepRequired(Step),
    /// Fields that failed validation.
    #[error("{} field(s) are not valid", .0.len())]
    Invalid(Vec<FieldError>),
    /// Too many wrong passwords were tried from this address, of this account or of many.
    #[error("too many wrong passwords")]
    TooManyAttempts {
        /// How long the caller should wait before a retry.
        retry_after: Duration,
    },
    /// The queue of passwords to check is full, or its wait too long.
    #[error("too many passwords are waiting to be checked")]
    Busy {
        /// How long the caller should wait before a retry.
        retry_after: Duration,
    },
    /// The database does not answer.
    #[error("the database does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A fault of the service itself.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One field that failed validation. It never holds the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The name of the field as the caller wrote it.
    pub field: String,
    /// A stable code for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl FieldError {
    /// Creates an error from a field, a code and a message.
    pub fn new(field: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }

    /// Converts a serde error at `path`: the field is missing, unknown, duplicated or of the wrong type. serde's
    /// message quotes the value, so only the kind of error is taken from it, and the name of a field of ours. `path`
    /// may hold a name that the caller chose, so it is used only if it looks like a name.
    pub fn wrong_shape(path: &str, error: &impl std::fmt::Display) -> Self {
        let text = error.to_string();
        let quoted = |prefix: &str| text.strip_prefix(prefix)?.split('`').next().map(ToOwned::to_owned);
        let at = if path != "." && is_name(path) { path } else { "" };
        if let Some(name) = quoted("missing field `") {
            Self::new(name, "required", "is missing")
        } else if let Some(name) = quoted("unknown field `") {
            let known = expected(&text);
            Self::new(
                at,
                "unknown",
                match nearest(&name, known) {
                    Some(known) => format!("is not a field of this request; did you mean {known}?"),
                    None => "is not a field of this request".to_owned(),
                },
            )
        } else if text.starts_with("unknown variant `") {
            Self::new(at, "malformed", format!("must be one of {}", expected(&text).collect::<Vec<_>>().join(", ")))
        } else if let Some(name) = quoted("duplicate field `") {
            Self::new(name, "duplicate", "comes more than once")
        } else {
            Self::new(at, "malformed", "is not of the type or form this field has")
        }
    }

    /// Converts the errors of a validation, sorted by field. It drops the parameters, which hold the rejected value.
    pub fn all(validated: Result<(), validator::ValidationErrors>) -> Vec<Self> {
        let Err(errors) = validated else { return Vec::new() };
        let named = errors.field_errors().into_iter().flat_map(|(field, errors)| {
            errors.iter().map(move |error| {
                let message = error.message.clone().unwrap_or_else(|| "is not valid".into());
                Self::new(field.clone(), error.code.clone(), message)
            })
        });
        let mut fields: Vec<Self> = named.collect();
        fields.sort_by(|a, b| a.field.cmp(&b.field));
        fields
    }
}

/// Whether this looks like the name of a field.
fn is_name(name: &str) -> bool {
    name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte))
}

/// The names that serde would have taken, all of which are ours: those in backticks after the one that it did not know.
fn expected(message: &str) -> impl Iterator<Item = &str> {
    let names = message.rsplit_once(", expected ").map_or("", |(_, names)| names);
    names.split('`').skip(1).step_by(2).filter(|name| is_name(name))
}

/// Why the server does not start: one sentence that names the setting and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl StartError {
    /// An unusable setting, and its remedy.
    pub fn setting(name: &str, remedy: impl std::fmt::Display) -> Self {
        Self(format!("{name}: {remedy}"))
    }
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        use std::error::Error as _;
        match error.source() {
            Some(source) => Self(format!("{error}: {source}")),
            None => Self(error.to_string()),
        }
    }
}

/// Why a command failed, in one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(pub String);

impl From<StartError> for CommandError {
    fn from(StartError(sentence): StartError) -> Self {
        Self(sentence)
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        StartError::from(error).into()
    }
}
