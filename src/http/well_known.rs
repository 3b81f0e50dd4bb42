//! `/.well-known`: what others need to check our tokens by themselves.

use axum::{
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};

use super::App;

/// The public keys that JWTs are checked with (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "open",
    responses(
        (status = 200, description = "A JSON Web Key Set", content_type = "application/jwk-set+json", body = Object, headers(("ETag"), ("Cache-Control"))),
        (status = 304, description = "It is the one that `If-None-Match` names"),
    ),
)]
pub async fn get_jwks(app: App, headers: HeaderMap) -> Response {
    let jwks = app.auth().jwks();
    let known = headers.get_all(IF_NONE_MATCH).iter().any(|value| names(value, &jwks.etag));
    let caching = [
        (ETAG, HeaderValue::from_str(&jwks.etag).unwrap_or(HeaderValue::from_static(""))),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let json = HeaderValue::from_static("application/jwk-set+json");
    (caching, [(CONTENT_TYPE, json)], jwks.json.clone()).into_response()
}

/// Whether an `If-None-Match` value names this entity tag (RFC 9110, section 13.1.2).
fn names(value: &HeaderValue, etag: &str) -> bool {
    let Ok(value) = value.to_str() else { return false };
    value.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}
