//! `/admin/audit`: the audit trail.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::auth::ChainReport;
use crate::error::FieldError;
use crate::http::App;
use crate::http::extract::{Admin, Caller, Query, pagination};
use crate::http::openapi::{AuthErrors, InvalidQuery};
use crate::http::problem::Problem;
use crate::http::views::AuditView;
use crate::model::{AuditFilter, Timestamp, UserId};

/// Selects records and a page of them. All conditions must hold.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// The user who acted, or who was affected.
    user: Option<Uuid>,
    /// The event, for example `login.failed`.
    event: Option<String>,
    /// The earliest time (RFC 3339).
    #[param(format = DateTime)]
    since: Option<String>,
    /// The maximum number of records.
    #[serde(default = "pagination::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the previous page.
    after: Option<i64>,
}

/// A page of the audit trail.
#[derive(Serialize, ToSchema)]
pub struct AuditPage {
    items: Vec<AuditView>,
    /// The value of `after` for the next page; null on the last page.
    next: Option<i64>,
}

/// The result of verifying the hash chain.
#[derive(Serialize, ToSchema)]
pub struct AuditVerification {
    /// Whether all records are unchanged and complete.
    ok: bool,
    /// How many records from the first one on form an intact chain.
    records: i64,
    /// How many of them are from before the trail had this key. They are unchanged since then.
    unsealed: i64,
    /// The first sequence number whose record was changed or is missing.
    broken_at: Option<i64>,
}

/// Lists the audit records, the newest first.
#[utoipa::path(
    get, path = "/admin/audit", tag = "administer", params(AuditQuery), security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = AuditPage), AuthErrors, InvalidQuery),
)]
pub async fn list_audit(
    app: App,
    _: Caller<Admin>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditPage>, Problem> {
    let limit = pagination::validate_limit(query.limit)?;
    let invalid = |_| Problem::validation(vec![FieldError::new("since", "malformed", "must be a time as in RFC 3339")]);
    let since = query.since.map(|text| text.parse::<Timestamp>()).transpose().map_err(invalid)?;
    let unknown = |words: String| Problem::validation(vec![FieldError::new("event", "unknown", words)]);
    let event =
        query.event.filter(|event| !event.is_empty()).map(|event| event.parse()).transpose().map_err(unknown)?;
    let filter = AuditFilter { user: query.user.map(UserId), event, since };
    let (rows, next) = app.auth().audit(&filter, query.after, limit).await?;
    Ok(Json(AuditPage { items: rows.into_iter().map(AuditView::from).collect(), next }))
}

/// Verifies the hash chain of the audit trail from the first record to the last.
#[utoipa::path(
    get, path = "/admin/audit/verify", tag = "administer", security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = AuditVerification), AuthErrors),
)]
pub async fn verify_audit(app: App, _: Caller<Admin>) -> Result<Json<AuditVerification>, Problem> {
    let verified = app.auth().verify_audit().await?;
    let ok = verified.broken_at.is_none();
    let ChainReport { records, unsealed, broken_at } = verified;
    Ok(Json(AuditVerification { ok, records, unsealed, broken_at }))
}
