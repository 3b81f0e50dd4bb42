//! What the service does by itself while it runs: forgets what has run out, writes down what was noted, turns keys over.
//!
//! Rule: small steps, between which others have the writer; a step that fails is tried again with the next round. Threat: a
//! table that grows without end, and a clean-up that stops everyone else.

use std::time::Duration;

use tokio::time::{self, MissedTickBehavior};

use crate::{
    auth::{Auth, idempotency::REMEMBERED},
    error::Error,
    store::Tx,
};

/// How often keys and last uses are looked after.
const OFTEN: Duration = Duration::from_secs(5);
/// How often what has run out is forgotten.
const SWEEP: Duration = Duration::from_secs(60 * 60);
/// When that is done first: servers that start together have other things to write.
const FIRST_SWEEP: Duration = Duration::from_secs(60);
/// Rows that are forgotten in one transaction, some milliseconds of the one writer.
const SWEEP_STEP: u32 = 500;
/// How long others have the writer between two steps.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// How long a one-time secret stays after it was used or expired, so that people can be told which of the two it was.
const SPENT_SECRETS: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a mark in a status list outlives its token, for verifiers whose clocks are behind.
const MARK_GRACE: Duration = Duration::from_secs(10 * 60);

impl Auth {
    /// Looks after everything for as long as it is polled. A long sweep does not keep keys and last uses waiting.
    pub async fn run_maintenance(&self) {
        let often = async {
            let mut ticks = time::interval(OFTEN);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                log("keys were not looked after", self.look_after_keys().await);
                log("last uses were not written", self.write_activity().await);
            }
        };
        let seldom = async {
            log("what passwords cost was not learnt", self.refresh_known_costs().await);
            time::sleep(FIRST_SWEEP).await;
            loop {
                match self.delete_expired().await {
                    Ok(0) => {}
                    Ok(gone) => tracing::info!(gone, "sessions and tokens that had run out were forgotten"),
                    failed => log("what has run out was not forgotten", failed.map(drop)),
                }
                time::sleep(SWEEP).await;
                log("what passwords cost was not learnt", self.refresh_known_costs().await);
            }
        };
        tokio::join!(often, seldom);
    }

    async fn look_after_keys(&self) -> Result<(), Error> {
        self.refresh_keys().await?;
        self.rotate_keys_when_due().await
    }

    /// Forgets what has run out, so that the tables hold what could still be asked for. Gives how many sessions and tokens.
    pub async fn delete_expired(&self) -> Result<u64, Error> {
        let now = self.clock.now();
        self.in_steps(async move |tx| tx.delete_rotated_tokens_expired_before(now, SWEEP_STEP).await).await?;
        let sessions = self.in_steps(async move |tx| tx.delete_sessions_expired_before(now, SWEEP_STEP).await).await?;
        let tokens =
            self.in_steps(async move |tx| tx.delete_personal_tokens_expired_before(now, SWEEP_STEP).await).await?;
        let marks = now.before(MARK_GRACE);
        self.in_steps(async move |tx| tx.delete_statuses_expired_before(marks, SWEEP_STEP).await).await?;
        self.in_steps(async move |tx| tx.delete_spent_status_lists().await).await?;
        let answers = now.before(REMEMBERED);
        self.in_steps(async move |tx| tx.delete_stored_responses_before(answers, SWEEP_STEP).await).await?;
        self.in_steps(async move |tx| tx.delete_spent_secrets_before(now.before(SPENT_SECRETS)).await).await?;
        self.in_steps(async move |tx| tx.delete_spent_signing_keys(now).await).await?;
        let records = self.forget_audit().await?;
        if records > 0 {
            tracing::info!(records, "the oldest records of the audit trail were forgotten");
        }
        Ok(sessions + tokens)
    }

    /// Repeats a step, each in a transaction of its own, until there is less to do than it may.
    async fn in_steps<S>(&self, step: S) -> Result<u64, Error>
    where
        S: AsyncFn(&mut Tx) -> Result<u64, Error>,
    {
        let mut gone = 0;
        loop {
            let mut tx = self.store.write().await?;
            let done = step(&mut tx).await?;
            tx.commit().await?;
            gone += done;
            if done < u64::from(SWEEP_STEP) {
                return Ok(gone);
            }
            time::sleep(SWEEP_PAUSE).await;
        }
    }
}

fn log(what: &str, done: Result<(), Error>) {
    if let Err(error) = done {
        let cause = std::error::Error::source(&error).map(tracing::field::display);
        tracing::warn!(%error, cause, "{what}");
    }
}
