//! One occurrence of a problem, and how it is answered.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::FieldError;
use crate::model::Scope;

/// A kind of problem: what its occurrences share.
pub struct Kind {
    /// The stable code: the last segment of `type`.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// A short summary, the same for every occurrence.
    pub title: &'static str,
    /// What happened.
    pub what: &'static str,
    /// What to do about it.
    pub mend: &'static str,
    /// Both: the default `detail`.
    pub about: &'static str,
    /// Where the API document says more: the name of a tag.
    pub read_on: &'static str,
}

impl Kind {
    /// The OAuth error code (RFC 6749, section 5.2; RFC 6750, section 3.1), if there is one.
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

    /// `status` as a [`StatusCode`].
    pub(in crate::http) fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// One occurrence of a problem. As a response it is a marker: the middleware, which knows the request, renders it.
#[derive(Clone)]
pub struct Problem {
    pub(in crate::http) kind: &'static Kind,
    pub(super) detail: Option<Cow<'static, str>>,
    pub(super) errors: Vec<FieldError>,
    pub(super) challenge: Challenge,
    pub(super) retry_after: Option<u64>,
    /// The cause, for the log only.
    pub(in crate::http) cause: Option<Arc<str>>,
}

/// What the rendering of a problem depends on besides the problem.
#[derive(Clone, Copy)]
pub(in crate::http) struct ProblemContext {
    /// Whether a script on a page sent the request.
    pub by_page_script: bool,
    /// Whether the route is an OAuth endpoint.
    pub is_oauth: bool,
}

/// The challenge in `WWW-Authenticate` (RFC 6750, section 3).
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Challenge {
    None,
    Authenticate,
    InvalidToken,
    InsufficientScope(Scope),
}

/// An error (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(in crate::http) struct ProblemBody<'a> {
    /// The address of the page that explains this kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "/problems/invalid-token")]
    type_: String,
    /// A short summary of the kind of problem.
    #[schema(example = "Token not valid")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 401)]
    status: u16,
    /// What happened and what to do.
    #[schema(example = "The bearer token is malformed, unknown, expired or revoked. Log in again for a new one.")]
    detail: &'a str,
    /// The OAuth error code (RFC 6749, section 5.2), on OAuth endpoints only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "invalid_request")]
    error: Option<&'static str>,
    /// The request id, also in the log.
    #[schema(example = "eab0a64c0ec84f16a22b2304e33d9138")]
    request_id: &'a str,
    /// The fields that are not valid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem<'a>>,
}

/// A field that is not valid.
#[derive(Serialize, ToSchema)]
pub struct FieldProblem<'a> {
    /// The field's name.
    #[schema(example = "password")]
    field: &'a str,
    /// A stable code for programs.
    #[schema(example = "too-short")]
    code: &'a str,
    /// An explanation for people.
    #[schema(example = "must have at least 8 characters")]
    message: &'a str,
}

impl<'a> From<&'a FieldError> for FieldProblem<'a> {
    fn from(error: &'a FieldError) -> Self {
        Self { field: &error.field, code: &error.code, message: &error.message }
    }
}

impl Problem {
    /// Creates a problem of this kind with its default detail, challenge and `Retry-After`.
    pub fn new(kind: &'static Kind) -> Self {
        let challenge = if kind.status == 401 { Challenge::Authenticate } else { Challenge::None };
        let retry_after = (kind.status == 503).then_some(1);
        Self { kind, detail: None, errors: Vec::new(), challenge, retry_after, cause: None }
    }

    /// Replaces the detail. It must contain nothing that the caller sent.
    pub fn with_detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    pub(super) fn with_retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait.as_secs_f64().ceil().max(1.0) as u64), ..self }
    }

    pub(super) fn caused_by(self, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = cause.to_string();
        let mut source = cause.source();
        while let Some(error) = source {
            let _ = write!(text, ": {error}");
            source = error.source();
        }
        Self { cause: Some(text.into()), ..self }
    }

    /// Says when to try again, if that helps.
    pub(in crate::http) fn set_retry_after(&self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
    }

    /// The fields that are not valid.
    pub(in crate::http) fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// What happened and what to do.
    pub(in crate::http) fn detail(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.kind.about)
    }

    /// Renders the problem for a program: returns the body and sets the headers. A script on a page gets no Basic challenge,
    /// since the browser would prompt its user for a password.
    pub(in crate::http) fn render(self, request_id: &str, context: ProblemContext, headers: &mut HeaderMap) -> Body {
        self.into_json(request_id, context, headers).into()
    }

    /// As [`Problem::render`], with the bytes of the body.
    pub(in crate::http) fn into_json(
        self,
        request_id: &str,
        context: ProblemContext,
        headers: &mut HeaderMap,
    ) -> Vec<u8> {
        let body = ProblemBody {
            type_: format!("/problems/{}", self.kind.code),
            title: self.kind.title,
            status: self.kind.status,
            detail: self.detail(),
            error: self.kind.oauth_error().filter(|_| context.is_oauth),
            request_id,
            errors: self.errors.iter().map(FieldProblem::from).collect(),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.set_retry_after(headers);
        let basic = "Basic realm=\"countersign\", charset=\"UTF-8\"";
        let bearer = "Bearer realm=\"countersign\"";
        let mut challenge = |text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.append(WWW_AUTHENTICATE, value);
            }
        };
        if matches!(self.challenge, Challenge::Authenticate | Challenge::InvalidToken) && !context.by_page_script {
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
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status_code().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
