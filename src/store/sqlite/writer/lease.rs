//! The connection, lent to one request at a time.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::SqliteConnection;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::error::Error;
use crate::model::AuditRecord;
use crate::store::invalidation::Invalidated;

/// The connection. Whoever holds the lock has the lease.
pub(super) type Shared = Arc<Mutex<SqliteConnection>>;

/// A member of a group that waits for its commit.
pub(super) struct PendingCommit {
    pub(super) outcome: oneshot::Sender<Result<(), Arc<sqlx::Error>>>,
    pub(super) invalidated: Invalidated,
    pub(super) records: Vec<AuditRecord>,
}

/// The connection, lent to one request. Dropped without [`Lease::commit`], it leaves no trace.
pub struct Lease {
    connection: OwnedMutexGuard<SqliteConnection>,
    commit: oneshot::Sender<PendingCommit>,
}

impl Lease {
    /// Commits, with the other members of the group. When this returns, what was written is on the disk, the records are
    /// appended to the audit trail, and the invalidations of the whole group are noted: a member may have read, and may
    /// report, what another has written.
    pub async fn commit(self, invalidated: Invalidated, records: Vec<AuditRecord>) -> Result<(), Error> {
        let (outcome, committed) = oneshot::channel();
        drop(self.connection);
        // If the task has ended, so has the other end of `outcome`, and the next line says so.
        let _gone = self.commit.send(PendingCommit { outcome, invalidated, records });
        committed.await.map_err(unavailable)?.map_err(unavailable)
    }
}

impl Deref for Lease {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

pub(super) fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable(cause.into())
}

/// Leases the connection and waits until it is back. Gives the member if it wants its work committed.
pub(super) async fn lease(connection: &Shared, to: oneshot::Sender<Result<Lease, Error>>) -> Option<PendingCommit> {
    let (commit, committing) = oneshot::channel();
    let connection = Arc::clone(connection).lock_owned().await;
    // If the request has gone away meanwhile, this drops the lease, as it could have done itself.
    drop(to.send(Ok(Lease { connection, commit })));
    committing.await.ok()
}
