//! The JSON representation of audit records.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{AuditRow, Timestamp, UserId};

/// An audit record.
#[derive(Serialize, ToSchema)]
pub struct AuditView {
    /// The sequence number.
    seq: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[schema(example = "login.failed")]
    event: String,
    /// `done` or `refused`.
    outcome: String,
    /// The user who acted, if known.
    #[schema(value_type = Option<Uuid>)]
    actor: Option<UserId>,
    /// The user affected.
    #[schema(value_type = Option<Uuid>)]
    subject: Option<UserId>,
    /// What was affected, for example the id of a session or token; may be several ids.
    target: Option<String>,
    /// What was changed, or how often it happened.
    #[schema(example = "attempts: 12")]
    detail: Option<String>,
    /// How the actor authenticated.
    method: Option<String>,
    address: Option<String>,
    request_id: Option<String>,
    /// The hash of this record and all records before it, in hexadecimal.
    hash: String,
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        Self {
            seq: row.seq,
            at: row.at,
            event: row.event,
            outcome: row.outcome,
            actor: row.actor,
            subject: row.subject,
            target: row.target,
            detail: row.detail,
            method: row.method,
            address: row.address,
            request_id: row.request_id,
            hash: hex::encode(&row.hash),
        }
    }
}
