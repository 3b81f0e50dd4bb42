//! `/admin/import` and `/admin/export`: importing and exporting users as a file.

use axum::extract::Request;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth::Invite;
use crate::http::App;
use crate::http::extract::{Admin, Caller, Export, Query};
use crate::http::openapi::{AuthErrors, InvalidBody, InvalidQuery};
use crate::http::problem::Problem;
use crate::http::users_file::{self, ImportQuery};
use crate::http::views::RowView;
use crate::model::Format;

/// Imports users from a file, with password hashes in their original format. The response has one line for each row,
/// then the summary. Rows are committed in batches, so an interrupted import leaves whole batches.
#[utoipa::path(
    post, path = "/admin/import", tag = "administer", params(ImportQuery), security(("basic" = []), ("bearer" = ["admin"])),
    request_body(content((String = "text/csv"), (String = "application/x-ndjson"))),
    responses((status = 200, body = RowView<'_>, content_type = "application/x-ndjson"), AuthErrors, InvalidBody),
)]
pub async fn import_users(
    app: App,
    caller: Caller<Admin>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<Response, Problem> {
    users_file::import(&app, (caller.actor(), Invite::Nobody), &query, request).await
}

/// The options of an export.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// `ndjson` or `csv`.
    #[serde(default = "ndjson")]
    #[param(value_type = Option<String>, example = "ndjson")]
    format: Format,
}

fn ndjson() -> Format {
    Format::Ndjson
}

/// Exports all users with their password hashes, in the format of an import.
#[utoipa::path(
    get, path = "/admin/export", tag = "administer", params(ExportQuery), security(("basic" = []), ("bearer" = ["admin"])),
    responses(
        (status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))),
        AuthErrors, InvalidQuery,
    ),
)]
pub async fn export_users(
    app: App,
    caller: Caller<Export>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    users_file::export(app, caller.actor(), caller.grant(), query.format).await
}
