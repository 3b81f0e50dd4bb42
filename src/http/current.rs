//! What a running server may be told anew, without a connection being closed: the proxies it trusts, the origins whose pages
//! may call it, and the settings that administrators see.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::http::cors::Cors;
use crate::model::{Networks, Setting};

/// What holds now. Clones share it.
#[derive(Clone, Default)]
pub struct Current(Arc<RwLock<Values>>);

/// What holds at one moment.
#[derive(Default)]
pub struct Values {
    /// The proxies that may set the client address, and have any number of connections.
    pub trusted_proxies: Networks,
    /// The origins whose pages may call the service.
    pub cors: Cors,
    /// The settings, to be shown to administrators.
    pub settings: Vec<Setting>,
}

impl Current {
    /// What holds from the start.
    pub fn new(values: Values) -> Self {
        Self(Arc::new(RwLock::new(values)))
    }

    /// What holds now, and while the guard is there. A request takes it once and lets go of it before it waits for anything.
    pub fn read(&self) -> RwLockReadGuard<'_, Values> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these hold.
    pub fn replace(&self, values: Values) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = values;
    }
}
