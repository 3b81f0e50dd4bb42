//! `/admin/blocks`: addresses that may try no more passwords for now.

use axum::Json;
use axum::http::StatusCode;

use crate::http::App;
use crate::http::extract::{Admin, Caller, PathId};
use crate::http::openapi::{AuthErrors, NotFound};
use crate::http::problem::Problem;
use crate::http::views::BlockList;
use crate::model::BlockId;

/// Lists the blocks, the newest first.
#[utoipa::path(
    get, path = "/admin/blocks", tag = "administer", security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = BlockList), AuthErrors),
)]
pub async fn list_blocks(app: App, _: Caller<Admin>) -> Result<Json<BlockList>, Problem> {
    Ok(Json(app.auth().blocks().await?.into()))
}

/// Lifts a block. Other servers follow within a second.
#[utoipa::path(
    delete, path = "/admin/blocks/{id}", tag = "administer", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 204), NotFound, AuthErrors),
)]
pub async fn lift_block(app: App, caller: Caller<Admin>, PathId(id): PathId<BlockId>) -> Result<StatusCode, Problem> {
    app.auth().lift_block(caller.actor(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
