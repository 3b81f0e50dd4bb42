//! What the limit on guessing remembers of one account and one network.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::passwords::bucket::Bucket;

/// The hash of a password and of what it is compared with.
pub type Fingerprint = [u8; 16];

/// The failures from one network for one account.
#[derive(Default)]
pub struct Account {
    pub bucket: Arc<Bucket>,
    history: Mutex<History>,
}

/// What is known of them.
#[derive(Default)]
pub struct History {
    /// Whether this network has logged in to the account before; none when that is not known.
    pub is_known: Option<bool>,
    /// The last wrong passwords.
    pub wrong: VecDeque<Fingerprint>,
}

impl Account {
    /// The history, for the time of the guard.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
