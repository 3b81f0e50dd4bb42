//! The hash pool: the threads that hash and check all passwords.
//!
//! Rule: a fixed number of threads that give way to requests; a fair queue (`hash_queue.rs`), bounded in length and in
//! waiting time; a request beyond it fails at once with the time of a retry. Threat: one argon2id takes 19 MiB and a core
//! for many milliseconds, so unbounded logins would exhaust the memory of the machine and starve requests that only
//! present a token.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use argon2::Block;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::auth::passwords::hash_queue::{FairQueue, Flow};
use crate::error::{Error, StartError};

/// The memory of a worker. It is reused for the next password, because allocating 19 MiB takes a tenth of the time of
/// the hash.
pub type Memory = Vec<Block>;

/// How long a password waits for a thread at most. The queue is expected to take less; this is for a machine whose
/// processors other programs use.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// How much the hash threads give way to the threads of requests and to other programs: with this they get half of what
/// another busy thread gets. See docs/benchmarks/notes.md.
const NICENESS: i32 = 3;
/// The memory that a worker keeps for the next password, in KiB. A larger hash gets its own, which is freed afterwards.
const MAX_KEPT_KIB: u64 = 128 * 1024;
/// When to come again if there is no memory for a hash: others may have freed some.
const WITHOUT_MEMORY: Duration = Duration::from_secs(2);
/// What a KiB of argon2 is expected to take before the first hash was measured.
const TYPICAL_RATE: Duration = Duration::from_nanos(400);

/// What a hash costs.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// What argon2 would write in the same time, in KiB.
    pub kib: u64,
    /// The memory that it is given, in KiB: that of argon2.
    pub memory_kib: u64,
    /// The memory that its function allocates by itself, in KiB.
    pub own_memory_kib: u64,
    /// Whether at most one such hash may run at a time.
    pub is_dear: bool,
}

/// Runs a job, or answers that it is refused and when its client may return.
type Run = dyn FnOnce(Result<&mut Memory, Duration>) + Send;

/// What waits in the queue.
struct Task {
    work: Work,
    queued: Instant,
    run: Box<Run>,
}

/// The hash threads and their queue. The threads end when the pool is dropped.
pub struct HashPool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    ready: Condvar,
    load: Load,
}

struct State {
    queue: FairQueue<Task>,
    /// The processor time of a KiB of argon2: a moving average, in which the newest hash has the weight 1/8. It does not
    /// include the time for which other programs had the processor, which says nothing about the next hash.
    rate: Duration,
    is_closed: bool,
}

/// The metrics of the pool.
struct Load {
    waiting: Gauge,
    wait: Histogram,
    run: Histogram,
    refused: Counter,
}

/// A place in the queue. It is given up when its caller is gone.
struct Place<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.remove(self.id);
    }
}

impl HashPool {
    /// Starts `workers` threads with a queue of at most `queue` passwords. The memory of one of our own hashes for each is asked for
    /// now, so that a limit on memory is noticed at the start.
    pub fn start(workers: usize, memory_kib: u64, queue: usize, registry: &mut Registry) -> Result<Self, StartError> {
        let count = u32::try_from(workers).unwrap_or(u32::MAX);
        let state = State { queue: FairQueue::new(queue, count), rate: TYPICAL_RATE, is_closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), ready: Condvar::new(), load: Load::new(registry) });
        let pool = Self { shared };
        let Some(memories) = (0..workers).map(|_| reserved(memory_kib)).collect::<Option<Vec<_>>>() else {
            let mend =
                "there is no memory for so many hashes at a time; set fewer, or a lower COUNTERSIGN_ARGON2_MEMORY_KIB";
            return Err(StartError::setting("COUNTERSIGN_HASH_WORKERS", mend));
        };
        for (i, memory) in memories.into_iter().enumerate() {
            let shared = Arc::clone(&pool.shared);
            let memory = if memory_kib > MAX_KEPT_KIB { Memory::new() } else { memory };
            thread::Builder::new()
                .name(format!("hash-{i}"))
                .spawn(move || run_worker(&shared, memory))
                .map_err(|error| StartError::setting("COUNTERSIGN_HASH_WORKERS", format_args!("{error}; set fewer")))?;
        }
        Ok(pool)
    }

    /// How many passwords wait for a thread.
    pub fn waiting(&self) -> i64 {
        self.shared.load.waiting.get()
    }

    /// Runs `job` on one of the threads, when it is the turn of `flow`. Returns [`Error::Busy`] at once when there is no
    /// room in the queue, and later when the job waited for too long or lost its place to another flow. A job is
    /// skipped when its caller drops the future before a thread is free.
    pub async fn run<T, F>(&self, flow: Flow, work: Work, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Memory) -> T + Send + 'static,
    {
        let (reply, mut answer) = oneshot::channel();
        let run = Box::new(move |memory: Result<&mut Memory, Duration>| {
            let _caller_is_gone = reply.send(memory.map(job));
        });
        let place = self.shared.push(flow, Task { work, queued: Instant::now(), run })?;
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            () = sleep(MAX_WAIT) => match self.shared.remove(place.id) {
                true => Ok(Err(self.shared.lock().queue.promise(flow.network, Instant::now()))),
                // A thread has begun, so it will not take much longer.
                false => answer.await,
            },
        };
        let answer = answer.map_err(|panicked| Error::Internal(panicked.into()))?;
        answer.map_err(|retry_after| self.shared.busy(retry_after))
    }
}

/// The threads end.
impl Drop for HashPool {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.ready.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, flow: Flow, task: Task) -> Result<Place<'_>, Error> {
        let mut state = self.lock();
        let cost = state.rate.saturating_mul(u32::try_from(task.work.kib).unwrap_or(u32::MAX));
        let (now, is_dear) = (task.queued, task.work.is_dear);
        let queued = state.queue.push(flow, cost, is_dear, task, now);
        self.load.waiting.set(state.queue.len() as i64);
        drop(state);
        let queued = queued.map_err(|retry_after| self.busy(retry_after))?;
        self.ready.notify_one();
        if let Some((evicted, retry_after)) = queued.evicted {
            (evicted.run)(Err(retry_after));
        }
        Ok(Place { shared: self, id: queued.id })
    }

    /// Removes a job from the queue. Returns false when it does not wait there.
    fn remove(&self, id: u64) -> bool {
        let mut state = self.lock();
        let was_waiting = state.queue.remove(id);
        self.load.waiting.set(state.queue.len() as i64);
        was_waiting
    }

    fn busy(&self, retry_after: Duration) -> Error {
        self.load.refused.inc();
        Error::Busy { retry_after }
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
        Self { waiting, wait, run, refused }
    }
}

/// Makes sure that this much memory is there, without using it yet.
fn reserve(memory: &mut Memory, kib: u64) -> bool {
    let blocks = usize::try_from(kib).unwrap_or(usize::MAX);
    memory.try_reserve_exact(blocks.saturating_sub(memory.len())).is_ok()
}

fn reserved(kib: u64) -> Option<Memory> {
    let mut memory = Memory::new();
    reserve(&mut memory, kib).then_some(memory)
}

fn run_worker(shared: &Shared, mut kept: Memory) {
    lower_priority();
    loop {
        let mut state = shared.lock();
        let job = loop {
            if state.is_closed {
                return;
            }
            match state.queue.take_next() {
                Some(job) => break job,
                None => state = shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        shared.load.waiting.set(state.queue.len() as i64);
        drop(state);
        let (Task { work, queued, run }, done) = job.start();
        shared.load.wait.observe(queued.elapsed().as_secs_f64());
        let (begun, processor_time) = (Instant::now(), processor_time());
        let mut large = Memory::new();
        let memory = if work.memory_kib > MAX_KEPT_KIB { &mut large } else { &mut kept };
        // What a function allocates by itself is only tried: if another takes it in between, the process ends after all.
        let is_there = reserve(memory, work.memory_kib) && reserved(work.own_memory_kib).is_some();
        let given = if is_there { Ok(memory) } else { Err(WITHOUT_MEMORY) };
        // A panic fails one request and must not end the thread.
        if catch_unwind(AssertUnwindSafe(|| run(given))).is_err() {
            kept = Memory::new();
        }
        let took = self::processor_time().saturating_sub(processor_time);
        let mut state = shared.lock();
        if is_there {
            shared.load.run.observe(begun.elapsed().as_secs_f64());
            if let Ok(kib) = u32::try_from(work.kib.max(1)) {
                state.rate = state.rate * 7 / 8 + took / kib / 8;
            }
        }
        if state.queue.done(&done) {
            shared.ready.notify_one();
        }
    }
}

/// Makes this thread give way to others, on Linux only. A failure is ignored.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    let _refused = rustix::process::setpriority_process(None, NICENESS);
}

/// The processor time that this thread has used; elsewhere than on Linux, the time that has passed.
fn processor_time() -> Duration {
    #[cfg(target_os = "linux")]
    return rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().unwrap_or_default();
    #[cfg(not(target_os = "linux"))]
    return PROCESS_START.elapsed();
}

#[cfg(not(target_os = "linux"))]
static PROCESS_START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

#[cfg(test)]
mod tests;
