//! `/me/sessions`.

use axum::{Json, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        App,
        extract::{Caller, PathId, Tokens},
        openapi::{Guarded, NotFound},
        problem::Problem,
    },
    model::{Session, SessionId, Timestamp},
};

/// One login.
#[derive(Serialize, ToSchema)]
pub struct SessionView {
    #[schema(value_type = uuid::Uuid)]
    id: SessionId,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, to within a minute or so.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    /// Where it was begun.
    #[schema(example = "192.0.2.7")]
    address: String,
    /// With what it was begun.
    user_agent: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Whether this request was made with it.
    current: bool,
}

/// All sessions of a user; there are never many.
#[derive(Serialize, ToSchema)]
pub struct SessionList {
    items: Vec<SessionView>,
}

impl SessionList {
    /// These sessions, as whoever calls with one of them, or with none, sees them.
    pub fn new(sessions: Vec<Session>, current: Option<SessionId>) -> Self {
        let view = |session: Session| SessionView {
            current: current == Some(session.id),
            id: session.id,
            created_at: session.created_at,
            last_seen_at: session.last_seen_at,
            address: session.address,
            user_agent: session.user_agent,
            expires_at: session.expires_at,
        };
        Self { items: sessions.into_iter().map(view).collect() }
    }
}

/// The caller's sessions, the newest first.
#[utoipa::path(
    get, path = "/me/sessions", tag = "me", security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 200, body = SessionList), Guarded),
)]
pub async fn list_my_sessions(app: App, caller: Caller<Tokens>) -> Result<Json<SessionList>, Problem> {
    let sessions = app.auth().sessions(caller.principal.user.id).await?;
    Ok(Json(SessionList::new(sessions, caller.principal.session)))
}

/// Ends every session of the caller but the one this request was made with.
#[utoipa::path(
    delete, path = "/me/sessions", tag = "me", security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 204), Guarded),
)]
pub async fn end_my_other_sessions(app: App, caller: Caller<Tokens>) -> Result<StatusCode, Problem> {
    app.auth().end_sessions(caller.actor(), caller.principal.user.id, caller.principal.session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends one session of the caller.
#[utoipa::path(
    delete, path = "/me/sessions/{id}", tag = "me", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["tokens"])),
    responses((status = 204), NotFound, Guarded),
)]
pub async fn end_my_session(
    app: App,
    caller: Caller<Tokens>,
    PathId(id): PathId<SessionId>,
) -> Result<StatusCode, Problem> {
    app.auth().end_session(caller.actor(), Some(caller.principal.user.id), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
