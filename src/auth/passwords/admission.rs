//! Whether a password is hashed at all: the limiter (`limiter.rs`) together with what the database knows.
//!
//! Rule: a network is known to an account once it has presented the right password; the database keeps the list. When a
//! limit is reached, the database is asked whether the network is known, and whether the block was lifted. Threat: an answer
//! whose time tells whether the account exists, or where it logs in from elsewhere; unknown accounts cost the same queries.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::auth::passwords::hash_queue::Flow;
use crate::auth::passwords::limiter::{Admission, Attempt, Guess};
use crate::auth::{Actor, Auth};
use crate::error::Error;
use crate::mail::Subject;
use crate::model::{ClientNetwork, Event, UserId};

/// How long a password waits until it is known whether those before it were right.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The most networks that wait to be written. Further ones are noted when they are next seen after a restart.
const MAX_NEW: usize = 10_000;
/// Networks per transaction.
const STEP: usize = 50;

impl Auth {
    /// Takes a slot for a password of `user` that is to be hashed; none when the password is known to be wrong.
    /// [`Error::TooManyAttempts`] when there is no slot left.
    pub(in crate::auth) async fn admit(
        &self,
        attempt: Actor,
        user: Option<UserId>,
        flow: Flow,
        guess: Option<Guess>,
    ) -> Result<Option<Attempt>, Error> {
        let (Some(network), Some(guess)) = (flow.network, guess) else { return Ok(Some(Attempt::unlimited())) };
        let deadline = Instant::now() + MAX_WAIT;
        loop {
            let (now, settled) = (self.clock.now(), guess.settled());
            let refused = match guess.admit(now) {
                Admission::Attempt(slot) => return Ok(Some(slot)),
                Admission::KnownWrong => return Ok(None),
                Admission::Refused(refused) => refused,
                Admission::Wait => match timeout_at(deadline, settled).await {
                    Ok(()) => continue,
                    Err(_elapsed) => return Err(Error::Busy { retry_after: Duration::from_secs(1) }),
                },
            };
            if guess.is_known().is_none() {
                let mut conn = self.store.read().await?;
                let is_known = conn.is_known_network(user.unwrap_or_default(), network).await?;
                guess.set_known(is_known);
                if is_known {
                    continue;
                }
            }
            if self.was_lifted(&refused).await {
                guess.forgive(&refused);
                continue;
            }
            self.note_block(&refused, network, user).await;
            self.note_refusal(Event::LoginLimited, attempt, user).await;
            let wait = u64::try_from(refused.until.0.saturating_sub(now.0)).unwrap_or(0);
            return Err(Error::TooManyAttempts { retry_after: Duration::from_millis(wait) });
        }
    }

    /// Writes the networks that have become known to the database. Call this every few seconds.
    pub async fn write_known_networks(&self) -> Result<(), Error> {
        let mut new: Vec<_> = self.new_networks.lock().iter().copied().collect();
        // In one order, so that two servers cannot wait for each other.
        new.sort_unstable_by_key(|(user, _)| *user);
        for step in new.chunks(STEP) {
            let mut tx = self.store.write().await?;
            for (user, network) in step {
                // A user may have been deleted meanwhile.
                let user = match tx.locked_user(*user, None).await {
                    Err(Error::NotFound) => continue,
                    found => found?,
                };
                let now = self.clock.now();
                // The first network of all is no news to anybody.
                let is_news = tx.has_known_network(user.id).await? && !tx.is_known_network(user.id, *network).await?;
                tx.add_known_network(user.id, *network, now).await?;
                if is_news {
                    let address = [("address", network.to_string())];
                    self.notify(&mut tx, &user, Actor::System, Subject::NewAddress, address, now).await?;
                }
            }
            tx.commit().await?;
            self.new_networks.lock().retain(|written| !step.contains(written));
        }
        Ok(())
    }
}

/// The networks that users have logged in from and that are not in the database yet. They are written later, because a check
/// of a password must not wait for a database that cannot be written.
#[derive(Default)]
pub struct NewNetworks(Mutex<HashSet<(UserId, ClientNetwork)>>);

impl NewNetworks {
    fn lock(&self) -> MutexGuard<'_, HashSet<(UserId, ClientNetwork)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the user has presented the right password from this network.
    pub fn add(&self, user: UserId, network: ClientNetwork) {
        let mut new = self.lock();
        if new.len() < MAX_NEW {
            new.insert((user, network));
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn networks_that_wait_to_be_written_are_bounded() {
        let new = NewNetworks::default();
        for number in 0..2 * MAX_NEW as u128 {
            new.add(UserId(Uuid::from_u128(number)), ClientNetwork::of([192, 0, 2, 1].into()));
        }
        assert_eq!(new.lock().len(), MAX_NEW);
        assert!(new.lock().contains(&(UserId(Uuid::from_u128(0)), ClientNetwork::of([192, 0, 2, 1].into()))));
    }
}
