//! What a server has not told the others of guesses yet (`shared_guesses.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

use crate::auth::passwords::bucket::Bucket;
use crate::model::{BlockId, Timestamp};

/// Of how many buckets there can be something to tell. While the database takes no writes, more are forgotten.
const MOST: usize = 50_000;
/// How long nobody waits for the others to be told after that has failed.
const PAUSE: Duration = Duration::from_secs(3);

/// What other servers have not been told yet.
#[derive(Default)]
pub struct Untold {
    news: Mutex<BTreeMap<BlockId, News>>,
    /// Whoever waits for it finds told what there was.
    telling: Arc<tokio::sync::Mutex<()>>,
    failed_at: Mutex<Option<Instant>>,
}

/// What has happened to a bucket.
pub struct News {
    /// The bucket.
    pub bucket: Arc<Bucket>,
    /// Whether all slots have come back first.
    pub is_cleared: bool,
    /// When those come back that were used up then: with time, whether others are told or not.
    free_at: Timestamp,
    /// The longest that it may take for all of a bucket.
    pub longest: Duration,
}

impl Default for News {
    fn default() -> Self {
        Self { bucket: Arc::default(), is_cleared: false, free_at: Timestamp(0), longest: Duration::ZERO }
    }
}

impl News {
    /// How long it takes from now on until what was used up comes back.
    pub fn used(&self, now: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.free_at.0.saturating_sub(now.0)).unwrap_or(0)).min(self.longest)
    }

    fn add(&mut self, used: Duration, now: Timestamp) {
        self.free_at = self.free_at.max(now).after(used);
    }
}

impl Untold {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<BlockId, News>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for whoever is telling. Others wait until the guard is dropped.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.telling).lock_owned().await
    }

    /// Whether telling has failed a moment ago.
    pub fn is_paused(&self) -> bool {
        self.failed_at().is_some_and(|at| at.elapsed() < PAUSE)
    }

    /// Notes whether the others could be told.
    pub fn note_told(&self, is_told: bool) {
        *self.failed_at() = (!is_told).then(Instant::now);
    }

    /// Takes what there is to tell, of so many buckets at most.
    pub fn take(&self, most: usize) -> BTreeMap<BlockId, News> {
        let mut news = self.lock();
        let rest = news.keys().nth(most).copied().map(|key| news.split_off(&key)).unwrap_or_default();
        std::mem::replace(&mut *news, rest)
    }

    /// Puts back what could not be told. What has happened since comes after it.
    pub fn put_back(&self, news: BTreeMap<BlockId, News>, now: Timestamp) {
        let mut untold = self.lock();
        for (id, earlier) in news {
            let later =
                untold.entry(id).or_insert_with(|| News { bucket: Arc::clone(&earlier.bucket), ..News::default() });
            if !later.is_cleared {
                later.is_cleared = earlier.is_cleared;
                later.longest = later.longest.max(earlier.longest);
                later.add(earlier.used(now), now);
            }
        }
    }

    /// Adds a slot that was used up, and comes back after `refill`; a bucket owes at most so many of them.
    pub fn add_used(&self, id: BlockId, bucket: &Arc<Bucket>, refill: Duration, most: u32, now: Timestamp) {
        let mut news = self.lock();
        if news.len() < MOST {
            let news = news.entry(id).or_default();
            news.bucket = Arc::clone(bucket);
            news.longest = refill * most;
            news.add(refill, now);
        }
    }

    /// Notes that all slots of a bucket have come back.
    pub fn add_cleared(&self, id: BlockId, bucket: &Arc<Bucket>) {
        let mut news = self.lock();
        if news.len() < MOST {
            bucket.expect_clear();
            news.insert(id, News { bucket: Arc::clone(bucket), is_cleared: true, ..News::default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Timestamp = Timestamp(1_767_225_600_000);

    #[test]
    fn what_could_not_be_told_comes_before_what_has_happened_since() {
        let [one, other] = [1, 2].map(|id| BlockId::from_hash([id; 16]));
        let (untold, bucket) = (Untold::default(), Arc::default());
        untold.add_used(one, &bucket, SECOND, 100, NOW);
        untold.add_cleared(other, &bucket);
        let earlier = untold.take(10);
        assert!(untold.take(10).is_empty());
        untold.add_cleared(one, &bucket);
        untold.add_used(other, &bucket, SECOND, 100, NOW);
        untold.put_back(earlier, NOW);
        untold.add_used(other, &bucket, SECOND, 100, NOW);
        let told: Vec<_> = [untold.take(1), untold.take(1)].into_iter().flatten().collect();
        assert!(untold.take(1).is_empty());
        let [(first, one_told), (second, other_told)] = told.as_slice() else { panic!("{}", told.len()) };
        assert_eq!((*first, *second), (one, other));
        assert_eq!((one_told.is_cleared, one_told.used(NOW)), (true, Duration::ZERO));
        assert_eq!((other_told.is_cleared, other_told.used(NOW), other_told.longest), (true, 2 * SECOND, 100 * SECOND));
    }

    #[test]
    fn what_has_come_back_before_others_were_told_is_not_told() {
        let id = BlockId::from_hash([1; 16]);
        let (untold, bucket) = (Untold::default(), Arc::default());
        // A database that takes no writes for long, and a wrong password from time to time.
        let mut now = NOW;
        for _ in 0..100 {
            untold.add_used(id, &bucket, 6 * SECOND, 10, now);
            let news = untold.take(1);
            now = now.after(5 * SECOND);
            untold.put_back(news, now);
        }
        let news = untold.take(1);
        assert_eq!(news[&id].used(now), 60 * SECOND, "no more than a bucket owes");
        untold.put_back(news, now);
        let news = untold.take(1);
        assert_eq!(news[&id].used(now.after(50 * SECOND)), 10 * SECOND);
        assert_eq!(news[&id].used(now.after(90 * SECOND)), Duration::ZERO);
    }

    #[test]
    fn nobody_waits_for_others_to_be_told_after_that_has_failed_a_moment_ago() {
        let untold = Untold::default();
        assert!(!untold.is_paused());
        untold.note_told(false);
        assert!(untold.is_paused());
        *untold.failed_at() = Instant::now().checked_sub(PAUSE);
        assert!(!untold.is_paused());
        untold.note_told(false);
        untold.note_told(true);
        assert!(!untold.is_paused());
    }

    #[test]
    fn what_is_not_told_is_bounded_and_more_is_forgotten() {
        let untold = Untold::default();
        let id = |number: u128| BlockId::from_hash(number.to_be_bytes());
        let buckets: [Arc<Bucket>; 3] = std::array::from_fn(|_| Arc::default());
        for number in 0..MOST as u128 - 1 {
            untold.add_used(id(number), &buckets[0], SECOND, 100, NOW);
        }
        untold.add_cleared(id(u128::MAX - 2), &buckets[1]);
        untold.add_cleared(id(u128::MAX - 1), &buckets[2]);
        untold.add_used(id(u128::MAX), &buckets[2], SECOND, 100, NOW);
        assert_eq!(untold.lock().len(), MOST);
        // The last clear is not told, so what others say has to count again.
        let learns = |bucket: &Bucket| {
            bucket.learn(NOW.after(SECOND), bucket.tellings());
            bucket.lock().all_free_at(NOW) > NOW
        };
        assert!(!learns(&buckets[1]) && learns(&buckets[2]));
        let news = untold.take(MOST);
        assert!(
            Arc::ptr_eq(&news[&id(0)].bucket, &buckets[0])
                && Arc::ptr_eq(&news[&id(u128::MAX - 2)].bucket, &buckets[1])
        );
        assert!(!news[&id(0)].is_cleared && news[&id(u128::MAX - 2)].is_cleared);
        untold.put_back(news, NOW);
        let news = untold.take(MOST);
        assert!(Arc::ptr_eq(&news[&id(0)].bucket, &buckets[0]), "it is told of the same bucket later");
    }

    #[tokio::test]
    async fn one_tells_at_a_time() {
        let untold = Untold::default();
        let turn = untold.turn().await;
        assert!(tokio::time::timeout(Duration::ZERO, untold.turn()).await.is_err());
        drop(turn);
        untold.turn().await;
    }
}
