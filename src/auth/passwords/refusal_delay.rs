//! How long a refusal takes.
//!
//! Rule: while stored hashes differ in what they cost, a refused password is answered, counted from when its turn came, no
//! sooner than after the dearest of them; where all cost the same, nobody waits. Waiting costs no core. Threat: users who
//! were brought along with their hashes, or have not logged in since the cost was raised, are told from names that nobody
//! has by the time an answer takes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    auth::{
        Auth,
        passwords::formats::{HashScheme, ParsedHash},
    },
    error::Error,
    model::UserId,
};

/// Users whose hashes are looked at at a time.
const STEP: u32 = 2000;
/// How long others have the database between two steps.
const PAUSE: Duration = Duration::from_millis(10);
/// The most schemes that are tried to learn what they take.
const MAX_TRIED: usize = 32;

/// What each scheme that is in use took of late, the slowest counting most.
#[derive(Default)]
pub struct RefusalDelay(Mutex<BTreeMap<HashScheme, Duration>>);

impl RefusalDelay {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<HashScheme, Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what checking a hash of this scheme took.
    pub fn record(&self, scheme: HashScheme, took: Duration) {
        self.lock().entry(scheme).and_modify(|slowest| *slowest = took.max(*slowest * 15 / 16)).or_insert(took);
    }

    /// How long after its turn came a refusal may be answered; none when all hashes cost the same.
    fn duration(&self) -> Option<Duration> {
        let schemes = self.lock();
        let slowest = schemes.values().max().filter(|_| schemes.len() > 1)?;
        Some(*slowest * 5 / 4)
    }

    /// Waits until a refusal whose turn came at `begun` may be answered.
    pub async fn wait(&self, begun: Instant) {
        if let Some(wait) = self.duration() {
            tokio::time::sleep_until((begun + wait).into()).await;
        }
    }
}

impl Auth {
    /// Learns which schemes are in use, and tries those it has not met. To be called at the start and now and then: another
    /// process may bring users along, and they become fewer as they log in.
    pub async fn refresh_known_costs(&self) -> Result<(), Error> {
        let (mut found, mut after) = (vec![HashScheme::ours(self.settings.cost)], UserId::default());
        loop {
            let page = self.store.read().await?.password_hashes(after, STEP).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            found.extend(page.iter().filter_map(|(_, hash)| Some(ParsedHash::parse(hash)?.scheme)));
            found.sort_unstable();
            found.dedup();
            tokio::time::sleep(PAUSE).await;
        }
        self.refusal_delay.lock().retain(|scheme, _| found.contains(scheme));
        if found.len() > 1 {
            self.try_schemes(found).await?;
        }
        Ok(())
    }

    async fn try_schemes(&self, schemes: Vec<HashScheme>) -> Result<(), Error> {
        let known: Vec<HashScheme> = self.refusal_delay.lock().keys().copied().collect();
        for scheme in schemes.into_iter().filter(|scheme| !known.contains(scheme)).take(MAX_TRIED) {
            let took = self.hash_pool.run(move |memory| {
                let begun = Instant::now();
                ParsedHash::dummy(scheme).verify(memory, b"nobody's password");
                begun.elapsed()
            });
            self.refusal_delay.record(scheme, took.await?);
        }
        Ok(())
    }
}
