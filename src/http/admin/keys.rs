//! `/admin/keys`.

use axum::{Json, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::KeyState,
    http::{
        App,
        extract::{Admin, Caller},
        openapi::{Guarded, NoRotation},
        problem::Problem,
    },
    model::Timestamp,
};

/// A signing key.
#[derive(Serialize, ToSchema)]
pub struct KeyView {
    /// Its name in token headers and in the key set.
    kid: String,
    #[schema(example = "ES256")]
    algorithm: &'static str,
    /// `next`: public, and will sign; `signing`; `verifying`: only for the tokens it signed.
    #[schema(example = "signing")]
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it began or begins to sign.
    #[schema(value_type = String, format = DateTime)]
    signs_from: Timestamp,
    /// When its last token has run out, once there is a next key.
    #[schema(value_type = Option<String>, format = DateTime)]
    verifies_until: Option<Timestamp>,
}

impl From<KeyState> for KeyView {
    fn from(key: KeyState) -> Self {
        Self {
            kid: key.kid,
            algorithm: key.algorithm.as_str(),
            state: key.turn.as_str(),
            created_at: key.created_at,
            signs_from: key.signs_from,
            verifies_until: key.verifies_until,
        }
    }
}

/// The signing keys.
#[derive(Serialize, ToSchema)]
pub struct KeyList {
    items: Vec<KeyView>,
}

impl From<Vec<KeyState>> for KeyList {
    fn from(keys: Vec<KeyState>) -> Self {
        Self { items: keys.into_iter().map(KeyView::from).collect() }
    }
}

/// The signing keys, the oldest first. With HS256 there are none to show.
#[utoipa::path(
    get, path = "/admin/keys", tag = "admin", security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = KeyList), Guarded),
)]
pub async fn list_keys(app: App, _: Caller<Admin>) -> Result<Json<KeyList>, Problem> {
    Ok(Json(app.auth().signing_keys().await?.into()))
}

/// Makes the next signing key. It is in the key set at once and signs when everyone can know it, eleven minutes later; when
/// one is waiting already, this gives that one.
#[utoipa::path(
    post, path = "/admin/keys/rotate", tag = "admin", security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 202, body = KeyView), NoRotation, Guarded),
)]
pub async fn rotate_keys(app: App, caller: Caller<Admin>) -> Result<(StatusCode, Json<KeyView>), Problem> {
    let next = app.auth().rotate_keys(caller.actor()).await?;
    Ok((StatusCode::ACCEPTED, Json(next.into())))
}
