//! Errors as `application/problem+json` (RFC 9457).
//!
//! Every kind of problem is a row of [`KINDS`]: its code is a promise, its page is served at `/problems/{code}`. A
//! [`Problem`] holds no rejected value, SQL, path or library text; what went wrong inside goes to the log.

use std::{borrow::Cow, fmt::Write, sync::Arc};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    error::{Error, FieldError},
    model::{Scope, Step},
};

/// A kind of problem.
pub struct Kind {
    /// The stable word: the last part of `type`.
    pub code: &'static str,
    /// The status it is sent with.
    pub status: u16,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What it means and what to do, for the page and for `detail` where there is nothing closer to say.
    pub about: &'static str,
}

macro_rules! kinds {
    ($($NAME:ident = $status:literal $code:literal $title:literal $about:literal;)*) => {
        $(pub(super) static $NAME: Kind = Kind { code: $code, status: $status, title: $title, about: $about };)*
        /// Every kind there is.
        pub static KINDS: &[&Kind] = &[$(&$NAME),*];
    };
}

kinds! {
    MALFORMED_REQUEST = 400 "malformed-request" "Malformed request"
        "The request cannot be read. Compare it with the API document at /docs.";
    MALFORMED_JSON = 400 "malformed-json" "Malformed JSON"
        "The body is not JSON. Check its quotes, commas and encoding, which is UTF-8.";
    INVALID_REQUEST = 400 "invalid-request" "Token missing"
        "The form must have the parameter token, once and not empty.";
    UNSUPPORTED_TOKEN_TYPE = 400 "unsupported-token-type" "Not a token"
        "A username and password cannot be revoked. Change the password, or disable the user.";
    AMBIGUOUS_CREDENTIAL = 400 "ambiguous-credential" "More than one credential"
        "The request carries more than one credential. Send one Authorization header, and at login either that or a body.";
    AUTHENTICATION_REQUIRED = 401 "authentication-required" "Authentication required"
        "This route wants to know who is calling. Send an Authorization header: Basic with username and password, or Bearer with a token from POST /login.";
    INVALID_TOKEN = 401 "invalid-token" "Token not valid"
        "The bearer token is malformed, unknown, expired or revoked. Log in again for a new one. A setup token is good for POST /admin/users alone, and only until there is an admin.";
    INVALID_CREDENTIALS = 401 "invalid-credentials" "Wrong username or password"
        "No active user has this username and this password. Check both.";
    INSUFFICIENT_SCOPE = 403 "insufficient-scope" "Not allowed"
        "The caller is known but lacks the scope this takes, which WWW-Authenticate names. It comes with a role: user or admin.";
    INSUFFICIENT_ROLE = 403 "insufficient-role" "Not allowed"
        "The caller is known but lacks a role that the proxy in front demands.";
    OPAQUE_REQUIRED = 403 "opaque-token-required" "Opaque token required"
        "Only the opaque token of a login can be refreshed. Send it as the bearer token.";
    PASSWORD_CHANGE_REQUIRED = 403 "password-change-required" "Password change required"
        "The password is right, but another one must be chosen before anything else, with POST /me/password.";
    NOT_FOUND = 404 "not-found" "Not found"
        "There is nothing here, or it is not yours. Check the path and the id.";
    METHOD_NOT_ALLOWED = 405 "method-not-allowed" "Method not allowed"
        "The path exists, but not with this method. The Allow header lists those it has.";
    REQUEST_TIMEOUT = 408 "request-timeout" "Request too slow"
        "The body did not arrive in time. Send it without pauses.";
    USERNAME_TAKEN = 409 "username-taken" "Username taken"
        "Someone has this username already; upper and lower case count as the same. Choose another.";
    NO_SESSION = 409 "no-session" "No session"
        "HTTP Basic and personal access tokens have no session that could end. Present the token whose session should end.";
    LAST_ADMIN = 409 "last-admin" "Last admin"
        "Without this user no admin could come in any more. Make another one first.";
    PRECONDITION_FAILED = 412 "precondition-failed" "Changed meanwhile"
        "What If-Match names is not what is there now: someone has changed it. Read it again.";
    TOO_MANY_TOKENS = 409 "too-many-tokens" "Too many tokens"
        "A user has at most 100 personal access tokens. Take back one that is not needed any more.";
    NO_ROTATION = 409 "no-rotation" "No keys to rotate"
        "With HS256 the key is the setting COUNTERSIGN_JWT_SECRET. Change it and start again; every JWT ends with it.";
    BODY_TOO_LARGE = 413 "body-too-large" "Body too large"
        "The body is over 64 KiB. Send less at a time.";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported-media-type" "Unsupported media type"
        "The Content-Type is missing or not one this route reads. Send application/json.";
    VALIDATION = 422 "validation" "Fields not valid"
        "Some fields do not keep their rules. The member errors names each with a code and a sentence.";
    KEY_REUSED = 422 "idempotency-key-reused" "Key used before"
        "This Idempotency-Key was used for another request within the last day. Choose a new key for a new request.";
    HEADERS_TOO_LARGE = 431 "headers-too-large" "Headers too large"
        "The request's headers are over 16 KiB. Send fewer or shorter ones.";
    INTERNAL = 500 "internal" "Internal error"
        "Something went wrong on our side. The operator finds the cause in the log under the request id.";
    UNAVAILABLE = 503 "unavailable" "Unavailable"
        "The database does not answer. Try again after the seconds that Retry-After gives.";
    BUSY = 503 "busy" "Too many passwords to check"
        "More passwords are waiting to be checked than the service takes on. Try again after the seconds that Retry-After gives.";
    TIMEOUT = 503 "timeout" "Took too long"
        "The request was given up because it took too long. Try again after the seconds that Retry-After gives.";
    STARTING = 503 "starting" "Starting"
        "The service is about to be there: it opens its database. Try again after the seconds that Retry-After gives.";
    DRAINING = 503 "draining" "Shutting down"
        "The service is about to stop and takes no new work.";
}

impl Kind {
    /// What it is called where OAuth is spoken (RFC 6749, section 5.2; RFC 6750, section 3.1).
    fn oauth_error(&self) -> Option<&'static str> {
        match self.code {
            "invalid-request" => Some("invalid_request"),
            "unsupported-token-type" => Some("unsupported_token_type"),
            "authentication-required" | "invalid-credentials" => Some("invalid_client"),
            "invalid-token" => Some("invalid_token"),
            "insufficient-scope" => Some("insufficient_scope"),
            _ => None,
        }
    }

    /// The status as a type.
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// One occurrence of a problem. As a response it is only a mark: `observe` writes it out, for it knows the request.
#[derive(Clone)]
pub struct Problem {
    pub(super) kind: &'static Kind,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    challenge: Challenge,
    retry_after: Option<u64>,
    /// What happened inside, for the log alone.
    pub(super) cause: Option<Arc<str>>,
}

/// How a request was made, as far as it matters to a problem.
#[derive(Clone, Copy)]
pub(super) struct ProblemContext {
    /// By a script on a page.
    pub by_page_script: bool,
    /// At a route where OAuth is spoken.
    pub speaks_oauth: bool,
}

/// What to say in `WWW-Authenticate` (RFC 6750, section 3).
#[derive(Clone, Copy, PartialEq)]
enum Challenge {
    None,
    Authenticate,
    InvalidToken,
    InsufficientScope(Scope),
}

/// An error as it is sent.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// Where the kind of problem is explained.
    #[serde(rename = "type")]
    #[schema(example = "/problems/invalid-token")]
    type_: String,
    /// What it is, in a few words.
    #[schema(example = "Token not valid")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 401)]
    status: u16,
    /// What happened and what to do.
    detail: &'a str,
    /// The same in the words of OAuth (RFC 6749, section 5.2), where OAuth is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "invalid_request")]
    error: Option<&'static str>,
    /// The id of this request, also in the log.
    request_id: &'a str,
    /// The fields that do not keep their rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem<'a>>,
}

/// A field that does not keep its rule.
#[derive(Serialize, ToSchema)]
pub struct FieldProblem<'a> {
    /// The field's name.
    #[schema(example = "password")]
    field: &'a str,
    /// A stable word for programs.
    #[schema(example = "too-short")]
    code: &'a str,
    /// A sentence for people.
    #[schema(example = "must have at least 8 characters")]
    message: &'a str,
}

impl<'a> From<&'a FieldError> for FieldProblem<'a> {
    fn from(error: &'a FieldError) -> Self {
        Self { field: &error.field, code: &error.code, message: &error.message }
    }
}

impl Problem {
    /// A problem of this kind, with nothing closer to say.
    pub fn new(kind: &'static Kind) -> Self {
        let challenge = if kind.status == 401 { Challenge::Authenticate } else { Challenge::None };
        let retry_after = (kind.status == 503).then_some(1);
        Self { kind, detail: None, errors: Vec::new(), challenge, retry_after, cause: None }
    }

    /// The same with a closer sentence, which holds nothing that the caller sent.
    pub fn with_detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Fields that do not keep their rules.
    pub fn validation(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(&VALIDATION) }
    }

    fn caused_by(self, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = cause.to_string();
        let mut source = cause.source();
        while let Some(deeper) = source {
            let _ = write!(text, ": {deeper}");
            source = deeper.source();
        }
        Self { cause: Some(text.into()), ..self }
    }

    /// Writes the answer out. A script on a page gets no Basic challenge, for the browser would ask its user for a
    /// password over the page's head.
    pub(super) fn write(self, request_id: &str, asked: ProblemContext, headers: &mut HeaderMap) -> Body {
        let body = ProblemBody {
            type_: format!("/problems/{}", self.kind.code),
            title: self.kind.title,
            status: self.kind.status,
            detail: self.detail.as_deref().unwrap_or(self.kind.about),
            error: self.kind.oauth_error().filter(|_| asked.speaks_oauth),
            request_id,
            errors: self.errors.iter().map(FieldProblem::from).collect(),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        let basic = "Basic realm=\"countersign\", charset=\"UTF-8\"";
        let bearer = "Bearer realm=\"countersign\"";
        let mut challenge = |text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.append(WWW_AUTHENTICATE, value);
            }
        };
        if matches!(self.challenge, Challenge::Authenticate | Challenge::InvalidToken) && !asked.by_page_script {
            challenge(basic);
        }
        match self.challenge {
            Challenge::None => {}
            Challenge::Authenticate => challenge(bearer),
            Challenge::InvalidToken => challenge(&format!("{bearer}, error=\"invalid_token\"")),
            Challenge::InsufficientScope(scope) => {
                challenge(&format!("{bearer}, error=\"insufficient_scope\", scope=\"{}\"", scope.as_str()));
            }
        }
        serde_json::to_vec(&body).unwrap_or_default().into()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match &error {
            Error::Unauthenticated => Self::new(&AUTHENTICATION_REQUIRED),
            Error::InvalidToken => Self { challenge: Challenge::InvalidToken, ..Self::new(&INVALID_TOKEN) },
            Error::InvalidCredentials => Self::new(&INVALID_CREDENTIALS),
            Error::AmbiguousCredential => Self::new(&AMBIGUOUS_CREDENTIAL),
            Error::Forbidden(scope) => {
                Self { challenge: Challenge::InsufficientScope(*scope), ..Self::new(&INSUFFICIENT_SCOPE) }
            }
            Error::NotFound => Self::new(&NOT_FOUND),
            Error::UsernameTaken => Self::new(&USERNAME_TAKEN),
            Error::NoSession => Self::new(&NO_SESSION),
            Error::MissingRole => Self::new(&INSUFFICIENT_ROLE),
            Error::OpaqueRequired => Self::new(&OPAQUE_REQUIRED),
            Error::TooManyTokens => Self::new(&TOO_MANY_TOKENS),
            Error::UnsupportedTokenType => Self::new(&UNSUPPORTED_TOKEN_TYPE),
            Error::KeyReused => Self::new(&KEY_REUSED),
            Error::LastAdmin => Self::new(&LAST_ADMIN),
            Error::Stale => Self::new(&PRECONDITION_FAILED),
            Error::StepRequired(Step::ChangePassword) => Self::new(&PASSWORD_CHANGE_REQUIRED),
            Error::NoRotation => Self::new(&NO_ROTATION),
            Error::Invalid(fields) => Self::validation(fields.clone()),
            Error::Busy { retry_after } => {
                let seconds = retry_after.as_secs_f64().ceil().max(1.0) as u64;
                Self { retry_after: Some(seconds), ..Self::new(&BUSY) }
            }
            Error::Unavailable(_) => Self::new(&UNAVAILABLE).caused_by(&error),
            Error::Internal(_) => Self::new(&INTERNAL).caused_by(&error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status_code().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// No route has this path.
pub(super) async fn not_found() -> Problem {
    Problem::new(&NOT_FOUND)
}

/// The path has other methods.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(&METHOD_NOT_ALLOWED)
}
