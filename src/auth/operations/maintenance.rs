//! Background maintenance: deletes expired rows, writes the times of last use, rotates signing keys.
//!
//! Rule: deletions run in small batches with pauses, so that other writes get their turn; a failed task is retried in
//! the next round. Threats: tables that grow without bound, and a clean-up that blocks all other writes.

use std::time::Duration;

use tokio::time::{self, MissedTickBehavior};

use crate::auth::Auth;
use crate::auth::idempotency::REMEMBERED;
use crate::error::Error;
use crate::store::Tx;

/// The interval between rounds of key maintenance and of writing the times of last use.
const SHORT_INTERVAL: Duration = Duration::from_secs(5);
/// The interval between clean-ups.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// The delay of the first clean-up, because servers that start together have other things to write.
const CLEANUP_DELAY: Duration = Duration::from_secs(60);
/// The rows deleted in one transaction, which holds the only writer for some milliseconds.
const BATCH_SIZE: u32 = 500;
/// The pause between two batches, for other writes.
const BATCH_PAUSE: Duration = Duration::from_millis(20);

/// How long a one-time secret is kept after it was used or expired, so that its owner can be told which of the two it was.
const SPENT_SECRETS: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a mail is kept that nobody sends.
const UNSENT_MAILS: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// How long the network of a login is known. A login from it begins that time anew, but at most once for each start of a server.
const KNOWN_NETWORKS: Duration = Duration::from_secs(180 * 24 * 60 * 60);
/// How long the status of a session is kept after its tokens have expired, for verifiers whose clocks are behind.
const STATUS_GRACE: Duration = Duration::from_secs(10 * 60);

impl Auth {
    /// Runs all maintenance and never returns. A long clean-up delays neither key rotation nor the times of last use.
    pub async fn run_maintenance(&self) {
        let frequent = async {
            let mut ticks = time::interval(SHORT_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                log("the signing keys could not be maintained", self.maintain_keys().await);
                log("the times of last use could not be written", self.write_activity().await);
                log("the networks of logins could not be written", self.write_known_networks().await);
                log("other servers could not be told of wrong passwords", self.write_guesses().await);
                self.record_refusals().await;
                log("other servers could not be told that this one is there", self.stay_among_servers().await);
            }
        };
        let hourly = async {
            log("the costs of password hashes could not be measured", self.refresh_known_costs().await);
            time::sleep(CLEANUP_DELAY).await;
            loop {
                match self.delete_expired().await {
                    Ok(0) => {}
                    Ok(deleted) => tracing::info!(deleted, "expired sessions and tokens were deleted"),
                    failed => log("expired rows could not be deleted", failed.map(drop)),
                }
                time::sleep(CLEANUP_INTERVAL).await;
                log("the costs of password hashes could not be measured", self.refresh_known_costs().await);
            }
        };
        tokio::join!(frequent, hourly);
    }

    async fn maintain_keys(&self) -> Result<(), Error> {
        self.refresh_keys().await?;
        self.rotate_keys_when_due().await
    }

    /// Deletes expired rows of all tables. Returns the number of sessions and personal tokens deleted.
    pub async fn delete_expired(&self) -> Result<u64, Error> {
        let now = self.clock.now();
        self.in_batches(async move |tx| tx.delete_rotated_tokens_expired_before(now, BATCH_SIZE).await).await?;
        let sessions =
            self.in_batches(async move |tx| tx.delete_sessions_expired_before(now, BATCH_SIZE).await).await?;
        let tokens =
            self.in_batches(async move |tx| tx.delete_personal_tokens_expired_before(now, BATCH_SIZE).await).await?;
        let statuses = now.before(STATUS_GRACE);
        self.in_batches(async move |tx| tx.delete_statuses_expired_before(statuses, BATCH_SIZE).await).await?;
        self.in_batches(async move |tx| tx.delete_spent_status_lists().await).await?;
        self.in_batches(async move |tx| tx.delete_old_changes(BATCH_SIZE).await).await?;
        let responses = now.before(REMEMBERED);
        self.in_batches(async move |tx| tx.delete_stored_responses_before(responses, BATCH_SIZE).await).await?;
        // Where mail is sent, they are given up before. Elsewhere nobody looks at them.
        let unsent = now.before(UNSENT_MAILS);
        self.in_batches(async move |tx| tx.delete_mails_before(unsent, BATCH_SIZE).await).await?;
        let spent = now.before(SPENT_SECRETS);
        self.in_batches(async move |tx| tx.delete_spent_secrets_before(spent, BATCH_SIZE).await).await?;
        self.in_batches(async move |tx| tx.delete_spent_signing_keys(now).await).await?;
        let known = now.before(KNOWN_NETWORKS);
        self.in_batches(async move |tx| tx.delete_known_networks_before(known, BATCH_SIZE).await).await?;
        self.in_batches(async move |tx| tx.delete_blocks_ended_before(now, BATCH_SIZE).await).await?;
        self.in_batches(async move |tx| tx.delete_full_guesses(now, BATCH_SIZE).await).await?;
        let records = self.forget_audit().await?;
        if records > 0 {
            tracing::info!(records, "the oldest records of the audit trail were deleted");
        }
        Ok(sessions + tokens)
    }

    /// Repeats a deletion, each time in a transaction of its own, until a batch is not full. Returns the total.
    async fn in_batches<F>(&self, delete_batch: F) -> Result<u64, Error>
    where
        F: AsyncFn(&mut Tx) -> Result<u64, Error>,
    {
        let mut total = 0;
        loop {
            let mut tx = self.store.write().await?;
            let deleted = delete_batch(&mut tx).await?;
            tx.commit().await?;
            total += deleted;
            if deleted < u64::from(BATCH_SIZE) {
                return Ok(total);
            }
            time::sleep(BATCH_PAUSE).await;
        }
    }
}

fn log(what: &str, done: Result<(), Error>) {
    if let Err(error) = done {
        let cause = std::error::Error::source(&error).map(tracing::field::display);
        tracing::warn!(%error, cause, "{what}");
    }
}
