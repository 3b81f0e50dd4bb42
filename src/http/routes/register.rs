//! `/register`: accounts that people make for themselves, where the operator allows it.

use axum::Json as JsonAnswer;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::extract::Json;
use crate::http::openapi::{EmailTaken, InvalidBody, LinkSpent, MailRequest, UsernameTaken};
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;
use crate::http::views::UserView;

/// Who wants an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    #[schema(format = Email, example = "sergio@example.com")]
    email: String,
}

/// Sends a link to make an account with, or, to whoever has one, a mail that says so. The answer does not tell.
#[utoipa::path(post, path = "/register", tag = "get back in", responses((status = 202), InvalidBody, MailRequest))]
pub async fn register(
    app: App,
    context: RequestContext,
    Json(register): Json<Register>,
) -> Result<StatusCode, Problem> {
    app.auth().register(register.email, context.origin()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// A one-time link, and what its user chose.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteRegistration {
    /// The last segment of the link.
    #[schema(value_type = String, format = Password, example = "…")]
    token: SecretString,
    #[schema(example = "sergio")]
    username: String,
    #[schema(value_type = String, format = Password, example = "my-password")]
    password: SecretString,
}

/// Makes an account, with the address that the link was sent to. The link is used up.
#[utoipa::path(
    post, path = "/register/complete", tag = "get back in",
    responses((status = 201, body = UserView<'_>), LinkSpent, UsernameTaken, EmailTaken, InvalidBody),
)]
pub async fn complete_registration(
    app: App,
    context: RequestContext,
    Json(new): Json<CompleteRegistration>,
) -> Result<Response, Problem> {
    let (token, password) = (&new.token, &new.password);
    let user = app.auth().complete_registration(token, &new.username, password, context.origin()).await?;
    context.record_link(&user);
    Ok((StatusCode::CREATED, JsonAnswer(UserView::from(&user))).into_response())
}
