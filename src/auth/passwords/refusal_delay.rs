//! How long a refusal takes.
//!
//! Rule: while stored hashes differ in what they cost, a refused password is answered no sooner than the dearest of them would
//! take, counted from when its check began; while all cost the same, only a refusal without a hash is delayed, by the time in which
//! a user is found or not. A delay costs no processor time.
//! Threat: by the time of an answer, somebody tells users whose hashes were imported, or date from before the cost was raised,
//! from usernames that do not exist.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::auth::passwords::formats::{self, ParsedHash};
use crate::auth::passwords::hash_queue::Flow;
use crate::auth::passwords::hash_scheme::HashScheme;
use crate::auth::{Auth, random};
use crate::error::Error;

/// Rows whose scheme is filled in by one transaction.
const STEP: u32 = 500;
/// How long other writers have the database between two such transactions.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a refusal takes at least that needs no hash. Nothing that comes before it takes as long.
const WITHOUT_HASH: Duration = Duration::from_millis(2);
/// It takes up to this much longer, at random, in microseconds: the timer leaves a trace of when it was set.
const SPREAD: u16 = 8192;
/// The most schemes that are run to learn what they cost.
const MAX_MEASURED: usize = 32;

/// What a check took lately by each scheme in use; the slowest checks weigh most.
#[derive(Default)]
pub struct RefusalDelay(Mutex<BTreeMap<HashScheme, Duration>>);

impl RefusalDelay {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<HashScheme, Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what checking a hash of this scheme took.
    pub fn record(&self, scheme: HashScheme, took: Duration) {
        self.lock().entry(scheme).and_modify(|slowest| *slowest = took.max(*slowest * 15 / 16)).or_insert(took);
    }

    /// How long after its check began a refusal may be answered; none when all hashes cost the same.
    fn duration(&self) -> Option<Duration> {
        let schemes = self.lock();
        let slowest = schemes.values().max().filter(|_| schemes.len() > 1)?;
        Some(*slowest * 5 / 4)
    }

    /// Waits until a refusal whose check began at `begun` may be answered.
    pub async fn wait(&self, begun: Instant) {
        if let Some(delay) = self.duration() {
            tokio::time::sleep_until((begun + delay).into()).await;
        }
    }
}

/// Waits until a refusal without a hash may be answered, whose check began at `begun`. Whether that found the row of a user takes
/// some microseconds more or less, which would tell who exists.
pub async fn wait_without_hash(begun: Instant) {
    let spread = Duration::from_micros((u16::from_ne_bytes(random()) % SPREAD).into());
    tokio::time::sleep_until((begun + WITHOUT_HASH + spread).into()).await;
}

impl Auth {
    /// Learns what the schemes of stored hashes cost, and fills in the scheme of those that lack it. Call this at the start and
    /// now and then: other processes import users too, and logins replace old hashes.
    pub async fn refresh_known_costs(&self) -> Result<(), Error> {
        // First, since it writes nothing: a server whose disk is full delays refusals too.
        self.measure_schemes().await?;
        if self.fill_in_schemes().await? { self.measure_schemes().await } else { Ok(()) }
    }

    /// Runs each scheme that stored hashes have, and that is new, once to learn what it costs.
    pub(in crate::auth) async fn measure_schemes(&self) -> Result<(), Error> {
        let mut conn = self.store.read().await?;
        let mut samples = conn.one_hash_of_each_scheme().await?;
        samples.extend(conn.hashes_without_scheme(STEP).await?.into_iter().map(|(_, hash)| hash));
        drop(conn);
        let mut in_use = vec![HashScheme::ours(self.settings.passwords.cost())];
        in_use.extend(samples.iter().filter_map(|hash| Some(ParsedHash::parse(hash)?.scheme)));
        in_use.sort_unstable();
        in_use.dedup();
        let new: Vec<HashScheme> = {
            let mut known = self.refusal_delay.lock();
            known.retain(|scheme, _| in_use.contains(scheme));
            in_use.iter().filter(|scheme| !known.contains_key(scheme)).copied().collect()
        };
        if in_use.len() == 1 {
            return Ok(());
        }
        for scheme in new.into_iter().take(MAX_MEASURED) {
            let took = self.hash_pool.run(Flow::OWN, self.work(Some(scheme)), move |memory| {
                let begun = Instant::now();
                ParsedHash::dummy(scheme).verify(memory, b"nobody's password");
                begun.elapsed()
            });
            self.refusal_delay.record(scheme, took.await?);
        }
        Ok(())
    }

    /// Fills in the scheme of hashes that were stored before the database had a column for it. Returns whether there were any.
    async fn fill_in_schemes(&self) -> Result<bool, Error> {
        let mut found_any = false;
        loop {
            let hashes = self.store.read().await?.hashes_without_scheme(STEP).await?;
            if hashes.is_empty() {
                return Ok(found_any);
            }
            found_any = true;
            let mut tx = self.store.write().await?;
            for (user, hash) in hashes {
                tx.fill_in_scheme(user, &formats::with_scheme(hash)).await?;
            }
            tx.commit().await?;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HashCost;

    #[test]
    fn a_refusal_is_delayed_by_the_slowest_scheme_while_there_are_several() {
        let scheme = |memory_kib| HashScheme::ours(HashCost { memory_kib, iterations: 1 });
        let (delays, ms) = (RefusalDelay::default(), Duration::from_millis);
        assert_eq!(delays.duration(), None);
        delays.record(scheme(8), ms(40));
        assert_eq!(delays.duration(), None);
        delays.record(scheme(16), ms(80));
        assert_eq!(delays.duration(), Some(ms(100)));
        // The slowest checks weigh most, and are forgotten little by little.
        delays.record(scheme(16), ms(1));
        assert_eq!(delays.duration(), Some(ms(75) * 5 / 4));
        delays.record(scheme(16), ms(800));
        assert_eq!(delays.duration(), Some(ms(1000)));
    }

    #[tokio::test]
    async fn a_refusal_is_answered_when_its_time_has_passed_since_the_check_began() {
        // From here on, time passes as soon as everybody waits for it.
        tokio::time::pause();
        let (delays, now) = (RefusalDelay::default(), tokio::time::Instant::now);
        let scheme = |memory_kib| HashScheme::ours(HashCost { memory_kib, iterations: 1 });
        let begun = now();
        delays.wait(begun.into_std()).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        delays.record(scheme(8), Duration::from_millis(40));
        delays.record(scheme(16), Duration::from_millis(80));
        delays.wait(begun.into_std()).await;
        // A timer is good to a millisecond.
        assert!((100..=101).contains(&begun.elapsed().as_millis()));
        // What the check has taken already is not waited for again.
        let again = now();
        delays.wait(begun.into_std()).await;
        assert_eq!(again.elapsed(), Duration::ZERO);
        let mut waited = Vec::new();
        for _ in 0..64 {
            let begun = now();
            wait_without_hash(begun.into_std()).await;
            waited.push(begun.elapsed().as_millis());
        }
        let (least, most) = (waited.iter().min().unwrap(), waited.iter().max().unwrap());
        assert!(*least >= 2 && *most <= 12 && most - least >= 4, "{waited:?}");
    }
}
