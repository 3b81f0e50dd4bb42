//! What others need to check our tokens by themselves: the keys, the metadata, and what was revoked.

use axum::{
    Json,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::JWKS_MAX_AGE,
    http::{
        App,
        extract::{PathId, conditional::Representation},
        openapi::NotFound,
        problem::Problem,
    },
    model::{Scope, StatusListId},
};

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
    let representation = Representation {
        content_type: "application/jwk-set+json",
        cache_control: format!("public, max-age={}", JWKS_MAX_AGE.as_secs()),
        etag: jwks.etag.clone(),
        body: jwks.json.clone().into(),
    };
    representation.respond(&headers)
}

/// Which JWTs are revoked (draft-ietf-oauth-status-list). Their claim `status` names the list and the place in it. Keep a
/// list for its `ttl` and no longer: it is not to be kept on the way, so that a revocation is seen within that time.
#[utoipa::path(
    get, path = "/statuslists/{id}", tag = "open", params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "A status list token", content_type = "application/statuslist+jwt", body = String, headers(("ETag"))),
        (status = 304, description = "It is the one that `If-None-Match` names"),
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

/// Authorization server metadata (RFC 8414): what there is here of OAuth.
#[derive(Serialize, ToSchema)]
pub struct Metadata {
    #[schema(example = "http://localhost:5000")]
    issuer: String,
    jwks_uri: String,
    introspection_endpoint: String,
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    revocation_endpoint: String,
    revocation_endpoint_auth_methods_supported: [&'static str; 1],
    scopes_supported: Vec<&'static str>,
    /// None: tokens come from `POST /login`, not from an authorization endpoint.
    response_types_supported: [&'static str; 0],
    grant_types_supported: [&'static str; 0],
    service_documentation: String,
}

/// What there is here of OAuth (RFC 8414).
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "open", responses((status = 200, body = Metadata)),
)]
pub async fn get_metadata(app: App) -> Response {
    let issuer = app.auth().issuer();
    let at = |path: &str| format!("{}{path}", issuer.trim_end_matches('/'));
    let metadata = Metadata {
        issuer: issuer.to_owned(),
        jwks_uri: at("/.well-known/jwks.json"),
        introspection_endpoint: at("/oauth/introspect"),
        // HTTP Basic, and the name of bearer tokens among token types, for which only this field has room (RFC 8414,
        // section 2).
        introspection_endpoint_auth_methods_supported: ["client_secret_basic", "Bearer"],
        revocation_endpoint: at("/oauth/revoke"),
        revocation_endpoint_auth_methods_supported: ["client_secret_basic"],
        scopes_supported: Scope::ALL.into_iter().map(Scope::as_str).collect(),
        response_types_supported: [],
        grant_types_supported: [],
        service_documentation: at("/docs"),
    };
    ([("cache-control", "public, max-age=3600")], Json(metadata)).into_response()
}
