//! `/admin/console/import`: users from a spreadsheet or from other software, and all of them as a file.

use axum::extract::Request;
use axum::response::Response;
use minijinja::context;

use crate::auth::Invite;
use crate::http::App;
use crate::http::extract::{Admin, Query};
use crate::http::pages::frame::{SignedIn, Submitted, Uploaded};
use crate::http::problem::Problem;
use crate::http::users_file::{self, ImportQuery};
use crate::model::{Format, UserRecord};

/// Shows the form. A script reads the file, shows its columns and sends it.
pub async fn show_import(app: App, SignedIn { frame, .. }: SignedIn<Admin>) -> Result<Response, Problem> {
    let values = context! {
        title => "Import and export",
        has_mail => app.auth().has_mail(),
        fields => UserRecord::FIELDS.to_vec(),
    };
    frame.show("console/import.html", values)
}

/// Imports the file. Users without a password hash are invited: by mail, or by links in the report.
pub async fn import_users(
    app: App,
    Uploaded { caller }: Uploaded<Admin>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let invite = if app.auth().has_mail() { Invite::ByMail } else { Invite::ByLink };
    users_file::import(&app, (caller.actor(), invite), &query, request).await
}

/// Sends all users with their password hashes.
pub async fn export_users(app: App, Submitted { caller, form, .. }: Submitted<Admin>) -> Result<Response, Problem> {
    let format = if form.get("format") == "csv" { Format::Csv } else { Format::Ndjson };
    users_file::export(app, caller.actor(), caller.grant(), format).await
}
