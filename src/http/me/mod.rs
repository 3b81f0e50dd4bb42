//! `/me`: what a user sees of themself.

pub mod sessions;
pub mod tokens;

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    admin::users::UserView,
    extract::{Caller, Profile},
    openapi::Guarded,
};
use crate::model::{Method, Scopes, SessionId, Timestamp};

/// Who is calling, and how they proved it.
#[derive(Serialize, ToSchema)]
pub struct MeView {
    user: UserView,
    /// How the caller proved who they are.
    #[schema(value_type = String, example = "jwt")]
    method: Method,
    /// The session of the token presented; none with HTTP Basic and with a personal token.
    #[schema(value_type = Option<uuid::Uuid>)]
    session_id: Option<SessionId>,
    /// What this credential may do.
    #[schema(value_type = Vec<String>)]
    scopes: Scopes,
    /// When the token presented runs out.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Who is calling, and how they proved it.
#[utoipa::path(
    get, path = "/me", tag = "me", security(("basic" = []), ("bearer" = ["profile"])),
    responses((status = 200, body = MeView), Guarded),
)]
pub async fn get_me(caller: Caller<Profile>) -> Json<MeView> {
    let principal = caller.principal;
    Json(MeView {
        user: principal.user.into(),
        method: principal.method,
        session_id: principal.session,
        scopes: principal.scopes,
        expires_at: principal.expires_at,
    })
}
