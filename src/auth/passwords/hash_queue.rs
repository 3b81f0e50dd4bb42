//! The queue of passwords in front of the hash pool.
//!
//! Rule: fair queueing. The network that was served least is next, and of that network the account that was served least;
//! what counts is the cost of the hashes. When the queue is full, whoever holds most of it gives up their newest place to
//! one who holds less. Who is refused learns when to return, and is then let in. Of the hashes dearer than an import
//! may bring, one runs at a time.
//! Threats: one address, or one account behind a shared address, that keeps everybody else waiting; a few dear hashes
//! that occupy every thread; a refused client that returns in vain for ever.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::model::ClientNetwork;

/// The longest time that the passwords in the queue may be expected to take.
const MAX_QUEUE_TIME: Duration = Duration::from_secs(2);
/// How much longer the queue may become for clients that return when they were told to.
const PROMISED_FACTOR: u32 = 2;
/// The earliest that a refused client is told to return.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The latest. When more clients are refused than can be served by then, the others are told this without a promise.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);
/// How long after its time a promise is kept.
const PROMISE_HOLDS: Duration = Duration::from_secs(30);

/// An account as the queue and the limiter know it: the keyed hash of a username, whether or not it exists.
pub type AccountKey = [u8; 16];

/// A flow, in the words of fair queueing: what must not hold up the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Where the password comes from; none for the work of the service itself, which is never refused for another.
    pub network: Option<ClientNetwork>,
    /// Whose password it is.
    pub account: AccountKey,
}

impl Flow {
    /// The work of the service itself.
    pub const OWN: Self = Self { network: None, account: [0; 16] };
}

/// A job in the queue.
pub struct Job<R> {
    /// Identifies the job in the queue; later jobs have greater numbers.
    pub id: u64,
    flow: Flow,
    cost: Duration,
    is_dear: bool,
    /// What the caller of [`FairQueue::push`] wants run.
    pub run: R,
}

/// A job was queued.
pub struct Queued<R> {
    /// The number of the new job.
    pub id: u64,
    /// The job that lost its place to the new one, and when its client may return.
    pub evicted: Option<(R, Duration)>,
}

/// The queue. Times are passed in.
pub struct FairQueue<R> {
    capacity: usize,
    workers: u32,
    jobs: Vec<Job<R>>,
    next_id: u64,
    networks: Served<Option<ClientNetwork>>,
    accounts: Served<Flow>,
    promises: HashMap<ClientNetwork, Instant>,
    last_promise: Option<Instant>,
    is_dear_running: bool,
}

impl<R> FairQueue<R> {
    /// An empty queue for `capacity` jobs, which `workers` threads take from it.
    pub fn new(capacity: usize, workers: u32) -> Self {
        Self {
            capacity,
            workers: workers.max(1),
            jobs: Vec::new(),
            next_id: 0,
            networks: Served::default(),
            accounts: Served::default(),
            promises: HashMap::new(),
            last_promise: None,
            is_dear_running: false,
        }
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Adds a job that is expected to take `cost`. When there is no room for it, returns how long its client should wait
    /// before it returns.
    pub fn push(
        &mut self,
        flow: Flow,
        cost: Duration,
        is_dear: bool,
        run: R,
        now: Instant,
    ) -> Result<Queued<R>, Duration> {
        let factor = if self.redeem_promise(flow.network, now) { PROMISED_FACTOR } else { 1 };
        let has_room = self.jobs.len() < self.capacity.saturating_mul(factor as usize)
            && self.expected_wait() <= MAX_QUEUE_TIME * factor;
        let evicted = match has_room {
            true => None,
            false => match self.who_makes_room_for(flow) {
                Some(index) => {
                    let job = self.jobs.swap_remove(index);
                    Some((job.run, self.promise(job.flow.network, now)))
                }
                None => return Err(self.promise(flow.network, now)),
            },
        };
        let id = self.next_id;
        self.next_id += 1;
        self.jobs.push(Job { id, flow, cost, is_dear, run });
        Ok(Queued { id, evicted })
    }

    /// Takes the next job that may run. Call [`FairQueue::done`] when it has run.
    pub fn take_next(&mut self) -> Option<Job<R>> {
        let may_run = |job: &Job<R>| !(job.is_dear && self.is_dear_running);
        let turn = |job: &Job<R>| (self.networks.of(job.flow.network), self.accounts.of(job.flow), job.id);
        let (index, _) =
            self.jobs.iter().enumerate().filter(|(_, job)| may_run(job)).min_by_key(|(_, job)| turn(job))?;
        let job = self.jobs.swap_remove(index);
        self.networks.charge(job.flow.network, job.cost);
        self.accounts.charge(job.flow, job.cost);
        self.is_dear_running |= job.is_dear;
        Some(job)
    }

    /// Notes that a job has run. Returns whether a job that had to wait for it may run now.
    pub fn done(&mut self, job: &Done) -> bool {
        self.is_dear_running &= !job.was_dear;
        job.was_dear
    }

    /// Removes a job that still waits, since its client has gone or waited for too long. Returns whether it still waited.
    pub fn remove(&mut self, id: u64) -> bool {
        let index = self.jobs.iter().position(|job| job.id == id);
        index.map(|index| self.jobs.swap_remove(index)).is_some()
    }

    /// Refuses a client that has waited for too long: how long it should wait before it returns.
    pub fn promise(&mut self, network: Option<ClientNetwork>, now: Instant) -> Duration {
        let Some(network) = network else { return MIN_RETRY_AFTER };
        // One promise for each network: many clients of one could otherwise take the time of all the others.
        if let Some(due) = self.promises.get(&network).filter(|due| **due > now) {
            return due.duration_since(now);
        }
        let earliest = now + self.expected_wait().max(MIN_RETRY_AFTER);
        let after_last = self.last_promise.map(|last| last + self.average_cost() / self.workers);
        let due = after_last.map_or(earliest, |after_last| after_last.max(earliest));
        if due.duration_since(now) > MAX_RETRY_AFTER {
            return MAX_RETRY_AFTER;
        }
        self.promises.retain(|_, due| now <= *due + PROMISE_HOLDS);
        self.promises.insert(network, due);
        self.last_promise = Some(due);
        due.duration_since(now)
    }

    /// Whether this network was told to return by now. A promise is good for one job.
    fn redeem_promise(&mut self, network: Option<ClientNetwork>, now: Instant) -> bool {
        let Some(network) = network else { return false };
        match self.promises.get(&network) {
            Some(due) if *due <= now => {
                let holds = now <= *due + PROMISE_HOLDS;
                self.promises.remove(&network);
                holds
            }
            _ => false,
        }
    }

    /// Which job has to make room for a new one of this flow: the newest of whoever holds most of the queue, if that is
    /// more than the flow itself would then hold.
    fn who_makes_room_for(&self, newcomer: Flow) -> Option<usize> {
        let (mut networks, mut accounts) = (HashMap::<_, usize>::new(), HashMap::<_, usize>::new());
        for Job { flow, .. } in &self.jobs {
            *networks.entry(flow.network).or_default() += 1;
            *accounts.entry(*flow).or_default() += 1;
        }
        let held = |flow: &Flow| {
            let network = networks.get(&flow.network).copied().unwrap_or(0);
            (network, accounts.get(flow).copied().unwrap_or(0))
        };
        let (own_network, own_account) = held(&newcomer);
        let clients = self.jobs.iter().enumerate().filter(|(_, job)| job.flow.network.is_some());
        let (index, job) = clients.max_by_key(|(_, job)| (held(&job.flow), job.id))?;
        let (network, account) = held(&job.flow);
        let is_neighbour = job.flow.network == newcomer.network && account > own_account + 1;
        (network > own_network + 1 || is_neighbour).then_some(index)
    }

    /// How long a new job is expected to wait for a thread.
    fn expected_wait(&self) -> Duration {
        self.jobs.iter().map(|job| job.cost).sum::<Duration>() / self.workers
    }

    fn average_cost(&self) -> Duration {
        let count = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX).max(1);
        self.jobs.iter().map(|job| job.cost).sum::<Duration>() / count
    }
}

impl<R> Job<R> {
    /// Splits the job into what is to be run, and what to tell the queue afterwards.
    pub fn start(self) -> (R, Done) {
        (self.run, Done { was_dear: self.is_dear })
    }
}

/// A job that has been taken from the queue.
pub struct Done {
    was_dear: bool,
}

/// What each flow was served, as in stride scheduling. A flow that was away does not save up what it did not use.
struct Served<K> {
    served: HashMap<K, Duration>,
    /// What the flow that was served last had been served before.
    floor: Duration,
}

impl<K> Default for Served<K> {
    fn default() -> Self {
        Self { served: HashMap::new(), floor: Duration::ZERO }
    }
}

impl<K: Copy + Eq + Hash> Served<K> {
    /// Flows up to which those that are worth no more than a new one are not cleared away.
    const FEW: usize = 1024;

    fn of(&self, flow: K) -> Duration {
        self.served.get(&flow).map_or(self.floor, |served| self.floor.max(*served))
    }

    fn charge(&mut self, flow: K, cost: Duration) {
        let before = self.of(flow);
        self.floor = before;
        // A job that costs nothing still takes its turn.
        self.served.insert(flow, before + cost.max(Duration::from_micros(1)));
        if self.served.len() > Self::FEW {
            self.served.retain(|_, served| *served > before);
        }
    }
}

#[cfg(test)]
mod tests;
