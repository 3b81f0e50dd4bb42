//! The end of a transaction: what it did, what it records and what it makes stale become true together.

use std::mem;

use crate::error::Error;
use crate::model::{AuditRecord, Event};
use crate::store::invalidation::Invalidate;
use crate::store::{Transaction, Tx, tables};

impl Tx {
    /// Commits. When this returns, what was written is on the disk, and so is what was read: with SQLite, a transaction may
    /// read what others wrote whose shared commit is still on its way. Therefore commit before you answer that something is
    /// done, even when there was nothing left to write.
    pub async fn commit(self) -> Result<(), Error> {
        let records = if tracing::enabled!(tracing::Level::INFO) { self.records.clone() } else { Vec::new() };
        self.commit_unlogged().await?;
        // Each refused password was logged by itself; these records have their number.
        let refusals = [Event::LoginFailed, Event::LoginLimited];
        records.iter().filter(|record| !refusals.contains(&record.event)).for_each(AuditRecord::log);
        Ok(())
    }

    async fn commit_unlogged(mut self) -> Result<(), Error> {
        let mut change = None;
        if let Transaction::Postgres(_) = self.conn.0 {
            let (mut driver, records) = (self.conn.driver(), mem::take(&mut self.records));
            change = match (self.invalidated.for_others(), records.is_empty()) {
                (None, true) => None,
                (Some(ids), true) => Some(tables::changes::append(&mut driver, ids).await?),
                (changed, false) => tables::audit::append(&mut driver, &self.chain_key, records, changed).await?,
            };
        }
        match self.conn.0 {
            // The writer appends the records and notes the invalidations of all who share the commit.
            Transaction::Sqlite(lease) => lease.commit(self.invalidated, self.records).await,
            Transaction::Postgres(transaction) => {
                let committed = self.cluster.commit(transaction).await;
                // Whatever the outcome: the answer may have been lost after the server had committed.
                if let (Some(replica), Some(change)) = (&self.cluster.replica, change) {
                    replica.note_made(change);
                }
                self.invalidation.note(self.invalidated);
                Ok(committed?)
            }
        }
    }

    /// Adds what a statement invalidates. The query macros call this; see `query.rs`.
    pub(super) fn invalidate(&mut self, what: Invalidate) {
        self.invalidated.add(what);
    }
}
