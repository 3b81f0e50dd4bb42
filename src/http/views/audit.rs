//! Records of the audit trail, as answers show them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{AuditRow, Timestamp, UserId, hex};

/// Something that happened.
#[derive(Serialize, ToSchema)]
pub struct AuditView {
    /// Its number.
    seq: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[schema(example = "login.failed")]
    event: String,
    /// `done` or `refused`.
    outcome: String,
    /// Who did it, if that is known.
    #[schema(value_type = Option<Uuid>)]
    actor: Option<UserId>,
    /// To whom.
    #[schema(value_type = Option<Uuid>)]
    subject: Option<UserId>,
    /// To which of their things: an id, or several.
    target: Option<String>,
    /// How the actor proved who they are.
    method: Option<String>,
    address: Option<String>,
    request_id: Option<String>,
    /// The hash of this record and of all before it, in hexadecimal.
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
            method: row.method,
            address: row.address,
            request_id: row.request_id,
            hash: hex(&row.hash),
        }
    }
}
