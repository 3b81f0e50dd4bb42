//! The limit on guessing passwords.
//!
//! Rule: an address may try a number of different passwords, of one account and of all of them, and then only as many as
//! come back with time. An address from which an account has logged in before has a limit of its own for it. A
//! slot is taken before the password is hashed, and given back if the password is right. A wrong password that was tried before
//! takes no slot, and is refused without a hash as long as it would be compared with the same one. Networks stand for
//! addresses ([`ClientNetwork`]), keyed hashes for usernames and passwords, so neither is kept in memory. Servers on one
//! PostgreSQL tell each other how much is used up (`shared_guesses.rs`).
//!
//! Threats: guessing, of one account or of many; a flood of guesses that locks the owner of an account out; a program
//! with an old password that locks out everyone behind its address; memory that grows with every address.

mod account;

use std::convert::Infallible;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use secrecy::{ExposeSecret, SecretString};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::auth::passwords::bucket::{Bucket, MAX_DEBT, Slot};
use crate::auth::passwords::hash_queue::{AccountKey, Flow};
use crate::auth::passwords::limiter::account::{Account, Fingerprint};
use crate::auth::passwords::untold::Untold;
use crate::config::GuessingSettings;
use crate::model::{BlockId, ClientNetwork, PasswordHash, Timestamp};

/// The most networks, and the most accounts of networks, that are remembered. The least used are forgotten.
const MAX_REMEMBERED: usize = 50_000;

/// How many requests that end in a mail a network may send at once, and how long until one more after that.
const REQUESTS: u32 = 10;
const REQUEST_REFILL: Duration = Duration::from_secs(60);

/// Who guessed what lately.
pub struct Limiter {
    limits: Option<Limits>,
    requests: Cache<ClientNetwork, Arc<Bucket>>,
    networks: Cache<ClientNetwork, Arc<Bucket>>,
    accounts: Cache<Flow, Arc<Account>>,
    /// Initialised with a key that all servers have.
    hasher: SipHasher13,
    /// What other servers have not been told yet; none when there are no others.
    pub untold: Option<Arc<Untold>>,
}

#[derive(Clone, Copy)]
struct Limits {
    /// Wrong passwords at once.
    burst: u32,
    /// How long until another password of the same account may be tried after that.
    account_refill: Duration,
    /// How long until another password of any account may be tried after that.
    network_refill: Duration,
}

/// A password that is to be checked: whose and from where, with the limits that apply to it.
#[derive(Clone)]
pub struct Guess {
    fingerprint: Fingerprint,
    account: Arc<Account>,
    network: Arc<Bucket>,
    /// The ids of their buckets.
    ids: [BlockId; 2],
    limits: Limits,
    untold: Option<Arc<Untold>>,
}

/// Whether a password may be hashed.
pub enum Admission {
    /// It may. The outcome is to be reported to the attempt.
    Attempt(Attempt),
    /// It is known to be wrong.
    KnownWrong,
    /// Not before it is known whether those before it were right.
    Wait,
    /// Not before this time.
    Refused(Refused),
}

/// A refusal by one of the limits.
pub struct Refused {
    /// When another password may be tried.
    pub until: Timestamp,
    /// The bucket that has no slots left.
    pub bucket: Arc<Bucket>,
    /// Its id.
    pub id: BlockId,
    /// Whether it is that of one account, or else that of a whole network.
    pub is_of_account: bool,
}

/// The slot that a password takes while it is hashed. Dropped without an outcome, because the hash was never run, it is free
/// again.
pub struct Attempt {
    guess: Option<Guess>,
    is_known: bool,
}

impl Limiter {
    /// A limiter with these settings; `off` among them admits everything. `key` is that of the keyed hashes. With `is_shared`, other
    /// servers are told.
    pub fn new(settings: &GuessingSettings, key: &[u8; 16], is_shared: bool) -> Self {
        let limits = settings.limit_burst.map(|burst| Limits {
            burst,
            account_refill: settings.limit_account_refill,
            network_refill: settings.limit_address_refill,
        });
        Self {
            limits,
            requests: Cache::new(MAX_REMEMBERED),
            networks: Cache::new(MAX_REMEMBERED),
            accounts: Cache::new(MAX_REMEMBERED),
            hasher: SipHasher13::new_with_key(key),
            untold: is_shared.then(Arc::default),
        }
    }

    /// The key of a username, whether or not there is such a user.
    pub fn account_key(&self, username: &str) -> AccountKey {
        let mut hasher = self.hasher;
        hasher.write(username.as_bytes());
        hasher.finish128().as_bytes()
    }

    /// The id of a bucket: that of a network, or that of one account at it. It is the same on all servers, and does not show to whom
    /// it belongs.
    pub fn bucket_id(&self, network: &str, account: Option<AccountKey>) -> BlockId {
        let mut hasher = self.hasher;
        hasher.write(network.as_bytes());
        hasher.write_u8(account.is_some().into());
        hasher.write(&account.unwrap_or_default());
        BlockId::from_hash(hasher.finish128().as_bytes())
    }

    /// A check of a password against a stored hash, if there is one; none when there is no limit. Its fingerprint is another
    /// once the hash of the user has changed, or whether they may log in.
    pub fn guess(
        &self,
        flow: Flow,
        stored: Option<&PasswordHash>,
        is_active: bool,
        password: &SecretString,
    ) -> Option<Guess> {
        let (limits, network) = (self.limits?, flow.network?);
        let name = network.to_string();
        let ids = [self.bucket_id(&name, Some(flow.account)), self.bucket_id(&name, None)];
        let mut hasher = self.hasher;
        let stored = stored.map_or("", |hash| hash.0.as_str());
        hasher.write_u64(stored.len() as u64);
        hasher.write(stored.as_bytes());
        hasher.write_u8(is_active.into());
        hasher.write(password.expose_secret().as_bytes());
        let Ok::<_, Infallible>(account) = self.accounts.get_or_insert_with(&flow, || Ok(Arc::default()));
        let Ok::<_, Infallible>(network) = self.networks.get_or_insert_with(&network, || Ok(Arc::default()));
        let (fingerprint, untold) = (hasher.finish128().as_bytes(), self.untold.clone());
        Some(Guess { fingerprint, account, network, ids, limits, untold })
    }

    /// Forgets the wrong passwords of an account from a network that has shown in another way that the account is theirs.
    pub fn admit_again(&self, flow: Flow) {
        if let Some(account) = self.accounts.get(&flow) {
            account.history().is_known = Some(true);
            account.bucket.clear();
        }
        if let (Some(untold), Some(network)) = (&self.untold, flow.network) {
            let bucket = self.accounts.get(&flow).map(|account| Arc::clone(&account.bucket)).unwrap_or_default();
            untold.add_cleared(self.bucket_id(&network.to_string(), Some(flow.account)), &bucket);
        }
    }

    /// Counts a request that ends in a mail to somebody. Returns when the next is admitted if this one is not.
    pub fn count_request(&self, network: ClientNetwork, now: Timestamp) -> Option<Timestamp> {
        let Ok::<_, Infallible>(bucket) = self.requests.get_or_insert_with(&network, || Ok(Arc::default()));
        if let Slot::UsedUp(until) = bucket.lock().look(REQUESTS, REQUEST_REFILL, now) {
            return Some(until);
        }
        bucket.settle(Some((REQUEST_REFILL, now)));
        None
    }

    /// Lifts a block of this process. With that of an account goes the limit of the network: the same guesses used both up.
    pub fn lift(&self, id: BlockId) {
        let is_it = |network: ClientNetwork, account| self.bucket_id(&network.to_string(), account) == id;
        let accounts = self
            .accounts
            .iter()
            .filter(|(flow, _)| flow.network.is_some_and(|network| is_it(network, Some(flow.account))));
        let networks = self.networks.iter().filter(|(network, _)| is_it(*network, None)).map(|(_, bucket)| bucket);
        let of_accounts = accounts.flat_map(|(flow, account)| {
            let network = flow.network.and_then(|network| self.networks.get(&network));
            [Some(Arc::clone(&account.bucket)), network]
        });
        for bucket in of_accounts.flatten().chain(networks) {
            bucket.clear();
        }
    }
}

impl Guess {
    /// Takes a slot for the password, if there is one.
    pub fn admit(&self, now: Timestamp) -> Admission {
        let Limits { burst, account_refill, network_refill } = self.limits;
        let history = self.account.history();
        if history.wrong.contains(&self.fingerprint) {
            return Admission::KnownWrong;
        }
        let is_known = history.is_known == Some(true);
        drop(history);
        // Both at once: to take one and give it back would wake those who wait for it in vain. Always in this order, so that
        // two guesses cannot deadlock.
        let mut account = self.account.bucket.lock();
        let mut network = self.network.lock();
        let [account_id, network_id] = self.ids;
        let refused = |until, bucket: &Arc<Bucket>, id, is_of_account| {
            Admission::Refused(Refused { until, bucket: Arc::clone(bucket), id, is_of_account })
        };
        let of_network = if is_known { Slot::Free } else { network.look(burst, network_refill, now) };
        match (account.look(burst, account_refill, now), of_network) {
            (Slot::UsedUp(until), _) => refused(until, &self.account.bucket, account_id, true),
            (_, Slot::UsedUp(until)) => refused(until, &self.network, network_id, false),
            (Slot::InUse, _) | (_, Slot::InUse) => Admission::Wait,
            (Slot::Free, Slot::Free) => {
                account.in_flight += 1;
                network.in_flight += u32::from(!is_known);
                Admission::Attempt(Attempt { guess: Some(self.clone()), is_known })
            }
        }
    }

    /// Gives all slots back that are used up: a block was lifted elsewhere.
    pub fn forgive(&self, refused: &Refused) {
        refused.bucket.clear();
        if refused.is_of_account {
            self.network.clear();
        }
    }

    /// The ids of the buckets: that of the account at this network, and that of the network.
    pub fn bucket_ids(&self) -> [BlockId; 2] {
        self.ids
    }

    fn buckets(&self) -> [&Bucket; 2] {
        [&self.account.bucket, &self.network]
    }

    /// How often others have been told of each bucket.
    pub fn tellings(&self) -> [u64; 2] {
        self.buckets().map(Bucket::tellings)
    }

    /// Takes note of when all slots will have come back of which servers have told each other. A bucket that is not among these
    /// has all. `tellings` is from before this was read.
    pub fn learn(&self, all_free_at: &[(BlockId, Timestamp)], tellings: [u64; 2]) {
        for ((bucket, id), tellings) in self.buckets().into_iter().zip(self.ids).zip(tellings) {
            let known = all_free_at.iter().find(|(known, _)| *known == id);
            bucket.learn(known.map_or(Timestamp(0), |(_, at)| *at), tellings);
        }
    }

    /// Completes when a slot was given back or used up since this was called.
    pub fn settled(&self) -> impl Future<Output = ()> + use<'_> {
        // These count from now, though they are not polled yet.
        let (account, network) = (self.account.bucket.settled.notified(), self.network.settled.notified());
        async {
            tokio::select! {
                () = account => {}
                () = network => {}
            }
        }
    }

    /// Whether this network is known to have logged in to the account before; none when nobody has looked.
    pub fn is_known(&self) -> Option<bool> {
        self.account.history().is_known
    }

    /// Notes whether this network has logged in to the account before.
    pub fn set_known(&self, is_known: bool) {
        self.account.history().is_known = Some(is_known);
    }
}

impl Attempt {
    /// An attempt to which no limit applies.
    pub fn unlimited() -> Self {
        Self { guess: None, is_known: false }
    }

    /// Reports whether the password was right. Returns whether other servers are to be told.
    pub fn settle(mut self, is_right: bool, now: Timestamp) -> bool {
        let Some(guess) = self.guess.take() else { return false };
        let Guess { fingerprint, account, limits, ids: [account_id, network_id], .. } = &guess;
        let mut history = account.history();
        let is_new = !history.wrong.contains(fingerprint);
        if is_right {
            history.is_known = Some(true);
        } else if is_new {
            history.wrong.push_back(*fingerprint);
            if history.wrong.len() > limits.burst as usize {
                history.wrong.pop_front();
            }
        }
        drop(history);
        let used_up = |refill| (!is_right && is_new).then_some((refill, now));
        let was_full = account.bucket.lock().all_free_at(now) <= now;
        account.bucket.settle(used_up(limits.account_refill));
        if is_right {
            account.bucket.clear();
        }
        if !self.is_known {
            guess.network.settle(used_up(limits.network_refill));
        }
        let Some(untold) = &guess.untold else { return false };
        if is_right && !was_full {
            untold.add_cleared(*account_id, &account.bucket);
        }
        if !is_right && is_new {
            untold.add_used(*account_id, &account.bucket, limits.account_refill, limits.burst * MAX_DEBT, now);
            if !self.is_known {
                untold.add_used(*network_id, &guess.network, limits.network_refill, limits.burst * MAX_DEBT, now);
            }
        }
        if is_right { !was_full } else { is_new }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(guess) = self.guess.take() {
            guess.account.bucket.settle(None);
            if !self.is_known {
                guess.network.settle(None);
            }
        }
    }
}

#[cfg(test)]
mod tests;
