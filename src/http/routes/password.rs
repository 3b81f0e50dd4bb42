//! `/password`: what people do who have forgotten theirs.

use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::extract::Json;
use crate::http::openapi::{InvalidBody, LinkSpent};
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;

/// A one-time link and the new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// The last segment of the link.
    #[schema(value_type = String, format = Password, example = "…")]
    token: SecretString,
    #[schema(value_type = String, format = Password, example = "my-password")]
    new_password: SecretString,
}

/// Sets the password of the user whom a link was made for, and ends all their sessions and tokens. The link is used up.
#[utoipa::path(
    post, path = "/password/reset", tag = "open", responses((status = 204), LinkSpent, InvalidBody),
)]
pub async fn reset_password(
    app: App,
    context: RequestContext,
    Json(reset): Json<ResetPassword>,
) -> Result<StatusCode, Problem> {
    let user = app.auth().reset_password(&reset.token, &reset.new_password, context.origin()).await?;
    context.record_link(&user);
    Ok(StatusCode::NO_CONTENT)
}
