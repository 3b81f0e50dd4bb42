//! The hash pool: the threads that hash and check all passwords.
//!
//! Rule: a fixed number of threads at low priority; a queue bounded in length and in waiting time; a request beyond it
//! fails at once with the time of a retry. Threat: one argon2id takes 19 MiB and a core for many milliseconds, so
//! unbounded logins would exhaust the memory of the machine and starve requests that only present a token.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use argon2::Block;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::oneshot;

use crate::error::{Error, StartError};

/// The memory of a worker. It is reused for the next password, because allocating 19 MiB takes a tenth of the time of
/// the hash.
pub type Memory = Vec<Block>;

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// The maximum expected wait for a thread. Expensive hashes, or other load on the machine, slow even a short queue.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The hash threads and their queue. The threads end when the pool is dropped.
pub struct HashPool {
    jobs: SyncSender<Job>,
    workers: u32,
    load: Load,
}

/// The load of the pool, and its metrics.
#[derive(Clone)]
struct Load {
    waiting: Gauge,
    /// The moving average of the time of a run, in microseconds. The newest run has the weight 1/8.
    average_run: Arc<AtomicU32>,
    wait: Histogram,
    run: Histogram,
    refused: Counter,
}

impl HashPool {
    /// Starts `workers` threads with a queue of at most `queue` passwords.
    pub fn start(workers: usize, queue: usize, registry: &mut Registry) -> Result<Self, StartError> {
        let (jobs, waiting) = sync_channel(queue);
        let waiting = Arc::new(Mutex::new(waiting));
        for i in 0..workers {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new()
                .name(format!("hash-{i}"))
                .spawn(move || run_worker(&waiting))
                .map_err(|error| StartError::setting("COUNTERSIGN_HASH_WORKERS", format_args!("{error}; set fewer")))?;
        }
        Ok(Self { jobs, workers: u32::try_from(workers).unwrap_or(u32::MAX), load: Load::new(registry) })
    }

    /// Runs `work` on one of the threads. Returns [`Error::Busy`] at once when the queue is full or the expected wait
    /// too long. Work is skipped when its caller drops the future before a thread is free.
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
        if wait > MAX_WAIT {
            return Err(busy());
        }
        let (reply, answer) = oneshot::channel();
        let (load, queued) = (self.load.clone(), Instant::now());
        let job: Job = Box::new(move |memory| {
            load.waiting.dec();
            if !reply.is_closed() {
                load.wait.observe(queued.elapsed().as_secs_f64());
                let begun = Instant::now();
                let done = work(memory);
                load.record_run(begun.elapsed());
                let _caller_is_gone = reply.send(done);
            }
        });
        self.load.waiting.inc();
        self.jobs.try_send(job).map_err(|refused| {
            self.load.waiting.dec();
            match refused {
                TrySendError::Full(_) => busy(),
                TrySendError::Disconnected(_) => Error::Internal("the hash threads have ended".into()),
            }
        })?;
        answer.await.map_err(|gone| Error::Internal(gone.into()))
    }

    /// Estimates how long new work would wait for a thread.
    fn expected_wait(&self) -> Duration {
        let (waiting, run) = (self.load.waiting.get(), self.load.average_run.load(Ordering::Relaxed));
        Duration::from_micros(u64::try_from(waiting).unwrap_or(0) * u64::from(run)) / self.workers.max(1)
    }
}

impl Load {
    fn new(registry: &mut Registry) -> Self {
        // Buckets from 1 ms to some 8 s.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let (waiting, wait, run, refused) = (Gauge::default(), seconds(), seconds(), Counter::default());
        registry.register("hash_queue_length", "Passwords that wait for a hash thread", waiting.clone());
        let help = "How long a password waited for a hash thread";
        registry.register_with_unit("hash_wait", help, Unit::Seconds, wait.clone());
        registry.register_with_unit("hash_run", "How long hashing a password took", Unit::Seconds, run.clone());
        let help = "Passwords that were refused because too many waited";
        registry.register("hash_refused", help, refused.clone());
        Self { waiting, average_run: Arc::default(), wait, run, refused }
    }

    fn record_run(&self, took: Duration) {
        self.run.observe(took.as_secs_f64());
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        // The race is harmless: when two runs end at once, the average may miss one of them.
        let average = self.average_run.load(Ordering::Relaxed);
        let average = if average == 0 { took } else { average - average / 8 + took / 8 };
        self.average_run.store(average, Ordering::Relaxed);
    }
}

/// Sets the lowest priority for this thread, on Linux only. A failure is ignored.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    let _refused = rustix::process::setpriority_process(None, 19);
}

fn run_worker(waiting: &Mutex<Receiver<Job>>) {
    lower_priority();
    let mut memory = Memory::new();
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // A panic fails one request and must not end the thread.
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

    /// Blocks the only thread of the pool until the sender is dropped.
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
    async fn a_full_queue_refuses_at_once() {
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
    async fn a_wait_expected_to_be_too_long_is_refused_at_once_with_its_length() {
        let pool = Arc::new(pool(9));
        pool.load.average_run.store(1_200_000, Ordering::Relaxed);
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
        assert!(pool.load.average_run.load(Ordering::Relaxed) < 1_200_000, "the average adapts");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn only_hash_threads_have_low_priority() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let own = priority();
        assert_eq!(pool(1).run(move |_| priority()).await.unwrap(), 19);
        assert_eq!(priority(), own);
    }

    #[tokio::test]
    async fn work_of_a_cancelled_caller_is_skipped() {
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
    async fn a_panic_fails_only_its_own_caller() {
        let pool = pool(1);
        assert!(matches!(pool.run(|_| panic!("on purpose")).await, Err::<(), _>(Error::Internal(_))));
        assert_eq!(pool.run(|_| 7).await.unwrap(), 7);
    }
}
