//! `/me`: the caller's own account.

pub mod password;
pub mod sessions;
pub mod tokens;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::App;
use crate::http::extract::{self, Caller, Profile, nullable};
use crate::http::openapi::{AuthErrors, InvalidBody};
use crate::http::problem::Problem;
use crate::http::views::UserView;
use crate::model::{Method, Principal, Scopes, SessionId, Timestamp, UserPatch};

/// The caller, and the credential of the request.
#[derive(Serialize, ToSchema)]
pub struct MeView<'a> {
    user: UserView<'a>,
    /// How the caller authenticated.
    #[schema(value_type = String, example = "jwt")]
    method: Method,
    /// The session of the presented token; null with HTTP Basic or a personal access token.
    #[schema(value_type = Option<uuid::Uuid>)]
    session_id: Option<SessionId>,
    /// The scopes of the credential.
    #[schema(value_type = Vec<String>, example = json!(["profile", "users:read", "tokens"]))]
    scopes: Scopes,
    /// When the presented token expires.
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

/// Returns the caller, and the credential of the request.
#[utoipa::path(
    get, path = "/me", tag = "me", security(("basic" = []), ("bearer" = ["profile"])),
    responses((status = 200, body = MeView<'_>), AuthErrors),
)]
pub async fn get_me(caller: Caller<Profile>) -> Response {
    Json(MeView::from(&**caller.principal)).into_response()
}

/// The fields to change; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchMe {
    /// The display name; null resets it to the username.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, example = "Sergio R.")]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = Email)]
    email: Option<Option<String>>,
}

/// Changes the caller's own name and e-mail.
#[utoipa::path(
    patch, path = "/me", tag = "me", security(("basic" = []), ("bearer" = ["profile"])),
    responses((status = 200, body = UserView<'_>), AuthErrors, InvalidBody),
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
