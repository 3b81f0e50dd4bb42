//! What services need to verify JWTs offline: the key set, the metadata and the status lists.

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::JWKS_MAX_AGE;
use crate::http::App;
use crate::http::extract::PathId;
use crate::http::extract::conditional::Representation;
use crate::http::openapi::NotFound;
use crate::http::problem::Problem;
use crate::model::{Scope, StatusListId};

/// Returns the public keys that verify JWTs (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "check callers",
    responses(
        (status = 200, description = "A JSON Web Key Set", content_type = "application/jwk-set+json", body = Object, headers(("ETag"), ("Cache-Control"))),
        (status = 304, description = "Not modified since the version that `If-None-Match` names"),
    ),
)]
pub async fn get_jwks(app: App, headers: HeaderMap) -> Response {
    let jwks = app.auth().jwks();
    let representation = Representation {
        content_type: "application/jwk-set+json",
        cache_control: format!("public, max-age={}", JWKS_MAX_AGE.as_secs()),
        etag: jwks.etag.clone(),
        body: jwks.json.clone().into(),
    };
    representation.respond(&headers)
}

/// Returns a status list: which JWTs are revoked (draft-ietf-oauth-status-list).
///
/// The claim `status` of a JWT names the list and the index in it. Cache a list for its `ttl` and no longer. Shared
/// caches must revalidate it, so that a revocation takes effect within that time.
#[utoipa::path(
    get, path = "/statuslists/{id}", tag = "check callers", params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "A status list token", content_type = "application/statuslist+jwt", body = String, headers(("ETag"))),
        (status = 304, description = "Not modified since the version that `If-None-Match` names"),
        NotFound,
    ),
)]
pub async fn get_status_list(
    app: App,
    PathId(id): PathId<StatusListId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let list = app.auth().status_list(id).await?;
    let representation = Representation {
        content_type: "application/statuslist+jwt",
        cache_control: "no-cache".to_owned(),
        etag: list.etag.clone(),
        body: list.jwt.clone().into(),
    };
    Ok(representation.respond(&headers))
}

/// Authorization server metadata (RFC 8414): the parts of OAuth that exist here.
#[derive(Serialize, ToSchema)]
pub struct Metadata {
    #[schema(example = "http://localhost:5000")]
    issuer: String,
    #[schema(example = "http://localhost:5000/.well-known/jwks.json")]
    jwks_uri: String,
    #[schema(example = "http://localhost:5000/oauth/introspect")]
    introspection_endpoint: String,
    #[schema(example = json!(["client_secret_basic", "bearer"]))]
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    #[schema(example = "http://localhost:5000/oauth/revoke")]
    revocation_endpoint: String,
    #[schema(example = json!(["client_secret_basic"]))]
    revocation_endpoint_auth_methods_supported: [&'static str; 1],
    #[schema(example = json!(["profile", "users:read", "tokens"]))]
    scopes_supported: Vec<&'static str>,
    /// Empty: tokens come from `POST /login`, not from an authorization endpoint.
    #[schema(example = json!([]))]
    response_types_supported: [&'static str; 0],
    #[schema(example = json!([]))]
    grant_types_supported: [&'static str; 0],
    #[schema(example = "http://localhost:5000/docs")]
    service_documentation: String,
    /// Whether the service sends mail. Without it, an administrator hands over links.
    #[schema(example = true)]
    mail_available: bool,
    /// Whether people can make accounts for themselves.
    #[schema(example = false)]
    registration_open: bool,
}

/// Returns the authorization server metadata (RFC 8414).
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "check callers", responses((status = 200, body = Metadata)),
)]
pub async fn get_metadata(app: App) -> Response {
    let issuer = app.auth().issuer();
    let url = |path: &str| format!("{}{path}", issuer.trim_end_matches('/'));
    let metadata = Metadata {
        issuer: issuer.to_owned(),
        jwks_uri: url("/.well-known/jwks.json"),
        introspection_endpoint: url("/oauth/introspect"),
        // HTTP Basic, and the token type of bearer tokens, which RFC 8414, section 2 allows in this field only.
        introspection_endpoint_auth_methods_supported: ["client_secret_basic", "Bearer"],
        revocation_endpoint: url("/oauth/revoke"),
        revocation_endpoint_auth_methods_supported: ["client_secret_basic"],
        scopes_supported: Scope::ALL.into_iter().map(Scope::as_str).collect(),
        response_types_supported: [],
        grant_types_supported: [],
        service_documentation: url("/docs"),
        mail_available: app.auth().has_mail(),
        registration_open: app.auth().is_registration_open(),
    };
    ([("cache-control", "public, max-age=3600")], Json(metadata)).into_response()
}
