//! `/me`: what a user sees of themself.

pub mod password;
pub mod sessions;
pub mod tokens;

use axum::{
    Json,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    admin::users::{UserView, given},
    extract::{self, Caller, Profile},
    openapi::{Guarded, InvalidBody},
    problem::Problem,
};
use crate::error::Error;
use crate::model::{Method, Principal, Scopes, SessionId, Timestamp, UserPatch};

/// Room for nearly all answers to `GET /me`, in bytes, so that none is copied while it grows.
const USUAL_LENGTH: usize = 640;

/// Who is calling, and how they proved it.
#[derive(Serialize, ToSchema)]
pub struct MeView<'a> {
    user: UserView<'a>,
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

impl<'a> From<&'a Principal> for MeView<'a> {
    fn from(principal: &'a Principal) -> Self {
        Self {
            user: UserView::from(&principal.user),
            method: principal.method,
            session_id: principal.session,
            scopes: principal.scopes,
            expires_at: principal.expires_at,
        }
    }
}

/// Who is calling, and how they proved it.
#[utoipa::path(
    get, path = "/me", tag = "me", security(("basic" = []), ("bearer" = ["profile"])),
    responses((status = 200, body = MeView<'_>), Guarded),
)]
pub async fn get_me(caller: Caller<Profile>) -> Result<Response, Problem> {
    let answer = caller.principal.answer(|principal| {
        let mut answer = Vec::with_capacity(USUAL_LENGTH);
        serde_json::to_writer(&mut answer, &MeView::from(principal)).map_err(|error| Error::Internal(error.into()))?;
        Ok(answer)
    })?;
    let mut response = Response::new(answer.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// What is to be changed; what is not there stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchMe {
    /// What to be called; with null the username.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = Email)]
    email: Option<Option<String>>,
}

/// Changes the caller's own name and e-mail.
#[utoipa::path(
    patch, path = "/me", tag = "me", security(("basic" = []), ("bearer" = ["profile"])),
    responses((status = 200, body = UserView<'_>), Guarded, InvalidBody),
)]
pub async fn update_me(
    app: App,
    caller: Caller<Profile>,
    extract::Json(patch): extract::Json<PatchMe>,
) -> Result<Response, Problem> {
    let patch = UserPatch { name: patch.name, email: patch.email, ..UserPatch::default() };
    let user = app.auth().update_user(caller.actor(), caller.principal.user.id, None, patch).await?;
    Ok(Json(UserView::from(&user)).into_response())
}
