//! Errors as `application/problem+json` (RFC 9457).
//!
//! Every kind of problem is an entry of [`KINDS`]. Its code is stable; its page is served at `/problems/{code}`. A
//! problem contains no rejected value, SQL, path or library text; the cause of an internal error goes to the log.

mod render;

use crate::error::{Error, FieldError};
use crate::http::problem::render::Challenge;
pub use crate::http::problem::render::{FieldProblem, Kind, Problem};
pub(super) use crate::http::problem::render::{ProblemBody, ProblemContext};
use crate::model::Step;

macro_rules! kinds {
    ($($NAME:ident = $status:literal $code:literal $title:literal $what:literal $mend:literal => $read_on:literal;)*) => {
        $(pub(super) static $NAME: Kind = Kind {
            code: $code,
            status: $status,
            title: $title,
            what: $what,
            mend: $mend,
            about: concat!($what, " ", $mend),
            read_on: $read_on,
        };)*
        /// Every kind of problem.
        pub static KINDS: &[&Kind] = &[$(&$NAME),*];
    };
}

kinds! {
    MALFORMED_REQUEST = 400 "malformed-request" "Malformed request"
        "The request cannot be read."
        "Compare it with the API document at /docs." => "the service";
    MALFORMED_JSON = 400 "malformed-json" "Malformed JSON"
        "The body is not JSON."
        "Check its quotes, commas and encoding, which is UTF-8." => "the service";
    INVALID_REQUEST = 400 "invalid-request" "Token missing"
        "The form lacks the parameter token, has it twice, or has it empty."
        "Send it exactly once." => "check callers";
    UNSUPPORTED_TOKEN_TYPE = 400 "unsupported-token-type" "Not a token"
        "A username and password cannot be revoked."
        "Change the password, or disable the user." => "check callers";
    AMBIGUOUS_CREDENTIAL = 400 "ambiguous-credential" "More than one credential"
        "The request carries more than one credential."
        "Send one Authorization header, and at login either that or a body." => "log in";
    AUTHENTICATION_REQUIRED = 401 "authentication-required" "Authentication required"
        "This route requires authentication."
        "Send an Authorization header: Basic with username and password, or Bearer with a token from POST /login." => "log in";
    INVALID_TOKEN = 401 "invalid-token" "Token not valid"
        "The bearer token is malformed, unknown, expired or revoked."
        "Log in again for a new one. A setup token works only for POST /admin/users, and only until there is an admin." => "log in";
    INVALID_CREDENTIALS = 401 "invalid-credentials" "Wrong username or password"
        "No active user has this username and this password."
        "Check both." => "log in";
    INSUFFICIENT_SCOPE = 403 "insufficient-scope" "Not allowed"
        "The caller is authenticated but lacks the required scope, which WWW-Authenticate names."
        "Use a credential with that scope. The roles user and admin grant scopes; a personal access token has those it was made with." => "log in";
    INSUFFICIENT_ROLE = 403 "insufficient-role" "Not allowed"
        "The caller is authenticated but lacks a role that the proxy requires."
        "Ask an administrator for the role." => "check callers";
    FOREIGN_PAGE = 403 "foreign-page" "Sent by another site"
        "A page of another site made the browser send this request with a password. Such a request has no effect."
        "A page that may call this service sends a bearer token." => "check callers";
    OPAQUE_REQUIRED = 403 "opaque-token-required" "Opaque token required"
        "Only the opaque token of a login can be refreshed."
        "Send it as the bearer token." => "log in";
    PASSWORD_CHANGE_REQUIRED = 403 "password-change-required" "Password change required"
        "The password is right, but another one must be chosen before anything else."
        "Send both to POST /me/password." => "me";
    NOT_FOUND = 404 "not-found" "Not found"
        "There is nothing here, or it is not yours."
        "Check the path and the id." => "the service";
    METHOD_NOT_ALLOWED = 405 "method-not-allowed" "Method not allowed"
        "The path exists, but not with this method."
        "The Allow header lists those it has." => "the service";
    REQUEST_TIMEOUT = 408 "request-timeout" "Request too slow"
        "The body did not arrive in time."
        "Send it without pauses." => "the service";
    USERNAME_TAKEN = 409 "username-taken" "Username taken"
        "Another user has this username already; case is ignored."
        "Choose another." => "administer users";
    USER_DISABLED = 409 "user-disabled" "User disabled"
        "This user is disabled, so a link would open nothing."
        "Enable the user first." => "administer users";
    EMAIL_TAKEN = 409 "email-taken" "E-mail address taken"
        "Another user has verified this e-mail address."
        "Log in as that user, or use another address." => "get back in";
    REGISTRATION_CLOSED = 403 "registration-closed" "Registration closed"
        "Accounts are made by an administrator here."
        "Ask for an invitation." => "get back in";
    MAIL_UNAVAILABLE = 503 "mail-unavailable" "No mail"
        "This service sends no mail, so an administrator has to help."
        "The operator can set COUNTERSIGN_SMTP_URL." => "get back in";
    NO_SESSION = 409 "no-session" "No session"
        "HTTP Basic and personal access tokens have no session to end."
        "Present the token whose session should end." => "log in";
    LAST_ADMIN = 409 "last-admin" "Last admin"
        "This user is the last active admin."
        "Create another admin first." => "administer users";
    LINK_SPENT = 410 "link-spent" "Link not valid any more"
        "A link works once and for a limited time, and a newer one replaces it."
        "Ask for a new link." => "get back in";
    PRECONDITION_FAILED = 412 "precondition-failed" "Changed meanwhile"
        "The resource has changed since the version that If-Match names."
        "Read it again." => "administer users";
    TOO_MANY_TOKENS = 409 "too-many-tokens" "Too many tokens"
        "A user has at most 100 personal access tokens."
        "Revoke one that is no longer needed." => "me";
    NO_ROTATION = 409 "no-rotation" "No keys to rotate"
        "With HS256 the key is the setting COUNTERSIGN_JWT_SECRET."
        "Change it and restart the service; every JWT becomes invalid." => "administer";
    BODY_TOO_LARGE = 413 "body-too-large" "Body too large"
        "The body is over 64 KiB."
        "Send less at a time." => "the service";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported-media-type" "Unsupported media type"
        "The Content-Type is missing or not supported by this route."
        "Send application/json." => "the service";
    VALIDATION = 422 "validation" "Fields not valid"
        "Some fields are not valid."
        "Mend each that the member errors lists, with a code for programs and a message for people." => "the service";
    KEY_REUSED = 422 "idempotency-key-reused" "Key used before"
        "This Idempotency-Key was used for another request within the last day."
        "Choose a new key for a new request." => "administer users";
    TOO_MANY_ATTEMPTS = 429 "too-many-attempts" "Too many attempts"
        "Too many wrong passwords were tried from this address."
        "Try again after the seconds that Retry-After gives. An administrator can lift this block: GET /admin/blocks." => "log in";
    HEADERS_TOO_LARGE = 431 "headers-too-large" "Headers too large"
        "The request's headers are over 16 KiB."
        "Send fewer or shorter ones." => "the service";
    INTERNAL = 500 "internal" "Internal error"
        "Something went wrong in the service."
        "Tell the operator the request id, under which the log has the cause." => "the service";
    UNAVAILABLE = 503 "unavailable" "Unavailable"
        "The database does not answer."
        "Try again after the seconds that Retry-After gives." => "the service";
    BUSY = 503 "busy" "Too many passwords to check"
        "Too many passwords are waiting to be checked."
        "Try again after the seconds that Retry-After gives." => "the service";
    TIMEOUT = 503 "timeout" "Took too long"
        "The request was aborted because it took too long."
        "Try again after the seconds that Retry-After gives." => "the service";
    STARTING = 503 "starting" "Starting"
        "The service is starting and is still opening its database."
        "Try again after the seconds that Retry-After gives." => "the service";
    DRAINING = 503 "draining" "Shutting down"
        "The service is shutting down and accepts no new work."
        "Try again; behind a balancer another server answers." => "the service";
}

impl Problem {
    /// Creates a `validation` problem that lists these fields.
    pub fn validation(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(&VALIDATION) }
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
            Error::ForeignPage => Self::new(&FOREIGN_PAGE),
            Error::NotFound => Self::new(&NOT_FOUND),
            Error::UserDisabled => Self::new(&USER_DISABLED),
            Error::LinkSpent => Self::new(&LINK_SPENT),
            Error::EmailTaken => Self::new(&EMAIL_TAKEN),
            Error::RegistrationClosed => Self::new(&REGISTRATION_CLOSED),
            Error::MailUnavailable => Self::new(&MAIL_UNAVAILABLE),
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
            Error::TooManyAttempts { retry_after } => Self::new(&TOO_MANY_ATTEMPTS).with_retry_after(*retry_after),
            Error::Busy { retry_after } => Self::new(&BUSY).with_retry_after(*retry_after),
            Error::Unavailable(_) => Self::new(&UNAVAILABLE).caused_by(&error),
            Error::Internal(_) => Self::new(&INTERNAL).caused_by(&error),
        }
    }
}

/// The fallback for a path that matches no route.
pub(super) async fn not_found() -> Problem {
    Problem::new(&NOT_FOUND)
}

/// The fallback for a path that matches, with another method.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(&METHOD_NOT_ALLOWED)
}
