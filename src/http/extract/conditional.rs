//! Conditional requests: `If-None-Match` and `If-Match` (RFC 9110, section 13).

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::http::App;
use crate::http::problem::Problem;
use crate::model::Timestamp;

/// A representation of a resource (RFC 9110, section 3.2), with its validator and caching policy.
pub struct Representation {
    /// The media type.
    pub content_type: &'static str,
    /// The `Cache-Control` header.
    pub cache_control: String,
    /// The entity tag, with its quotes.
    pub etag: String,
    /// The content.
    pub body: Bytes,
}

impl Representation {
    /// Returns the representation, or 304 if `If-None-Match` matches its tag.
    pub fn respond(self, request: &HeaderMap) -> Response {
        let text = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        let caching = [(ETAG, text(&self.etag)), (CACHE_CONTROL, text(&self.cache_control))];
        if request.get_all(IF_NONE_MATCH).iter().any(|value| matches(value, &self.etag)) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        (caching, [(CONTENT_TYPE, HeaderValue::from_static(self.content_type))], self.body).into_response()
    }
}

/// Returns whether an `If-None-Match` value matches this entity tag, by weak comparison (RFC 9110, section 13.1.2).
fn matches(value: &HeaderValue, etag: &str) -> bool {
    let Ok(value) = value.to_str() else { return false };
    value.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The versions of a user that `If-Match` names (RFC 9110, section 13.1.1); `None` without the header or with `*`.
pub struct IfMatch(pub Option<Vec<Timestamp>>);

impl FromRequestParts<App> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let values = parts.headers.get_all(IF_MATCH);
        if values.iter().next().is_none() || values.iter().any(|value| value == "*") {
            return Ok(Self(None));
        }
        // Weak and foreign tags are skipped: they match no version, by strong comparison.
        let version = |tag: &str| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(Timestamp);
        let tags = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        Ok(Self(Some(tags.filter_map(version).collect())))
    }
}
