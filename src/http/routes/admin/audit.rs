//! `/admin/audit`.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    error::FieldError,
    http::{
        App,
        extract::{Admin, Caller, Query, page},
        openapi::{AuthErrors, InvalidQuery},
        problem::Problem,
        views::AuditView,
    },
    model::{AuditFilter, Timestamp, UserId},
};

/// Which records, and which page of them.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Who did it, or to whom it was done.
    user: Option<Uuid>,
    /// What happened, such as `login.failed`.
    event: Option<String>,
    /// Not before this moment (RFC 3339).
    #[param(format = DateTime)]
    since: Option<String>,
    /// How many at most.
    #[serde(default = "page::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// `next` of the page before.
    after: Option<i64>,
}

/// A page of the audit trail.
#[derive(Serialize, ToSchema)]
pub struct AuditPage {
    items: Vec<AuditView>,
    /// What to give as `after` for the next page; none on the last.
    next: Option<i64>,
}

/// What came of following the chain.
#[derive(Serialize, ToSchema)]
pub struct AuditVerification {
    /// Whether every record is as it was written.
    ok: bool,
    /// How many records hang together from the first one on.
    records: i64,
    /// The first number at which a record was changed or is missing.
    broken_at: Option<i64>,
}

/// What happened, the newest first.
#[utoipa::path(
    get, path = "/admin/audit", tag = "admin", params(AuditQuery), security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = AuditPage), AuthErrors, InvalidQuery),
)]
pub async fn list_audit(
    app: App,
    _: Caller<Admin>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditPage>, Problem> {
    let limit = page::validate_limit(query.limit)?;
    let wrong = |_| Problem::validation(vec![FieldError::new("since", "malformed", "must be a time as in RFC 3339")]);
    let since = query.since.map(|text| text.parse::<Timestamp>()).transpose().map_err(wrong)?;
    // PostgreSQL has no place for a zero byte, and no event has one.
    let event = query.event.map(|event| event.replace('\0', "\u{fffd}"));
    let filter = AuditFilter { user: query.user.map(UserId), event, since };
    let (rows, next) = app.auth().audit(&filter, query.after, limit).await?;
    Ok(Json(AuditPage { items: rows.into_iter().map(AuditView::from).collect(), next }))
}

/// Follows the chain of records from the first to the last.
#[utoipa::path(
    get, path = "/admin/audit/verify", tag = "admin", security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = AuditVerification), AuthErrors),
)]
pub async fn verify_audit(app: App, _: Caller<Admin>) -> Result<Json<AuditVerification>, Problem> {
    let verified = app.auth().verify_audit().await?;
    let ok = verified.broken_at.is_none();
    Ok(Json(AuditVerification { ok, records: verified.records, broken_at: verified.broken_at }))
}
