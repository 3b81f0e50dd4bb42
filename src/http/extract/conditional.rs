//! Answers that a client may have already (RFC 9110, section 13).

use axum::{
    body::Bytes,
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH},
        request::Parts,
    },
    response::{IntoResponse, Response},
};

use crate::{
    http::{App, problem::Problem},
    model::Timestamp,
};

/// A representation with its entity tag.
pub struct Tagged {
    /// What it is.
    pub content_type: &'static str,
    /// How long it may be kept.
    pub cache_control: String,
    /// Its entity tag.
    pub etag: String,
    /// Itself.
    pub body: Bytes,
}

impl Tagged {
    /// The whole of it, or 304 when `If-None-Match` names it.
    pub fn answer(self, request: &HeaderMap) -> Response {
        let text = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        let caching = [(ETAG, text(&self.etag)), (CACHE_CONTROL, text(&self.cache_control))];
        if request.get_all(IF_NONE_MATCH).iter().any(|value| names(value, &self.etag)) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        (caching, [(CONTENT_TYPE, HeaderValue::from_static(self.content_type))], self.body).into_response()
    }
}

/// Whether an `If-None-Match` value names this entity tag (RFC 9110, section 13.1.2).
fn names(value: &HeaderValue, etag: &str) -> bool {
    let Ok(value) = value.to_str() else { return false };
    value.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The versions of a user that `If-Match` names (RFC 9110, section 13.1.1); none when any will do.
pub struct IfMatch(pub Option<Vec<Timestamp>>);

impl FromRequestParts<App> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let values = parts.headers.get_all(IF_MATCH);
        if values.iter().next().is_none() || values.iter().any(|value| value == "*") {
            return Ok(Self(None));
        }
        // A tag that is weak, or no tag of ours, is no version that could be there.
        let version = |tag: &str| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(Timestamp);
        let tags = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        Ok(Self(Some(tags.filter_map(version).collect())))
    }
}
