//! `/users`: the directory of active users.

use axum::Json;
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::extract::pagination::PageQuery;
use crate::http::extract::{Caller, Query, UsersRead};
use crate::http::openapi::{AuthErrors, InvalidQuery};
use crate::http::problem::Problem;
use crate::model::UserId;

/// A user in the directory.
#[derive(Serialize, ToSchema)]
pub struct DirectoryEntry {
    #[schema(value_type = uuid::Uuid)]
    id: UserId,
    /// The display name.
    #[schema(example = "Sergio R.")]
    name: String,
}

/// Lists the active users in order of creation. `Link` (RFC 8288) has the next page.
#[utoipa::path(
    get, path = "/users", tag = "directory", params(PageQuery), security(("basic" = []), ("bearer" = ["users:read"])),
    responses((status = 200, body = Vec<DirectoryEntry>, headers(("Link"))), AuthErrors, InvalidQuery),
)]
pub async fn list_directory(
    app: App,
    _: Caller<UsersRead>,
    Query(page): Query<PageQuery>,
) -> Result<(HeaderMap, Json<Vec<DirectoryEntry>>), Problem> {
    let limit = page.limit()?;
    let (names, next) = app.auth().directory(page.after(), limit).await?;
    let mut headers = HeaderMap::new();
    let next = next.map(|next| format!("</users?limit={limit}&after={next}>; rel=\"next\""));
    if let Some(link) = next.and_then(|link| HeaderValue::try_from(link).ok()) {
        headers.insert(LINK, link);
    }
    let entries = names.into_iter().map(|(id, name)| DirectoryEntry { id, name });
    Ok((headers, Json(entries.collect())))
}
