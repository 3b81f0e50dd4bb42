//! `/me/password`: changing one's own password.

use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::extract::{Caller, Json, PasswordChange};
use crate::http::openapi::{AuthErrors, InvalidBody};
use crate::http::problem::Problem;

/// The current password and the new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    #[schema(value_type = String, format = Password, example = "my-password")]
    current_password: SecretString,
    #[schema(value_type = String, format = Password, example = "my-other-password")]
    new_password: SecretString,
}

/// Changes the caller's password, and ends all their other sessions and tokens. A caller who must change the password
/// before anything else authenticates here with HTTP Basic.
#[utoipa::path(
    post, path = "/me/password", tag = "me", security(("basic" = []), ("bearer" = ["profile"])),
    responses((status = 204), AuthErrors, InvalidBody),
)]
pub async fn change_my_password(
    app: App,
    caller: Caller<PasswordChange>,
    Json(change): Json<ChangePassword>,
) -> Result<StatusCode, Problem> {
    let (current, new) = (&change.current_password, &change.new_password);
    app.auth().change_password(&caller.principal, caller.actor(), current, new).await?;
    Ok(StatusCode::NO_CONTENT)
}
