//! `/me/tokens`: the caller's personal access tokens.

use axum::Json;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::extract::{Caller, IdempotentJson, PathId, Tokens};
use crate::http::openapi::{AuthErrors, InvalidBody, NotFound, TooManyTokens};
use crate::http::problem::Problem;
use crate::http::views::{CreatedToken, TokenList};
use crate::model::{Lifetime, NewToken, Scopes, TokenId};

/// The personal access token to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// The purpose of the token, at most 256 bytes.
    #[schema(example = "backup script")]
    name: String,
    /// The scopes of the token.
    #[schema(value_type = Vec<String>, example = json!(["profile"]))]
    scopes: Scopes,
    /// Seconds until the token expires, or `never`; by default 90 days, or what `COUNTERSIGN_PERSONAL_TOKEN_TTL` says.
    #[schema(value_type = Option<serde_json::Value>, example = 7_776_000)]
    expires_in: Option<Lifetime>,
}

/// Creates a personal access token for the caller. It cannot have scopes that the caller lacks.
#[utoipa::path(
    post, path = "/me/tokens", tag = "me", request_body = CreateToken, params(("Idempotency-Key" = Option<String>, Header)), security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 201, body = CreatedToken), TooManyTokens, AuthErrors, InvalidBody),
)]
pub async fn create_my_token(
    app: App,
    caller: Caller<Tokens>,
    IdempotentJson(new, request): IdempotentJson<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let new = NewToken { name: new.name, scopes: new.scopes, expires_in: new.expires_in };
    let (token, secret) = app.auth().create_token(&caller.principal, caller.actor(), new, request).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken::new(token, &secret))))
}

/// Lists the caller's personal access tokens, the newest first.
#[utoipa::path(
    get, path = "/me/tokens", tag = "me", security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 200, body = TokenList), AuthErrors),
)]
pub async fn list_my_tokens(app: App, caller: Caller<Tokens>) -> Result<Json<TokenList>, Problem> {
    Ok(Json(TokenList::new(app.auth().tokens(caller.principal.user.id).await?)))
}

/// Revokes one of the caller's personal access tokens.
#[utoipa::path(
    delete, path = "/me/tokens/{id}", tag = "me", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 204), NotFound, AuthErrors),
)]
pub async fn revoke_my_token(
    app: App,
    caller: Caller<Tokens>,
    PathId(id): PathId<TokenId>,
) -> Result<StatusCode, Problem> {
    app.auth().revoke_token(caller.actor(), Some(caller.principal.user.id), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
