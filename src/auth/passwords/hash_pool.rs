//! The hash pool: every password is hashed or checked here and nowhere else.
//!
//! Rule: a fixed number of threads that give way to all others, a queue that is short in number and in time, and whoever
//! comes after is told at once when to come back. Threat: one argon2id takes 19 MiB and a core for many milliseconds, so
//! logins without bound take the machine's memory and the time of everybody who only shows a token.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use argon2::Block;
use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tokio::sync::oneshot;

use crate::error::{Error, StartError};

/// The memory a worker hashes in. It is kept from one password to the next, since asking for 19 MiB costs as much as a
/// tenth of the hash.
pub type Memory = Vec<Block>;

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// The longest that a password waits for a thread, as far as can be told when it comes: dear hashes, or other work on the
/// machine, make even a short queue a long wait.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The threads that hash, and the queue before them. They end when the pool is dropped.
pub struct HashPool {
    jobs: SyncSender<Job>,
    workers: u32,
    load: Load,
}

/// How much there is to do, which is also what is counted.
#[derive(Clone)]
struct Load {
    waiting: Gauge,
    /// What one took of late, in microseconds: each counts for an eighth of it.
    usual_run: Arc<AtomicU32>,
    wait: Histogram,
    run: Histogram,
    refused: Counter,
}

impl HashPool {
    /// Starts `workers` threads, before which at most `queue` passwords wait.
    pub fn start(workers: usize, queue: usize, registry: &mut Registry) -> Result<Self, StartError> {
        let (jobs, waiting) = sync_channel(queue);
        let waiting = Arc::new(Mutex::new(waiting));
        for i in 0..workers {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new()
                .name(format!("hash-{i}"))
                .spawn(move || work(&waiting))
                .map_err(|error| StartError::setting("COUNTERSIGN_HASH_WORKERS", format_args!("{error}; set fewer")))?;
        }
        Ok(Self { jobs, workers: u32::try_from(workers).unwrap_or(u32::MAX), load: Load::new(registry) })
    }

    /// Runs `work` on one of the threads. [`Error::Busy`] at once when too many wait, or too long. Work whose caller has gone
    /// away before its turn is not done.
    pub async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Memory) -> T + Send + 'static,
    {
        let wait = self.expected_wait();
        let busy = || {
            self.load.refused.inc();
            Error::Busy { retry_after: wait }
        };
        if wait > LONGEST_WAIT {
            return Err(busy());
        }
        let (reply, answer) = oneshot::channel();
        let (load, asked) = (self.load.clone(), Instant::now());
        let job: Job = Box::new(move |memory| {
            load.waiting.dec();
            if !reply.is_closed() {
                load.wait.observe(asked.elapsed().as_secs_f64());
                let begun = Instant::now();
                let done = work(memory);
                load.note_run(begun.elapsed());
                let _gone_away = reply.send(done);
            }
        });
        self.load.waiting.inc();
        self.jobs.try_send(job).map_err(|refused| {
            self.load.waiting.dec();
            match refused {
                TrySendError::Full(_) => busy(),
                TrySendError::Disconnected(_) => Error::Internal("the hash threads are gone".into()),
            }
        })?;
        answer.await.map_err(|gone| Error::Internal(gone.into()))
    }

    /// How long it takes until a thread is free for one who comes now.
    fn expected_wait(&self) -> Duration {
        let (waiting, run) = (self.load.waiting.get(), self.load.usual_run.load(Ordering::Relaxed));
        Duration::from_micros(u64::try_from(waiting).unwrap_or(0) * u64::from(run)) / self.workers.max(1)
    }
}

impl Load {
    fn new(registry: &mut Registry) -> Self {
        // From a millisecond to some eight seconds.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let (waiting, wait, run, refused) = (Gauge::default(), seconds(), seconds(), Counter::default());
        registry.register("hash_queue_length", "Passwords that wait for a hash thread", waiting.clone());
        let help = "How long a password waited for a hash thread";
        registry.register_with_unit("hash_wait", help, Unit::Seconds, wait.clone());
        registry.register_with_unit("hash_run", "How long hashing a password took", Unit::Seconds, run.clone());
        let help = "Passwords that were turned away because too many waited";
        registry.register("hash_refused", help, refused.clone());
        Self { waiting, usual_run: Arc::default(), wait, run, refused }
    }

    fn note_run(&self, took: Duration) {
        self.run.observe(took.as_secs_f64());
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        // Of two that end at the same moment one may not count, which is as well.
        let usual = self.usual_run.load(Ordering::Relaxed);
        let usual = if usual == 0 { took } else { usual - usual / 8 + took / 8 };
        self.usual_run.store(usual, Ordering::Relaxed);
    }
}

/// Lets every other thread go before this one. Where the system has no such thing, or does not let us, it just goes on.
fn give_way() {
    #[cfg(target_os = "linux")]
    let _refused = rustix::process::setpriority_process(None, 19);
}

fn work(waiting: &Mutex<Receiver<Job>>) {
    give_way();
    let mut memory = Memory::new();
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // A panic costs the one password its answer, not the pool a thread.
        if catch_unwind(AssertUnwindSafe(|| job(&mut memory))).is_err() {
            memory = Memory::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn pool(queue: usize) -> HashPool {
        HashPool::start(1, queue, &mut Registry::default()).unwrap()
    }

    /// Holds the pool's only thread until the sender is dropped.
    async fn occupy(pool: &Arc<HashPool>) -> std::sync::mpsc::Sender<()> {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (started, begun) = oneshot::channel();
        let pool = Arc::clone(pool);
        tokio::spawn(async move {
            pool.run(move |_| {
                started.send(()).unwrap();
                let _released = held.recv();
            })
            .await
        });
        begun.await.unwrap();
        hold
    }

    #[tokio::test]
    async fn whoever_finds_the_queue_full_is_told_at_once() {
        let pool = Arc::new(pool(1));
        let hold = occupy(&pool).await;
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(|_| 7).await }
        });
        tokio::task::yield_now().await;
        assert!(matches!(pool.run(|_| ()).await, Err(Error::Busy { .. })));
        drop(hold);
        assert_eq!(waiting.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn whoever_would_wait_too_long_is_told_at_once_and_how_long_it_would_be() {
        let pool = Arc::new(pool(9));
        pool.load.usual_run.store(1_200_000, Ordering::Relaxed);
        let hold = occupy(&pool).await;
        let wait = async |pool: Arc<HashPool>| pool.run(|_| ()).await;
        let first = tokio::spawn(wait(Arc::clone(&pool)));
        let second = tokio::spawn(wait(Arc::clone(&pool)));
        tokio::task::yield_now().await;
        let refused = pool.run(|_| ()).await;
        assert!(matches!(refused, Err(Error::Busy { retry_after }) if retry_after == Duration::from_millis(2400)));
        drop(hold);
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        pool.run(|_| ()).await.unwrap();
        assert!(pool.load.usual_run.load(Ordering::Relaxed) < 1_200_000, "it learns");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn hash_threads_and_no_others_give_way() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let own = priority();
        assert_eq!(pool(1).run(move |_| priority()).await.unwrap(), 19);
        assert_eq!(priority(), own);
    }

    #[tokio::test]
    async fn work_whose_caller_has_gone_away_is_not_done() {
        let pool = Arc::new(pool(2));
        let hold = occupy(&pool).await;
        let done = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&done);
        let gone = tokio::time::timeout(Duration::ZERO, pool.run(move |_| counted.fetch_add(1, Ordering::Relaxed)));
        assert!(gone.await.is_err());
        drop(hold);
        pool.run(|_| ()).await.unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_panic_costs_its_caller_the_answer_and_nobody_else() {
        let pool = pool(1);
        assert!(matches!(pool.run(|_| panic!("on purpose")).await, Err::<(), _>(Error::Internal(_))));
        assert_eq!(pool.run(|_| 7).await.unwrap(), 7);
    }
}
