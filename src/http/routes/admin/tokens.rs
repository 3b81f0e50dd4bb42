//! `/admin/users/{id}/tokens` and `/admin/tokens`: the personal access tokens of any user.

use axum::Json;
use axum::http::StatusCode;

use crate::http::App;
use crate::http::extract::{Admin, Caller, PathId};
use crate::http::openapi::{AuthErrors, NotFound};
use crate::http::problem::Problem;
use crate::http::views::TokenList;
use crate::model::{TokenId, UserId};

/// Lists a user's personal access tokens, the newest first.
#[utoipa::path(
    get, path = "/admin/users/{id}/tokens", tag = "administer users", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = TokenList), NotFound, AuthErrors),
)]
pub async fn list_user_tokens(
    app: App,
    _: Caller<Admin>,
    PathId(user): PathId<UserId>,
) -> Result<Json<TokenList>, Problem> {
    Ok(Json(TokenList::new(app.auth().tokens(user).await?)))
}

/// Revokes every personal access token of a user.
#[utoipa::path(
    delete, path = "/admin/users/{id}/tokens", tag = "administer users", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 204), NotFound, AuthErrors),
)]
pub async fn revoke_user_tokens(
    app: App,
    caller: Caller<Admin>,
    PathId(user): PathId<UserId>,
) -> Result<StatusCode, Problem> {
    app.auth().revoke_tokens(caller.actor(), user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revokes a personal access token of any user.
#[utoipa::path(
    delete, path = "/admin/tokens/{id}", tag = "administer", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 204), NotFound, AuthErrors),
)]
pub async fn revoke_token(app: App, caller: Caller<Admin>, PathId(id): PathId<TokenId>) -> Result<StatusCode, Problem> {
    app.auth().revoke_token(caller.actor(), None, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
