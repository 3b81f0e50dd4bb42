//! What can go wrong, in the service's own words. This module knows no HTTP: `http::problem` gives each its status.

use std::time::Duration;

use crate::model::{Scope, Step};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No credential was presented, or in a scheme we do not take.
    #[error("no credential")]
    Unauthenticated,
    /// A bearer token that opens nothing: malformed, unknown, expired, revoked, or its user is disabled.
    #[error("the token is not valid")]
    InvalidToken,
    /// A username and password that open nothing. Never says which of the two, nor whether the user is disabled.
    #[error("the username or the password is not right")]
    InvalidCredentials,
    /// More than one credential was presented.
    #[error("more than one credential")]
    AmbiguousCredential,
    /// Known, but not allowed; holds the scope it would take.
    #[error("the credential lacks the scope {}", .0.as_str())]
    Forbidden(Scope),
    /// There is no such thing, or it is someone else's.
    #[error("not found")]
    NotFound,
    /// The username belongs to someone already.
    #[error("the username is taken")]
    UsernameTaken,
    /// The credential has no session that could end.
    #[error("the credential has no session")]
    NoSession,
    /// Known, but without a role that was demanded.
    #[error("the caller lacks a role")]
    MissingRole,
    /// A refresh takes the opaque token of a login.
    #[error("not an opaque token")]
    OpaqueRequired,
    /// The user has as many personal tokens as one may have.
    #[error("too many personal tokens")]
    TooManyTokens,
    /// What should be revoked is no token.
    #[error("this kind of token cannot be revoked")]
    UnsupportedTokenType,
    /// There is no key to turn over: with HS256 it is a setting.
    #[error("there is no key to turn over")]
    NoRotation,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Without this user no admin could come in any more.
    #[error("the last active admin stays")]
    LastAdmin,
    /// What should be changed has changed meanwhile.
    #[error("it has changed meanwhile")]
    Stale,
    /// The credential is right, but its user must do something else first.
    #[error("the user must take a step first: {0:?}")]
    StepRequired(Step),
    /// Fields that do not keep their rules.
    #[error("{} field(s) do not keep their rules", .0.len())]
    Invalid(Vec<FieldError>),
    /// Too many passwords are waiting to be checked.
    #[error("too many passwords are waiting to be checked")]
    Busy {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The database does not answer.
    #[error("the database does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A fault of ours.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One field that does not keep its rule. It never holds the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's name as the caller wrote it.
    pub field: String,
    /// A stable word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl FieldError {
    /// One field, its code and the sentence.
    pub fn new(field: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }

    /// The field that is missing, unknown or of the wrong type, from where serde stopped. Its own sentence quotes the value,
    /// so only the kind of fault is taken from it, and a name only if it is one of ours or plainly a name.
    pub fn wrong_shape(path: &str, error: &impl std::fmt::Display) -> Self {
        let text = error.to_string();
        let quoted = |prefix: &str| text.strip_prefix(prefix)?.split('`').next().map(ToOwned::to_owned);
        let is_name =
            |name: &str| name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.[]".contains(&b));
        let at = if path != "." && is_name(path) { path } else { "" };
        if let Some(name) = quoted("missing field `") {
            Self::new(name, "required", "is missing")
        } else if text.starts_with("unknown field `") {
            Self::new(at, "unknown", "is not a field of this request")
        } else if let Some(name) = quoted("duplicate field `") {
            Self::new(name, "duplicate", "comes more than once")
        } else {
            Self::new(at, "malformed", "is not of the type or form this field has")
        }
    }

    /// What a validation found, by field. It takes field, code and sentence and leaves the parameters, in which validator
    /// keeps the rejected value.
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

/// Why the server does not start: one sentence that names the setting and the mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl StartError {
    /// A setting that will not do, and what to do about it.
    pub fn setting(name: &str, mend: impl std::fmt::Display) -> Self {
        Self(format!("{name}: {mend}"))
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
