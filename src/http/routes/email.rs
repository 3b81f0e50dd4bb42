//! `/me/email` and `/email/verify`: addresses that count.

use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::extract::{Caller, Json, Profile};
use crate::http::openapi::{AuthErrors, EmailTaken, InvalidBody, LinkSpent, MailRequest};
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;

/// The address to verify.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEmail {
    #[schema(format = Email, example = "sergio@example.com")]
    email: String,
    #[schema(value_type = String, format = Password, example = "my-password")]
    current_password: SecretString,
}

/// Sends a link to this address, which becomes the caller's when the link is used. Until then nothing changes. The password is
/// asked for, because whoever reads the mail of a verified address can choose another.
#[utoipa::path(
    post, path = "/me/email", tag = "me", security(("basic" = []), ("bearer" = ["profile"])),
    responses((status = 202), AuthErrors, InvalidBody, MailRequest),
)]
pub async fn change_my_email(
    app: App,
    caller: Caller<Profile>,
    Json(new): Json<NewEmail>,
) -> Result<StatusCode, Problem> {
    app.auth().verify_address(&caller.principal, caller.actor(), new.email, &new.current_password).await?;
    Ok(StatusCode::ACCEPTED)
}

/// A one-time link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyEmail {
    /// The last segment of the link.
    #[schema(value_type = String, format = Password, example = "…")]
    token: SecretString,
}

/// Makes the address that a link was sent to that of its user. The link is used up.
#[utoipa::path(
    post, path = "/email/verify", tag = "get back in", responses((status = 204), LinkSpent, EmailTaken, InvalidBody),
)]
pub async fn verify_email(
    app: App,
    context: RequestContext,
    Json(verify): Json<VerifyEmail>,
) -> Result<StatusCode, Problem> {
    let user = app.auth().confirm_address(&verify.token, context.origin()).await?;
    context.record_link(&user);
    Ok(StatusCode::NO_CONTENT)
}
