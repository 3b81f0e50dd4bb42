//! The service itself: [`Auth`]. The HTTP layer and the command line both call it; it calls the store.
//!
//! Each file covers one subject and opens with its rule and the threat that the rule answers.

mod audit;
mod credentials;
mod grant;
mod idempotency;
mod keys;
mod opening;
mod operations;
mod outbox;
mod passwords;
mod recovery;
mod sessions;
mod users;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use opentelemetry::context::FutureExt;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::audit::Actor;
pub use self::audit::chain::ChainReport;
use self::credentials::activity::Activity;
pub use self::credentials::cache::Authenticated;
use self::credentials::cache::CredentialCache;
use self::credentials::checks::Checks;
pub use self::credentials::parse::Credential;
pub use self::grant::Grant;
pub use self::idempotency::IdempotentRequest;
pub use self::keys::Jwks;
use self::keys::Keys;
pub use self::keys::rotation::{JWKS_MAX_AGE, KeyInfo, KeyState};
use self::keys::sealing::SecretKey;
use self::opening::{Create, Opened, existing, open, open_to_look};
pub use self::opening::{Migrated, migrate, seal_audit};
pub use self::operations::backup::{backup, replacement, restore};
pub use self::operations::copying::{Copied, copy};
pub use self::operations::doctor::{Examination, Finding, Verdict, examine, examine_settings, mode};
use self::operations::gauges::Gauges;
use self::operations::statistics::LoginCounts;
pub use self::operations::statistics::{Hour, Statistics};
use self::outbox::MailMetrics;
use self::passwords::admission::NewNetworks;
pub use self::passwords::formats::ParsedHash;
use self::passwords::hash_pool::HashPool;
use self::passwords::limiter::Limiter;
use self::passwords::refusal_delay::RefusalDelay;
use self::passwords::refusals::Refusals;
pub use self::recovery::{Link, OpenedLink};
pub use self::sessions::login::{Login, LoginOutcome};
pub use self::sessions::refresh::Refreshed;
pub use self::sessions::status_lists::SignedStatusList;
use self::sessions::status_lists::SignedStatusLists;
pub use self::users::export::{header as export_header, write_users};
pub use self::users::first_admin::FirstAdmin;
pub use self::users::import::{Import, Invite, Outcome, RowReport, Rows, Summary};
pub use self::users::{Creator, Cursor, Password};
use crate::config::Settings;
use crate::error::{Error, StartError};
use crate::mail::Mailer;
use crate::model::{Clock, Timestamp};
pub use crate::store::Durability;
use crate::store::{Location, Store};

/// How long the answer to [`Auth::ready`] holds.
const READINESS_KEPT: Duration = Duration::from_secs(1);

/// A handle to the service. Clones share the same service.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

/// The state that all handles to a service share.
pub struct Inner {
    places: Places,
    /// Its number among the servers of a PostgreSQL.
    server_id: OnceLock<Uuid>,
    store: Store,
    clock: Clock,
    settings: Settings,
    hash_pool: HashPool,
    mailer: Option<Mailer>,
    mail_metrics: MailMetrics,
    limiter: Limiter,
    new_networks: NewNetworks,
    refusals: Refusals,
    secret: SecretKey,
    keys: RwLock<Arc<Keys>>,
    refreshing_keys: tokio::sync::Mutex<()>,
    activity: Activity,
    credential_cache: CredentialCache,
    checks: Checks,
    gauges: Gauges,
    logins: Counter,
    copies: Counter,
    refusal_delay: RefusalDelay,
    status_lists: SignedStatusLists,
    writes: TaskTracker,
    readiness: tokio::sync::Mutex<Option<(Instant, bool)>>,
    login_counts: tokio::sync::Mutex<LoginCounts>,
    examination: Mutex<Examination>,
    metrics: Registry,
}

/// Where the service stores its data.
pub struct Places {
    /// The location of the database, without its password.
    pub database: String,
    /// The file with the secret key; none when the settings contain the key.
    pub key_file: Option<PathBuf>,
}

impl Deref for Auth {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Auth {
    /// Starts the service for a server: opens or creates the database, opens the signing keys, generates one when none
    /// can sign, and starts the hash threads.
    pub async fn start(clock: Clock, settings: Settings) -> Result<Self, StartError> {
        let mut metrics = Registry::with_prefix("countersign");
        let location: Location = settings.database.database_url.expose_secret().parse()?;
        // Before anything is created: what looks like a new installation may be one whose database is missing.
        let key_file = location.key_file();
        if settings.database.secret_key.is_none() && key_file.exists() && !Store::exists(&location).await? {
            return Err(StartError::setting(
                "DATABASE_URL",
                format_args!(
                    "there is no database at {location}, but its key is: {}; name the right database, restore a backup, or \
                     run countersign migrate to begin anew",
                    key_file.display()
                ),
            ));
        }
        let opened = open(&clock, &settings, Durability::EachCommit, Create::SecretKey, &mut metrics).await?;
        let Opened { store, secret, places, sealed } = opened;
        let keys = keys::rotation::prepare(sealed, &store, &clock, &secret, &settings).await?;
        let auth = Self::new(clock, settings, store, secret, places, keys, metrics)?;
        auth.join_servers().await?;
        Ok(auth)
    }

    /// Starts the service for a command. It creates no database, and generates no signing key: servers with other settings may
    /// use the database.
    pub async fn start_beside(clock: Clock, settings: Settings, durability: Durability) -> Result<Self, StartError> {
        let mut metrics = Registry::with_prefix("countersign");
        existing(&settings).await?;
        let Opened { store, secret, places, sealed } =
            open(&clock, &settings, durability, Create::Nothing, &mut metrics).await?;
        let keys = Keys::open(&sealed, &secret, &settings)?;
        Self::new(clock, settings, store, secret, places, keys, metrics)
    }

    /// Opens the service to look at a database, such as a backup: it writes nothing, not even a newer schema, and needs no secret
    /// key. What is sealed with the key stays closed.
    pub async fn look(clock: Clock, settings: Settings) -> Result<Self, StartError> {
        let (store, places) = open_to_look(&settings).await?;
        let secret = SecretKey::throwaway()?;
        let keys = Keys::open(&[], &secret, &settings)?;
        Self::new(clock, settings, store, secret, places, keys, Registry::default())
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
        let limiter = Limiter::new(&settings.guessing, &secret.guessing_key(), store.is_shared());
        let (logins, copies) = (Counter::default(), Counter::default());
        metrics.register("logins", "Sessions that began with a login", logins.clone());
        let help = "Sessions that ended because an exchanged token was presented again";
        metrics.register("tokens_reused", help, copies.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        metrics.register("build", "What is running", build);
        Ok(Self(Arc::new(Inner {
            places,
            server_id: OnceLock::new(),
            store,
            clock,
            hash_pool: HashPool::start(
                settings.limits.hash_threads(),
                settings.passwords.cost().memory_kib.into(),
                settings.limits.hash_queue,
                &mut metrics,
            )?,
            mailer: Mailer::new(&settings)?,
            mail_metrics: MailMetrics::new(&mut metrics),
            limiter,
            new_networks: NewNetworks::default(),
            refusals: Refusals::new(&mut metrics),
            secret,
            keys: RwLock::new(Arc::new(keys)),
            refreshing_keys: tokio::sync::Mutex::default(),
            activity: Activity::new(settings.tokens.idle_ttl),
            credential_cache: CredentialCache::new(settings.limits.credential_cache),
            checks: Checks::new(&mut metrics),
            gauges: Gauges::new(&mut metrics),
            logins,
            copies,
            refusal_delay: RefusalDelay::default(),
            status_lists: SignedStatusLists::default(),
            settings,
            writes: TaskTracker::new(),
            readiness: tokio::sync::Mutex::default(),
            login_counts: tokio::sync::Mutex::default(),
            examination: Mutex::default(),
            metrics,
        })))
    }

    /// Where the service stores its data.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The `iss` of JWTs.
    pub fn issuer(&self) -> &str {
        self.settings.tokens.issuer()
    }

    /// The address of this service as its clients know it.
    pub fn public_url(&self) -> &str {
        self.settings.tokens.public_url()
    }

    /// The `aud` of JWTs.
    pub fn audience(&self) -> &str {
        &self.settings.tokens.audience
    }

    /// The time by the clock of the service.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The signing keys in use.
    fn keys(&self) -> Arc<Keys> {
        self.with_keys(Arc::clone)
    }

    /// Calls `look` with the signing keys in use, without cloning the `Arc`.
    fn with_keys<T>(&self, look: impl FnOnce(&Arc<Keys>) -> T) -> T {
        look(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The public keys that verify JWTs.
    pub fn jwks(&self) -> Arc<Jwks> {
        self.keys().jwks()
    }

    /// The metrics for Prometheus.
    pub fn metrics(&self) -> &Registry {
        &self.metrics
    }

    /// Checks that the database answers and takes what is written. Whoever asks within a second of another gets the same answer,
    /// since to ask is itself a write.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut last = self.readiness.lock().await;
        let is_ready = match *last {
            Some((at, is_ready)) if at.elapsed() < READINESS_KEPT => is_ready,
            _ => {
                let auth = self.clone();
                let written = self.finish(async move {
                    auth.store.read().await?.ping().await?;
                    let mut tx = auth.store.write().await?;
                    tx.write_nothing().await?;
                    tx.commit().await
                });
                let written = written.await;
                *last = Some((Instant::now(), written.is_ok()));
                return written;
            }
        };
        if is_ready { Ok(()) } else { Err(Error::Unavailable("the database did not answer a moment ago".into())) }
    }

    /// Learns now, rather than at the next poll, what other processes have changed in the database.
    pub async fn poll_other_writers(&self) -> Result<(), Error> {
        self.store.poll_other_writers().await
    }

    /// Runs a write to completion in a task of its own. When a client disconnects, its handler is dropped, which must
    /// not cancel a transaction halfway. What it logs belongs to the trace of the request.
    async fn finish<T, F>(&self, write: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.writes
            .spawn(write.with_current_context())
            .await
            .unwrap_or_else(|stopped| Err(Error::Internal(stopped.into())))
    }

    /// Waits until everything written is on disk: with [`Durability::AtSync`] no write is guaranteed to be there
    /// before. Call this after [`Auth::stop`].
    pub fn sync(&self) -> Result<(), Error> {
        self.store.sync()
    }

    /// Writes the pending last uses and refusals, waits for the writes in progress, then closes the store. The service cannot be
    /// used afterwards.
    pub async fn stop(&self) {
        if let Err(error) = self.write_activity().await {
            tracing::warn!(%error, "last uses were not written");
        }
        if let Err(error) = self.write_known_networks().await {
            tracing::warn!(%error, "known networks were not written");
        }
        self.record_all_refusals().await;
        if let Err(error) = self.leave_servers().await {
            tracing::warn!(%error, "other servers were not told that this one is gone");
        }
        self.writes.close();
        self.writes.wait().await;
        self.store.close().await;
    }
}

/// Random bytes from the generator of aws-lc, which the operating system seeds. It is the only one the service uses.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // aws-lc aborts the process when the system has no randomness, so `fill` does not return an error.
    #[expect(clippy::expect_used, reason = "to go on without randomness would be worse")]
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    bytes
}

#[cfg(test)]
mod tests;
