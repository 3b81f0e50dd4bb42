//! Cross-origin requests: which pages of other sites may read answers (the CORS protocol of the Fetch standard).
//!
//! Rule: the pages of the origins in `COUNTERSIGN_CORS_ORIGINS` may call every route and read the answers, with a bearer token
//! that they send themselves; browsers add no credential of their own, since `Access-Control-Allow-Credentials` is never set.
//! Everybody's pages may read what is public anyway: the key set, the status lists and the metadata. `/verify` has no part in
//! this: what a proxy asks there on behalf of a preflight is a request without a credential. Threat: a page of another site
//! that acts as its visitor, and a cache that gives one origin the answer to another.

use std::sync::Arc;

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

/// The origins whose pages may call this service.
#[derive(Clone, Default)]
pub struct Cors(Arc<[HeaderValue]>);

/// What the answer to one request says about other origins.
#[derive(Clone)]
pub enum CrossOrigin {
    /// Nothing. No origin is allowed, or the route has no part in this.
    Silent,
    /// That it depends on the origin.
    Varies,
    /// That this origin may read it.
    Allowed(HeaderValue),
    /// That everybody may read it.
    Public,
}

impl Cors {
    /// Allows the pages of these origins.
    pub fn new(origins: &[String]) -> Self {
        Self(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect())
    }

    /// What the answer to a request says.
    pub fn of(&self, path: &str, headers: &HeaderMap) -> CrossOrigin {
        let is_public = path.starts_with("/.well-known/") || path.starts_with("/statuslists/");
        match headers.get(ORIGIN) {
            _ if is_public => CrossOrigin::Public,
            _ if self.0.is_empty() || path == "/verify" => CrossOrigin::Silent,
            Some(origin) if self.0.contains(origin) => CrossOrigin::Allowed(origin.clone()),
            _ => CrossOrigin::Varies,
        }
    }
}

impl CrossOrigin {
    /// The answer to a preflight, if this is one and its origin is allowed.
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let is_allowed = matches!(self, Self::Allowed(_) | Self::Public);
        if method != Method::OPTIONS || !is_allowed || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let allowed = [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
            (ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match"),
            // Two hours: the most that browsers keep it.
            (ACCESS_CONTROL_MAX_AGE, "7200"),
        ];
        Some((StatusCode::NO_CONTENT, allowed).into_response())
    }

    /// Sets the headers of an answer.
    pub fn set_headers(self, headers: &mut HeaderMap) {
        let origin = match self {
            Self::Silent => return,
            Self::Public => HeaderValue::from_static("*"),
            Self::Varies => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                return;
            }
            Self::Allowed(origin) => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                let exposed = "WWW-Authenticate, Retry-After, Link, ETag, Location, X-Request-Id";
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
                origin
            }
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}
