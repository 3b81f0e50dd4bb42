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
    #[schema(example = "refused")]
    outcome: String,
    /// The user who acted, if known.
    #[schema(value_type = Option<Uuid>)]
    actor: Option<UserId>,
    /// The user affected.
    #[schema(value_type = Option<Uuid>)]
    subject: Option<UserId>,
    /// What was affected, for example the id of a session or token; may be several ids.
    #[schema(example = "01a209a4-5175-7d1f-96a9-8817ee5490a8")]
    target: Option<String>,
    /// What was changed, or how often it happened.
    #[schema(example = "attempts: 12")]
    detail: Option<String>,
    /// How the actor authenticated.
    #[schema(example = "basic")]
    method: Option<String>,
    #[schema(example = "192.0.2.7")]
    address: Option<String>,
    #[schema(example = "eab0a64c0ec84f16a22b2304e33d9138")]
    request_id: Option<String>,
    /// The hash of this record and all records before it, in hexadecimal.
    #[schema(example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
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
