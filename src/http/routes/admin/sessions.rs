//! `/admin/users/{id}/sessions` and `/admin/sessions`: the sessions of any user.

use axum::Json;
use axum::http::StatusCode;

use crate::http::App;
use crate::http::extract::{Admin, Caller, PathId};
use crate::http::openapi::{AuthErrors, NotFound};
use crate::http::problem::Problem;
use crate::http::views::SessionList;
use crate::model::{SessionId, UserId};

/// Lists a user's sessions, the newest first.
#[utoipa::path(
    get, path = "/admin/users/{id}/sessions", tag = "administer users", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = SessionList), NotFound, AuthErrors),
)]
pub async fn list_user_sessions(
    app: App,
    caller: Caller<Admin>,
    PathId(user): PathId<UserId>,
) -> Result<Json<SessionList>, Problem> {
    Ok(Json(SessionList::new(app.auth().sessions(user).await?, caller.principal.session)))
}

/// Ends every session of a user.
#[utoipa::path(
    delete, path = "/admin/users/{id}/sessions", tag = "administer users", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 204), NotFound, AuthErrors),
)]
pub async fn end_user_sessions(
    app: App,
    caller: Caller<Admin>,
    PathId(user): PathId<UserId>,
) -> Result<StatusCode, Problem> {
    app.auth().end_sessions(caller.actor(), user, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a session of any user.
#[utoipa::path(
    delete, path = "/admin/sessions/{id}", tag = "administer", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 204), NotFound, AuthErrors),
)]
pub async fn end_session(
    app: App,
    caller: Caller<Admin>,
    PathId(id): PathId<SessionId>,
) -> Result<StatusCode, Problem> {
    app.auth().end_session(caller.actor(), None, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
