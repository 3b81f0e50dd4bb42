//! `/password`: what people do who have forgotten theirs.

use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::extract::Json;
use crate::http::openapi::{InvalidBody, LinkSpent, MailRequest};
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;

/// Who has forgotten a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgotPassword {
    /// The username or the e-mail address.
    #[schema(example = "sergio")]
    login: String,
}

/// Sends a link to choose another password, if there is such a user with a verified e-mail address. The answer does not tell.
#[utoipa::path(post, path = "/password/forgot", tag = "get back in", responses((status = 202), InvalidBody, MailRequest))]
pub async fn forgot_password(
    app: App,
    context: RequestContext,
    Json(forgot): Json<ForgotPassword>,
) -> Result<StatusCode, Problem> {
    app.auth().forgot_password(&forgot.login, context.origin()).await?;
    Ok(StatusCode::ACCEPTED)
}

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
    post, path = "/password/reset", tag = "get back in", responses((status = 204), LinkSpent, InvalidBody),
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
