//! The audit trail: what happened, in an order that cannot be changed unseen.
//!
//! Rule: a change and its record are one transaction; a record's hash covers it and the hash of the record before. Threat:
//! someone who changes or removes a record. Whoever can write the whole chain anew and its end too is found out only by a
//! hash that was kept elsewhere.

use aws_lc_rs::digest::{SHA256, digest};

use crate::{
    error::Error,
    model::{AuditRecord, Event, Origin, Outcome, Principal, Timestamp, UserId},
    store::Tx,
};

/// Who does something.
#[derive(Clone, Copy, Debug)]
pub enum Actor {
    /// Someone who proved who they are.
    User {
        /// Who.
        id: UserId,
        /// By which method.
        method: &'static str,
        /// From where.
        origin: Origin,
    },
    /// Someone who did not.
    Unknown {
        /// By which method they tried.
        method: &'static str,
        /// From where.
        origin: Origin,
    },
    /// Whoever runs the command line.
    Operator,
    /// The service by itself.
    System,
}

impl Actor {
    /// The caller of this request.
    pub fn caller(principal: &Principal, origin: Origin) -> Self {
        Self::User { id: principal.user.id, method: principal.method.as_str(), origin }
    }

    /// A record of what they did.
    pub(super) fn did(self, event: Event, at: Timestamp) -> AuditRecord {
        let (actor, method, origin) = match self {
            Self::User { id, method, origin } => (Some(id), method, Some(origin)),
            Self::Unknown { method, origin } => (None, method, Some(origin)),
            Self::Operator => (None, "command", None),
            Self::System => (None, "system", None),
        };
        AuditRecord {
            at,
            event,
            outcome: Outcome::Done,
            actor,
            subject: None,
            target: None,
            method: Some(method),
            address: origin.map(|origin| origin.address.to_string()),
            request_id: origin.map(|origin| origin.request_id.simple().to_string()),
        }
    }
}

impl AuditRecord {
    /// The same, done to this user.
    pub(super) fn on(self, subject: UserId) -> Self {
        Self { subject: Some(subject), ..self }
    }

    /// The same, done to this thing.
    pub(super) fn to(self, target: impl std::fmt::Display) -> Self {
        Self { target: Some(target.to_string()), ..self }
    }

    /// The same, done to these things.
    pub(super) fn concerning(self, targets: &[impl std::fmt::Display]) -> Self {
        let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
        self.to(targets.join(" "))
    }

    /// The same, but it was refused.
    pub(super) fn refused(self) -> Self {
        Self { outcome: Outcome::Refused, ..self }
    }
}

/// Puts a record at the end of the chain. Let it be the last of a transaction: from here on others wait.
pub(super) async fn record(tx: &mut Tx, record: AuditRecord) -> Result<(), Error> {
    let (seq, before) = tx.next_audit_row().await?;
    let hash = chain(&before, seq, &record)?;
    tx.append_audit_row(seq, &record, &hash).await
}

/// The hash of a record and of all before it. A JSON array has one reading: no field can run into the next.
fn chain(before: &[u8], seq: i64, record: &AuditRecord) -> Result<Vec<u8>, Error> {
    let fields = serde_json::to_vec(&(
        before,
        seq,
        record.at.0,
        record.event.as_str(),
        record.outcome.as_str(),
        (record.actor, record.subject, &record.target),
        (record.method, &record.address, &record.request_id),
    ));
    let fields = fields.map_err(|error| Error::Internal(error.into()))?;
    Ok(digest(&SHA256, &fields).as_ref().to_vec())
}
