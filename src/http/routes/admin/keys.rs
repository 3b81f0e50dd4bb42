//! `/admin/keys`: the signing keys.

use axum::Json;
use axum::http::StatusCode;

use crate::http::App;
use crate::http::extract::{Admin, Caller};
use crate::http::openapi::{AuthErrors, NoRotation};
use crate::http::problem::Problem;
use crate::http::views::{KeyList, KeyView};

/// Lists the signing keys, the oldest first. The shared secret of HS256 is not listed.
#[utoipa::path(
    get, path = "/admin/keys", tag = "administer", security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = KeyList), AuthErrors),
)]
pub async fn list_keys(app: App, _: Caller<Admin>) -> Result<Json<KeyList>, Problem> {
    Ok(Json(app.auth().signing_keys().await?.into()))
}

/// Creates the next signing key, or returns the one that is waiting. It is published at once, and signs eleven minutes
/// later, when every cached key set contains it.
#[utoipa::path(
    post, path = "/admin/keys/rotate", tag = "administer", security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 202, body = KeyView), NoRotation, AuthErrors),
)]
pub async fn rotate_keys(app: App, caller: Caller<Admin>) -> Result<(StatusCode, Json<KeyView>), Problem> {
    let next = app.auth().rotate_keys(caller.actor()).await?;
    Ok((StatusCode::ACCEPTED, Json(next.into())))
}
