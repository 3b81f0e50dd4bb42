//! How a transaction ends: it releases its rows, and then waits for the disk.
//!
//! The ends of the audit trail and of the log of changes are held to the commit. If that waited for the disk, the next writer, of
//! whichever server, would wait, too: one flush after the other. So the transaction commits without waiting, which releases the
//! rows, and a second one, which changes nothing, waits. PostgreSQL flushes its own log in order: with the second commit the first
//! is on the disk, and on the standbys that are waited for, and many who wait share one flush.

use std::time::{Duration, Instant};

use sqlx::{Executor as _, Postgres, Transaction};
use tokio::time;

use crate::store::postgres::Cluster;
use crate::store::query::in_time;

/// What ends the first transaction and begins the second. One that has failed is refused by the first statement: its commit
/// would be answered like any other. The second has to have written something, or its commit would not wait; those who read the
/// log by logical replication get such messages only if they ask for them.
const RELEASE: &str = "SELECT 1; COMMIT AND CHAIN; SELECT pg_logical_emit_message(TRUE, 'countersign', '')";

/// How long a connection is kept that waits for a standby which is away. PostgreSQL waits on when we are gone, and without a limit
/// of ours such waits would soon use up all of its connections.
const LONGEST: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile whether the network has gone silent, so that no answer can come.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Cluster {
    /// Commits, and waits until that has reached the disk.
    pub async fn commit(&self, mut transaction: Transaction<'static, Postgres>) -> Result<(), sqlx::Error> {
        in_time(transaction.execute(sqlx::raw_sql(RELEASE))).await?;
        let (silence, begun) = (self.silence.clone(), Instant::now());
        // In a task of its own: the request is answered in time, and the connection keeps its place in the pool.
        let flushed = tokio::spawn(async move {
            let mut commit = std::pin::pin!(transaction.commit());
            loop {
                if let Ok(committed) = time::timeout(LOOK_EVERY, commit.as_mut()).await {
                    return committed;
                }
                if silence.is_since(begun.elapsed()) || begun.elapsed() > LONGEST {
                    return Err(sqlx::Error::PoolTimedOut);
                }
            }
        });
        in_time(async { flushed.await.unwrap_or(Err(sqlx::Error::WorkerCrashed)) }).await
    }
}
