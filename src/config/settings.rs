//! The settings, by subject. A declaration here is the flag, the variable, the line of `.env.example` and the entry in
//! `docs/settings.md`: the first paragraph of its comment is the short help, the rest is shown in the files as well.

use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::config::people::{MailSettings, PageSettings, RecoverySettings};
use crate::config::server::{CollectorSettings, FirstAdminSettings, LogSettings, ServerSettings};
use crate::config::sources::Sources;
use crate::config::values::{
    self, NumberOrOff, OrOff, address, audience, audit_retention, credential_cache, hash_queue, hash_workers, idle_ttl,
    import_max_cost, key_rotation, lifetime, limit_burst, limit_refill, number, password_min_length,
    personal_token_ttl, secret, sessions_per_user, status_ttl,
};
use crate::error::StartError;
use crate::model::{Algorithm, HashCost, Setting};

/// The shortest HS256 secret: as long as its hash (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// All settings.
#[expect(missing_docs, reason = "each group is documented where it is declared")]
#[derive(Clone, Debug, Args)]
pub struct Config {
    #[command(flatten)]
    pub server: ServerSettings,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub first_admin: FirstAdminSettings,
    #[command(flatten)]
    pub log: LogSettings,
    #[command(flatten)]
    pub collector: CollectorSettings,
    /// All of them as they were given, to be shown.
    #[arg(skip)]
    pub in_force: Vec<Setting>,
    /// Where they come from.
    #[arg(skip)]
    pub sources: Sources,
}

/// What the service itself is told, whether or not it is a server.
#[expect(missing_docs, reason = "as above")]
#[derive(Clone, Debug, Args)]
pub struct Settings {
    #[command(flatten)]
    pub database: DatabaseSettings,
    #[command(flatten)]
    pub tokens: TokenSettings,
    #[command(flatten)]
    pub keys: KeySettings,
    #[command(flatten)]
    pub passwords: PasswordSettings,
    #[command(flatten)]
    pub recovery: RecoverySettings,
    #[command(flatten)]
    pub mail: MailSettings,
    #[command(flatten)]
    pub pages: PageSettings,
    #[command(flatten)]
    pub guessing: GuessingSettings,
    #[command(flatten)]
    pub limits: LimitSettings,
    #[command(flatten)]
    pub audit: AuditSettings,
}

/// Where the data is, and what seals it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// The database: `sqlite://FILE` or `postgres://USER:PASSWORD@HOST/DATABASE`
    ///
    /// The server creates the schema; `sqlx migrate run` reads this setting too. Through PgBouncer in transaction mode, add
    /// ?pgbouncer=true.
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite://countersign.db", value_name = "URL")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub database_url: SecretString,

    /// A standby of PostgreSQL that may be read when a credential is checked: `postgres://USER:PASSWORD@HOST/DATABASE`
    ///
    /// It is asked only while it has every change that this server has heard of, so a revocation takes effect within a second, as
    /// with the cache; what it does not have, the primary is asked for.
    #[arg(long, env = "COUNTERSIGN_DATABASE_READ_URL", value_name = "URL")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub database_read_url: Option<SecretString>,

    /// The key that seals the signing keys in the database: 32 bytes in base64
    ///
    /// Make one with: openssl rand -base64 32. Without it, a file that only its owner may read is created beside the database.
    /// Servers on one PostgreSQL need the same key.
    #[arg(long, env = "COUNTERSIGN_SECRET_KEY", value_name = "BASE64")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub secret_key: Option<SecretString>,
}

/// Tokens and sessions.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tokens and sessions")]
pub struct TokenSettings {
    /// The address of this service as its clients know it [default: localhost, with the port it listens on]
    ///
    /// Behind a proxy, that of the proxy, such as `https://auth.example.com`.
    #[arg(long, env = "COUNTERSIGN_PUBLIC_URL", value_name = "URL")]
    #[arg(global = true, value_parser = address)]
    pub public_url: Option<String>,

    /// The claim iss of JWTs [default: the public address]
    ///
    /// Changing it ends every JWT.
    #[arg(long, env = "COUNTERSIGN_ISSUER", value_name = "URL")]
    #[arg(global = true, value_parser = address)]
    pub issuer: Option<String>,

    /// The claim aud of JWTs: the services they are for
    ///
    /// Changing it ends every JWT.
    #[arg(long, env = "COUNTERSIGN_AUDIENCE", default_value = "countersign", value_name = "NAME")]
    #[arg(global = true, value_parser = audience)]
    pub audience: String,

    /// How long a JWT lives
    ///
    /// Such as 30m, 12h or 7d.
    #[arg(long, env = "COUNTERSIGN_JWT_TTL", default_value = "30m", value_name = "DURATION")]
    #[arg(global = true, value_parser = lifetime)]
    pub jwt_ttl: Duration,

    /// How long a session and its opaque token live
    #[arg(long, env = "COUNTERSIGN_TOKEN_TTL", default_value = "30d", value_name = "DURATION")]
    #[arg(global = true, value_parser = lifetime)]
    pub token_ttl: Duration,

    /// How long a session may be idle before it ends, or off
    ///
    /// At least 5m.
    #[arg(long, env = "COUNTERSIGN_IDLE_TTL", default_value = "off", value_name = "DURATION")]
    #[arg(global = true, value_parser = idle_ttl)]
    pub idle_ttl: OrOff,

    /// How long a personal access token lives unless its creator says otherwise, or never: until it is revoked
    #[arg(long, env = "COUNTERSIGN_PERSONAL_TOKEN_TTL", default_value = "90d", value_name = "DURATION")]
    #[arg(global = true, value_parser = personal_token_ttl)]
    pub personal_token_ttl: OrOff,

    /// How long services that verify JWTs offline may cache a status list
    ///
    /// They learn of a logout after this time at the latest.
    #[arg(long, env = "COUNTERSIGN_STATUS_TTL", default_value = "1m", value_name = "DURATION")]
    #[arg(global = true, value_parser = status_ttl)]
    pub status_ttl: Duration,
}

impl TokenSettings {
    /// The address of this service as its clients know it.
    pub fn public_url(&self) -> &str {
        self.public_url.as_deref().unwrap_or_else(|| self.issuer())
    }

    /// The claim `iss` of JWTs.
    pub fn issuer(&self) -> &str {
        self.issuer.as_deref().or(self.public_url.as_deref()).unwrap_or("http://localhost:5000")
    }
}

/// Signing keys.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Signing keys")]
pub struct KeySettings {
    /// The algorithm that signs JWTs
    ///
    /// HS256 needs the shared secret below, and has no key rotation.
    #[arg(long, env = "COUNTERSIGN_JWT_ALGORITHM", default_value = "ES256", value_name = "ALGORITHM")]
    #[arg(global = true)]
    pub jwt_algorithm: Algorithm,

    /// The shared secret for HS256, at least 32 bytes
    #[arg(long, env = "COUNTERSIGN_JWT_SECRET", value_name = "SECRET")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub jwt_secret: Option<SecretString>,

    /// How often a new key begins to sign, or off
    ///
    /// At least 1h. With off, keys are rotated only by command.
    #[arg(long, env = "COUNTERSIGN_KEY_ROTATION", default_value = "30d", value_name = "DURATION")]
    #[arg(global = true, value_parser = key_rotation)]
    pub key_rotation: OrOff,
}

impl KeySettings {
    /// The shared secret as bytes; empty when there is none.
    pub fn shared_secret(&self) -> &[u8] {
        self.jwt_secret.as_ref().map_or("", ExposeSecret::expose_secret).as_bytes()
    }
}

/// Passwords.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Passwords")]
pub struct PasswordSettings {
    /// The fewest characters of a new password
    #[arg(long, env = "COUNTERSIGN_PASSWORD_MIN_LENGTH", default_value = "8", value_name = "NUMBER")]
    #[arg(global = true, value_parser = password_min_length)]
    pub password_min_length: usize,

    /// Memory of one argon2id hash, in KiB
    ///
    /// A weaker stored hash is replaced at the next login.
    #[arg(long, env = "COUNTERSIGN_ARGON2_MEMORY_KIB", default_value = "19456", value_name = "NUMBER")]
    #[arg(global = true, value_parser = number)]
    pub argon2_memory_kib: u32,

    /// Passes of one argon2id hash over its memory
    #[arg(long, env = "COUNTERSIGN_ARGON2_ITERATIONS", default_value = "2", value_name = "NUMBER")]
    #[arg(global = true, value_parser = number)]
    pub argon2_iterations: u32,

    /// The most an imported hash may cost, in time and in memory, as a multiple of one of our own
    ///
    /// An import refuses a hash beyond it. At the default, bcrypt with cost 12 and PBKDF2 with 1,500,000 iterations are within.
    #[arg(long, env = "COUNTERSIGN_IMPORT_MAX_COST", default_value = "32", value_name = "NUMBER")]
    #[arg(global = true, value_parser = import_max_cost)]
    pub import_max_cost: u32,
}

impl PasswordSettings {
    /// What a new hash costs.
    pub fn cost(&self) -> HashCost {
        HashCost { memory_kib: self.argon2_memory_kib, iterations: self.argon2_iterations }
    }
}

/// The limit on guessing passwords.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Guessing passwords")]
pub struct GuessingSettings {
    /// Different wrong passwords that one address may try at once, or off
    ///
    /// For one account, and for all of them together; further ones are answered with 429. An address that has logged in to an
    /// account before has a limit of its own for that account. IPv6 addresses count by /64.
    #[arg(long, env = "COUNTERSIGN_LIMIT_BURST", default_value = "10", value_name = "NUMBER")]
    #[arg(global = true, value_parser = limit_burst)]
    pub limit_burst: NumberOrOff,

    /// After that, how long until it may try another password of the same account
    #[arg(long, env = "COUNTERSIGN_LIMIT_ACCOUNT_REFILL", default_value = "1m", value_name = "DURATION")]
    #[arg(global = true, value_parser = limit_refill)]
    pub limit_account_refill: Duration,

    /// After that, how long until it may try another password of any account
    #[arg(long, env = "COUNTERSIGN_LIMIT_ADDRESS_REFILL", default_value = "6s", value_name = "DURATION")]
    #[arg(global = true, value_parser = limit_refill)]
    pub limit_address_refill: Duration,
}

/// Limits.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// The most sessions a user has at a time
    ///
    /// A login beyond that ends the oldest.
    #[arg(long, env = "COUNTERSIGN_SESSIONS_PER_USER", default_value = "100", value_name = "NUMBER")]
    #[arg(global = true, value_parser = sessions_per_user)]
    pub sessions_per_user: u32,

    /// Threads that hash passwords [default: one for each core]
    #[arg(long, env = "COUNTERSIGN_HASH_WORKERS", value_name = "NUMBER")]
    #[arg(global = true, value_parser = hash_workers)]
    pub hash_workers: Option<usize>,

    /// Passwords that may wait for a hash thread; one more is answered with 503
    #[arg(long, env = "COUNTERSIGN_HASH_QUEUE", default_value = "64", value_name = "NUMBER")]
    #[arg(global = true, value_parser = hash_queue)]
    pub hash_queue: usize,

    /// Checked credentials that are cached in memory; 0 caches none
    ///
    /// About a kilobyte each. Without the cache each request asks the database.
    #[arg(long, env = "COUNTERSIGN_CREDENTIAL_CACHE", default_value = "100000", value_name = "NUMBER")]
    #[arg(global = true, value_parser = credential_cache)]
    pub credential_cache: usize,
}

impl LimitSettings {
    /// Threads that hash passwords.
    pub fn hash_threads(&self) -> usize {
        self.hash_workers.unwrap_or_else(values::cores)
    }
}

/// The audit trail.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Audit trail")]
pub struct AuditSettings {
    /// How long records of the audit trail are kept, or off: for ever
    ///
    /// At least 1d. The records that remain can still be verified.
    #[arg(long, env = "COUNTERSIGN_AUDIT_RETENTION", default_value = "365d", value_name = "DURATION")]
    #[arg(global = true, value_parser = audit_retention)]
    pub audit_retention: OrOff,
}

impl Settings {
    /// Checks what one setting alone cannot say.
    pub fn check(&self) -> Result<(), StartError> {
        let cost = self.passwords.cost();
        if !(HashCost::MIN_MEMORY_KIB..=HashCost::MAX_MEMORY_KIB).contains(&cost.memory_kib) {
            let mend = "must be from 8 to 1048576; 19456 is a good figure";
            return Err(StartError::setting("COUNTERSIGN_ARGON2_MEMORY_KIB", mend));
        }
        if cost.iterations == 0 || cost.work() > HashCost::MAX_WORK {
            return Err(StartError::setting(
                "COUNTERSIGN_ARGON2_ITERATIONS",
                "must be at least 1, and times ARGON2_MEMORY_KIB at most 1048576; 2 is a good figure",
            ));
        }
        if self.keys.jwt_algorithm == Algorithm::Hs256 && self.keys.shared_secret().len() < MIN_SECRET_BYTES {
            return Err(StartError::setting(
                "COUNTERSIGN_JWT_SECRET",
                "HS256 needs a secret of at least 32 bytes; make one with: openssl rand -base64 32",
            ));
        }
        Ok(())
    }
}
