//! The whole service without a door: [`Auth`]. HTTP and the command line both call it; it calls the store.
//!
//! Each file is one subject and opens with its rule and the threat it answers.

mod audit;
mod credentials;
mod idempotency;
mod keys;
mod operations;
mod passwords;
mod sessions;
mod users;

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use prometheus_client::{metrics::info::Info, registry::Registry};
use secrecy::ExposeSecret;
use tokio_util::task::TaskTracker;

pub use self::{
    audit::{Actor, ChainReport},
    credentials::{Grant, cache::Authenticated, parse::Credential},
    idempotency::IdempotentRequest,
    keys::{
        Jwks,
        rotation::{JWKS_MAX_AGE, KeyInfo, KeyState},
    },
    operations::{
        backup::{backup, restore},
        doctor::{Finding, Verdict, examine, examine_settings, mode},
    },
    sessions::{
        login::{Login, LoginOutcome},
        refresh::Refreshed,
        status_lists::SignedStatusList,
    },
    users::{
        Creator, Cursor,
        bootstrap::FirstAdmin,
        export::{header as export_header, write_users},
        import::{Import, Outcome, RowReport, Rows, Summary},
    },
};
use self::{
    credentials::{activity::Activity, cache::CredentialCache},
    keys::{Keys, sealing::SecretKey},
    passwords::{hash_pool::HashPool, refusal_delay::RefusalDelay},
    sessions::status_lists::SignedStatusLists,
};
pub use crate::store::Durability;
use crate::{
    config::Settings,
    error::{Error, StartError},
    model::{Clock, SealedKey},
    store::{Location, Store},
};

/// The service. Cloning it gives another handle to the same one.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

/// What the service stands on.
pub struct Inner {
    places: Places,
    store: Store,
    clock: Clock,
    settings: Settings,
    hash_pool: HashPool,
    secret: SecretKey,
    keys: RwLock<Arc<Keys>>,
    refreshing_keys: tokio::sync::Mutex<()>,
    activity: Activity,
    credential_cache: CredentialCache,
    refusal_delay: RefusalDelay,
    status_lists: SignedStatusLists,
    writes: TaskTracker,
    metrics: Registry,
}

/// Where the service keeps what it keeps.
pub struct Places {
    /// The database, without its password.
    pub database: String,
    /// The file with the secret key, unless the key was given.
    pub key_file: Option<PathBuf>,
}

impl Deref for Auth {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Auth {
    /// Starts the service for a server: opens the database, which is made when it is not there, opens the signing keys or
    /// makes the one that is missing, and starts the hash threads.
    pub async fn start(clock: Clock, settings: Settings) -> Result<Self, StartError> {
        let mut metrics = Registry::with_prefix("countersign");
        let (store, secret, places, sealed) = open(&clock, &settings, Durability::EachCommit, &mut metrics).await?;
        let keys = keys::rotation::prepare(sealed, &store, &clock, &secret, &settings).await?;
        Self::new(clock, settings, store, secret, places, keys, metrics)
    }

    /// Starts the service for a command, which may stand beside servers with other settings: it makes no key.
    pub async fn start_beside(clock: Clock, settings: Settings, durability: Durability) -> Result<Self, StartError> {
        let mut metrics = Registry::with_prefix("countersign");
        let (store, secret, places, sealed) = open(&clock, &settings, durability, &mut metrics).await?;
        let keys = Keys::open(&sealed, &secret, &settings)?;
        Self::new(clock, settings, store, secret, places, keys, metrics)
    }

    fn new(
        clock: Clock,
        settings: Settings,
        store: Store,
        secret: SecretKey,
        places: Places,
        keys: Keys,
        mut metrics: Registry,
    ) -> Result<Self, StartError> {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        metrics.register("build", "What is running", build);
        Ok(Self(Arc::new(Inner {
            places,
            store,
            clock,
            hash_pool: HashPool::start(settings.limits.hash_threads(), settings.limits.hash_queue, &mut metrics)?,
            secret,
            keys: RwLock::new(Arc::new(keys)),
            refreshing_keys: tokio::sync::Mutex::default(),
            activity: Activity::new(settings.tokens.idle_ttl),
            credential_cache: CredentialCache::new(settings.limits.credential_cache),
            refusal_delay: RefusalDelay::default(),
            status_lists: SignedStatusLists::default(),
            settings,
            writes: TaskTracker::new(),
            metrics,
        })))
    }

    /// Where the service keeps what it keeps.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// `iss` of the tokens: the address of this service as its clients know it.
    pub fn issuer(&self) -> &str {
        &self.settings.tokens.issuer
    }

    /// `aud` of the tokens.
    pub fn audience(&self) -> &str {
        &self.settings.tokens.audience
    }

    /// The keys in use.
    fn keys(&self) -> Arc<Keys> {
        self.with_keys(Arc::clone)
    }

    /// Looks at the keys in use.
    fn with_keys<T>(&self, look: impl FnOnce(&Arc<Keys>) -> T) -> T {
        look(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The public keys that JWTs are checked with.
    pub fn jwks(&self) -> Arc<Jwks> {
        self.keys().jwks()
    }

    /// What is counted, for Prometheus.
    pub fn metrics(&self) -> &Registry {
        &self.metrics
    }

    /// Whether the database answers.
    pub async fn ready(&self) -> Result<(), Error> {
        self.store.read().await?.ping().await
    }

    /// Hears of what other processes have changed in the database, now rather than in a moment.
    pub async fn poll_other_writers(&self) -> Result<(), Error> {
        self.store.poll_other_writers().await
    }

    /// Runs a write to its end in a task of its own: when the client goes away, its handler is dropped, and a
    /// transaction must not be cut in the middle by that.
    async fn finish<T, F>(&self, write: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.writes.spawn(write).await.unwrap_or_else(|stopped| Err(Error::Internal(stopped.into())))
    }

    /// Waits until all that was written is on the disk, which with [`Durability::AtSync`] it is no sooner.
    pub fn sync(&self) -> Result<(), Error> {
        self.store.sync()
    }

    /// Writes down what was only noted, waits for the writes under way, then closes the store. Nothing can be asked of the
    /// service after.
    pub async fn stop(&self) {
        if let Err(error) = self.write_activity().await {
            tracing::warn!(%error, "last uses were not written");
        }
        self.writes.close();
        self.writes.wait().await;
        self.store.close().await;
    }
}

/// Opens what the service stands on: the database, the secret key, and the signing keys as they are kept.
async fn open(
    clock: &Clock,
    settings: &Settings,
    durability: Durability,
    metrics: &mut Registry,
) -> Result<(Store, SecretKey, Places, Vec<SealedKey>), StartError> {
    // What can be wrong with the settings alone comes before anything is made.
    let location: Location = settings.database.database_url.expose_secret().parse()?;
    let given = settings.database.secret_key.as_ref().map(|key| SecretKey::parse(key.expose_secret())).transpose()?;
    settings.check()?;

    let store = Store::open(&location, durability, metrics).await?;
    let sealed = store.read().await?.signing_keys(clock.now()).await?;
    let (secret, key_file) = match given {
        Some(secret) => (secret, None),
        None => {
            let file = location.key_file();
            (SecretKey::from_file(&file, sealed.is_empty())?, Some(file))
        }
    };
    Ok((store, secret, Places { database: location.to_string(), key_file }, sealed))
}

/// Brings the schema of the database up to date, which is made when it is not there. Gives the last migration it had before,
/// if it had any, and the one it has now.
pub async fn migrate(settings: &Settings) -> Result<(Option<i64>, Option<i64>), StartError> {
    let location: Location = settings.database.database_url.expose_secret().parse()?;
    let before = match Store::open_read_only(&location).await? {
        Some(store) => last_migration(store).await?,
        None => None,
    };
    let now = Store::open(&location, Durability::EachCommit, &mut Registry::default()).await?;
    Ok((before, last_migration(now).await?))
}

async fn last_migration(store: Store) -> Result<Option<i64>, StartError> {
    let schema = store.read().await?.schema().await;
    store.close().await;
    Ok(schema.map_err(|error| StartError::setting("DATABASE_URL", error))?.last)
}

/// Random bytes from the one generator, which the operating system seeds.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // aws-lc aborts the process itself when the system has no randomness; it does not return without.
    #[expect(clippy::expect_used, reason = "to go on without randomness would be worse")]
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    bytes
}
