//! A read replica: a standby of PostgreSQL that answers for the primary when a credential is checked.
//!
//! Rule: what it says counts only if it has the last change that this server has made, or has heard of; and only a yes counts,
//! since a login may not have reached it yet. A server hears of changes by polling the primary (`changes.rs`), so a check on the
//! replica is as new as one by the cache. Threats: a replica that is behind, or follows another primary since a fail-over, and
//! lets in whom somebody has thrown out; one that is silent and keeps checks waiting.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::time;

use crate::error::Error;
use crate::store::tables::changes::{Mark, is_on_standby};
use crate::store::{Conn, Driver, Pooled};

/// How long a check waits for the replica before it asks the primary.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long nobody asks the replica after a fault. Then one check does, and the others wait for what it finds.
const PAUSE: Duration = Duration::from_millis(500);
/// How long nobody asks it while it is behind, which it is for some milliseconds after each change.
const CATCHING_UP: Duration = Duration::from_millis(20);

/// The replica, and how new it has to be.
#[derive(Debug)]
pub struct Replica {
    pool: PgPool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last change of which this server has heard; none while it hears nothing.
    heard: Option<Mark>,
    /// The last change that it has made.
    made: Mark,
    paused_until: Option<Instant>,
}

impl Replica {
    /// A replica that is not asked before changes have been heard of.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes up to which change this server has heard; none when it hears nothing.
    pub fn note_heard(&self, change: Option<Mark>) {
        self.state().heard = change;
    }

    /// Notes a change that this server has made.
    pub fn note_made(&self, change: Mark) {
        let mut state = self.state();
        if change.seq > state.made.seq {
            state.made = change;
        }
    }

    /// What a query finds there, if the replica has all that is required and answers in time.
    pub async fn ask<T, F>(&self, query: impl FnOnce(Conn) -> F) -> Option<T>
    where
        F: Future<Output = Result<Option<T>, Error>>,
    {
        let required = self.required()?;
        let asked = async {
            let mut connection = self.pool.acquire().await?;
            if !is_on_standby(&mut Driver::Postgres(&mut connection), required).await? {
                return Ok(None);
            }
            query(Conn(Pooled::Postgres(connection))).await.map(Some)
        };
        let answer = time::timeout(PATIENCE, asked).await;
        self.state().paused_until = match &answer {
            Ok(Ok(Some(_))) => None,
            Ok(Ok(None)) => Some(Instant::now() + CATCHING_UP),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the read replica is not used");
                Some(Instant::now() + PAUSE)
            }
            Err(_elapsed) => {
                tracing::warn!("the read replica does not answer in time");
                Some(Instant::now() + PAUSE)
            }
        };
        answer.ok()?.ok()?.flatten()
    }

    /// The change that the replica has to have, unless it is not to be asked now.
    fn required(&self) -> Option<Mark> {
        let mut state = self.state();
        // Before there was a change, nothing tells how new it is.
        let heard = state.heard.filter(|heard| heard.tag.is_some())?;
        let now = Instant::now();
        if state.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        if state.paused_until.is_some() {
            // This check is the one that tries.
            state.paused_until = Some(now + PATIENCE);
        }
        Some(if state.made.seq > heard.seq { state.made } else { heard })
    }

    /// Closes its connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
