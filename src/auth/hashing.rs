//! The hash pool: every password is hashed or checked here and nowhere else.
//!
//! Rule: a fixed number of threads, a fixed number that wait, and whoever comes after is told to come back. Threat: one
//! argon2id takes 19 MiB and a core for many milliseconds, so logins without bound take the machine's memory and the
//! time of everybody who only shows a token.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use argon2::Block;
use tokio::sync::oneshot;

use crate::error::{Error, StartError};

/// The memory a worker hashes in. It is kept from one password to the next, since asking for 19 MiB costs as much as a
/// tenth of the hash.
pub type Memory = Vec<Block>;

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// The threads that hash, and the queue before them. They end when the pool is dropped.
pub struct HashPool {
    jobs: SyncSender<Job>,
}

impl HashPool {
    /// Starts `workers` threads, before which at most `queue` passwords wait.
    pub fn start(workers: usize, queue: usize) -> Result<Self, StartError> {
        let (jobs, waiting) = sync_channel(queue);
        let waiting = Arc::new(Mutex::new(waiting));
        for i in 0..workers {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new()
                .name(format!("hash-{i}"))
                .spawn(move || work(&waiting))
                .map_err(|error| StartError::setting("COUNTERSIGN_HASH_WORKERS", format_args!("{error}; set fewer")))?;
        }
        Ok(Self { jobs })
    }

    /// Runs `work` on one of the threads. [`Error::Busy`] at once when the queue is full. Work whose caller has gone away
    /// before its turn is not done.
    pub async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Memory) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |memory| {
            if !reply.is_closed() {
                let _gone_away = reply.send(work(memory));
            }
        });
        self.jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => Error::Busy { retry_after: Duration::from_secs(1) },
            TrySendError::Disconnected(_) => Error::Internal("the hash threads are gone".into()),
        })?;
        answer.await.map_err(|gone| Error::Internal(gone.into()))
    }
}

fn work(waiting: &Mutex<Receiver<Job>>) {
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
        let pool = Arc::new(HashPool::start(1, 1).unwrap());
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
    async fn work_whose_caller_has_gone_away_is_not_done() {
        let pool = Arc::new(HashPool::start(1, 2).unwrap());
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
        let pool = HashPool::start(1, 1).unwrap();
        assert!(matches!(pool.run(|_| panic!("on purpose")).await, Err::<(), _>(Error::Internal(_))));
        assert_eq!(pool.run(|_| 7).await.unwrap(), 7);
    }
}
