//! `audit`: what happened, in order, each row with a hash over itself and the row before. `audit_head` is the end of the
//! chain; whoever appends holds it until their transaction ends, so that rows come one after the other.

use super::{Tx, execute, fetch_scalar};
use crate::{error::Error, model::AuditRecord};

impl Tx {
    /// Takes the next number and keeps everyone else from appending. Gives the number and the hash of the row before.
    pub async fn next_audit_row(&mut self) -> Result<(i64, Vec<u8>), Error> {
        let seq =
            fetch_scalar!(&mut **self, r#"UPDATE audit_head SET seq = seq + 1 WHERE id = 1 RETURNING seq AS "seq!""#)?;
        let hash = fetch_scalar!(&mut **self, r#"SELECT hash AS "hash!" FROM audit_head WHERE id = 1"#)?;
        Ok((seq, hash))
    }

    /// Appends a row, with the hash that makes it the end of the chain.
    pub async fn append_audit_row(&mut self, seq: i64, record: &AuditRecord, hash: &[u8]) -> Result<(), Error> {
        let (event, outcome) = (record.event.as_str(), record.outcome.as_str());
        execute!(
            &mut **self,
            "INSERT INTO audit (seq, at, event, outcome, actor_id, subject_id, target, method, address, request_id, hash)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            seq,
            record.at as _,
            event,
            outcome,
            record.actor as _,
            record.subject as _,
            record.target,
            record.method,
            record.address,
            record.request_id,
            hash,
        )?;
        execute!(&mut **self, "UPDATE audit_head SET hash = $1 WHERE id = 1", hash)?;
        Ok(())
    }
}
