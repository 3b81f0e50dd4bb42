//! `/admin/users/{id}/link`: one-time links for users.

use axum::Json;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::extract::{self, Admin, Caller, PathId};
use crate::http::openapi::{AuthErrors, InvalidBody, NotFound, UserDisabled};
use crate::http::problem::Problem;
use crate::http::views::LinkView;
use crate::model::{LinkPurpose, UserId};

/// The link to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateLink {
    /// `invitation` or `password-reset`. They differ in how long they work and in what their page says.
    #[schema(value_type = String, example = "password-reset")]
    purpose: LinkPurpose,
    /// Whether to send it to the user's e-mail address, in place of returning it.
    #[serde(default)]
    deliver: bool,
}

/// Makes a link with which the user chooses a password, once. The one they had ends. With `deliver` it is sent to their e-mail
/// address, which using it verifies; without a mail server that is 503 `mail-unavailable`.
#[utoipa::path(
    post, path = "/admin/users/{id}/link", tag = "administer users", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 201, body = LinkView), NotFound, UserDisabled, AuthErrors, InvalidBody),
)]
pub async fn create_link(
    app: App,
    caller: Caller<Admin>,
    PathId(id): PathId<UserId>,
    extract::Json(new): extract::Json<CreateLink>,
) -> Result<(StatusCode, Json<LinkView>), Problem> {
    let link = app.auth().create_link(caller.actor(), id, new.purpose, new.deliver, None).await?;
    Ok((StatusCode::CREATED, Json(LinkView::from(&link))))
}
