//! `/me/sessions`: the caller's sessions.

use axum::Json;
use axum::http::StatusCode;

use crate::http::App;
use crate::http::extract::{Caller, PathId, Tokens};
use crate::http::openapi::{AuthErrors, NotFound};
use crate::http::problem::Problem;
use crate::http::views::SessionList;
use crate::model::SessionId;

/// Lists the caller's sessions, the newest first.
#[utoipa::path(
    get, path = "/me/sessions", tag = "me", security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 200, body = SessionList), AuthErrors),
)]
pub async fn list_my_sessions(app: App, caller: Caller<Tokens>) -> Result<Json<SessionList>, Problem> {
    let sessions = app.auth().sessions(caller.principal.user.id).await?;
    Ok(Json(SessionList::new(sessions, caller.principal.session)))
}

/// Ends every session of the caller except the one of this request.
#[utoipa::path(
    delete, path = "/me/sessions", tag = "me", security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 204), AuthErrors),
)]
pub async fn end_my_other_sessions(app: App, caller: Caller<Tokens>) -> Result<StatusCode, Problem> {
    app.auth().end_sessions(caller.actor(), caller.principal.user.id, caller.principal.session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends one session of the caller.
#[utoipa::path(
    delete, path = "/me/sessions/{id}", tag = "me", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 204), NotFound, AuthErrors),
)]
pub async fn end_my_session(
    app: App,
    caller: Caller<Tokens>,
    PathId(id): PathId<SessionId>,
) -> Result<StatusCode, Problem> {
    app.auth().end_session(caller.actor(), Some(caller.principal.user.id), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
