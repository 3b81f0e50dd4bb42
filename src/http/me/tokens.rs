//! `/me/tokens`.

use axum::{Json, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    http::{
        App,
        extract::{Caller, JsonOnce, PathId, Tokens},
        openapi::{Guarded, InvalidBody, NotFound, TooManyTokens},
        problem::Problem,
    },
    model::{NewToken, PersonalSecret, PersonalToken, Scopes, Timestamp, TokenId},
};

/// A personal access token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for, at most 256 bytes.
    #[schema(example = "backup script")]
    name: String,
    /// What it may do; all the caller may, if this is not given.
    #[schema(value_type = Option<Vec<String>>, example = json!(["profile"]))]
    scopes: Option<Scopes>,
    /// Seconds until it runs out; never, if this is not given.
    #[schema(minimum = 1, maximum = 3_153_600_000u64)]
    expires_in: Option<u64>,
}

/// A personal access token, without its secret.
#[derive(Serialize, ToSchema)]
pub struct TokenView {
    #[schema(value_type = uuid::Uuid)]
    id: TokenId,
    name: String,
    #[schema(value_type = Vec<String>)]
    scopes: Scopes,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was last used, to within a minute or so.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl From<PersonalToken> for TokenView {
    fn from(token: PersonalToken) -> Self {
        Self {
            id: token.id,
            name: token.name,
            scopes: token.scopes,
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }
}

/// A personal access token that was just made.
#[derive(Serialize, ToSchema)]
pub struct CreatedToken {
    /// The token itself. It is shown this once.
    #[schema(example = "cst_…")]
    token: String,
    #[serde(flatten)]
    about: TokenView,
}

impl CreatedToken {
    /// This token, with the secret to show.
    pub fn new(token: PersonalToken, secret: &PersonalSecret) -> Self {
        Self { token: secret.reveal(), about: token.into() }
    }
}

/// All tokens of a user; there are never many.
#[derive(Serialize, ToSchema)]
pub struct TokenList {
    items: Vec<TokenView>,
}

impl TokenList {
    /// These tokens.
    pub fn new(tokens: Vec<PersonalToken>) -> Self {
        Self { items: tokens.into_iter().map(TokenView::from).collect() }
    }
}

/// Makes a personal access token for the caller, with no more than the caller's own scopes.
#[utoipa::path(
    post, path = "/me/tokens", tag = "me", params(("Idempotency-Key" = Option<String>, Header)), security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 201, body = CreatedToken), TooManyTokens, Guarded, InvalidBody),
)]
pub async fn create_my_token(
    app: App,
    caller: Caller<Tokens>,
    JsonOnce(new, once): JsonOnce<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let new = NewToken { name: new.name, scopes: new.scopes, expires_in: new.expires_in };
    let (token, secret) = app.auth().create_token(&caller.principal, caller.actor(), new, once).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken::new(token, &secret))))
}

/// The caller's personal access tokens, the newest first.
#[utoipa::path(
    get, path = "/me/tokens", tag = "me", security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 200, body = TokenList), Guarded),
)]
pub async fn list_my_tokens(app: App, caller: Caller<Tokens>) -> Result<Json<TokenList>, Problem> {
    Ok(Json(TokenList::new(app.auth().tokens(caller.principal.user.id).await?)))
}

/// Takes one of the caller's personal access tokens back.
#[utoipa::path(
    delete, path = "/me/tokens/{id}", tag = "me", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 204), NotFound, Guarded),
)]
pub async fn revoke_my_token(
    app: App,
    caller: Caller<Tokens>,
    PathId(id): PathId<TokenId>,
) -> Result<StatusCode, Problem> {
    app.auth().revoke_token(caller.actor(), Some(caller.principal.user.id), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
