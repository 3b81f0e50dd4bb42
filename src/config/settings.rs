//! The settings, by subject. A declaration here is the flag, the variable, the line of `.env.example` and the entry in
//! `docs/settings.md`: the first paragraph of its comment is the short help, the rest is shown in the files as well.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret, SecretString};

use crate::config::people::{MailSettings, PageSettings, RecoverySettings};
use crate::config::sources::Sources;
use crate::config::values::{
    self, AddressOrOff, NumberOrOff, OrAuto, OrOff, Origins, address, audience, audit_retention,
    connections_per_address, credential_cache, drain_time, hash_queue, hash_workers, idle_ttl, import_max_cost,
    key_rotation, lifetime, limit_burst, limit_refill, listen, metrics_listen, number, origins, password_min_length,
    path, personal_token_ttl, secret, sessions_per_user, share, status_ttl, trusted_proxies,
};
use crate::error::StartError;
use crate::model::{Algorithm, HashCost, Networks, Setting};

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

/// Where the server listens.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerSettings {
    /// Address and port to listen on
    ///
    /// Behind a proxy on another machine: 0.0.0.0:5000.
    #[arg(long, env = "COUNTERSIGN_LISTEN", default_value = "127.0.0.1:5000", value_name = "ADDRESS")]
    #[arg(global = true, value_parser = listen)]
    pub listen: SocketAddr,

    /// Address and port of /metrics for Prometheus, or off
    ///
    /// It is a listener of its own, such as 127.0.0.1:5001.
    #[arg(long, env = "COUNTERSIGN_METRICS_LISTEN", default_value = "off", value_name = "ADDRESS")]
    #[arg(global = true, value_parser = metrics_listen)]
    pub metrics_listen: AddressOrOff,

    /// Networks of the proxies in front, with commas between
    ///
    /// Such as `10.0.0.0/8,fd00::/8`. For a connection from one of them, the client's address is the right-most address in
    /// X-Forwarded-For (or Forwarded) that is not in one of them. Without it, the address is that of the connection. A running
    /// server takes a new value on SIGHUP.
    #[arg(long, env = "COUNTERSIGN_TRUSTED_PROXIES", default_value = "", value_name = "NETWORKS")]
    #[arg(global = true, value_parser = trusted_proxies)]
    pub trusted_proxies: Networks,

    /// A PEM file with the certificate of this server and those that lead to its root, for TLS without a proxy
    ///
    /// TLS 1.2 and 1.3. Needs the key, too. Both files are read again when they change, and on SIGHUP.
    #[arg(long, env = "COUNTERSIGN_TLS_CERT", value_name = "FILE")]
    #[arg(global = true, value_parser = path)]
    pub tls_cert: Option<PathBuf>,

    /// A PEM file with the private key of that certificate
    #[arg(long, env = "COUNTERSIGN_TLS_KEY", value_name = "FILE")]
    #[arg(global = true, value_parser = path)]
    pub tls_key: Option<PathBuf>,

    /// The most connections of one address at a time, or off
    ///
    /// Of 900 in all. IPv6 addresses count by /64; trusted proxies have any number.
    #[arg(long, env = "COUNTERSIGN_CONNECTIONS_PER_ADDRESS", default_value = "200", value_name = "NUMBER")]
    #[arg(global = true, value_parser = connections_per_address)]
    pub connections_per_address: NumberOrOff,

    /// How long the server goes on after SIGTERM, or auto
    ///
    /// `/ready` answers 503 meanwhile and each answer closes its connection, so that a load balancer sends its next requests
    /// elsewhere and cuts off none. auto is 0s on a terminal and 2s elsewhere. Up to six more seconds are for running requests.
    #[arg(long, env = "COUNTERSIGN_DRAIN_TIME", default_value = "auto", value_name = "TIME")]
    #[arg(global = true, value_parser = drain_time)]
    pub drain_time: OrAuto,

    /// Origins whose pages may call the service from a browser, with commas between
    ///
    /// Such as `https://app.example.com`. They send a bearer token; a cookie or a password of the browser's own is never used.
    /// The key set, the status lists and the metadata are readable from every origin. A running server takes a new value on SIGHUP.
    #[arg(long, env = "COUNTERSIGN_CORS_ORIGINS", default_value = "", value_name = "ORIGINS")]
    #[arg(global = true, value_parser = origins)]
    pub cors_origins: Origins,
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

/// How the first administrator comes to be.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "First administrator")]
pub struct FirstAdminSettings {
    /// The bearer token that may create users while there is no administrator
    ///
    /// At least 16 characters; make one with: openssl rand -hex 32. Without it, one is made and shown at the first start.
    #[arg(long, env = "COUNTERSIGN_SETUP_TOKEN", value_name = "TOKEN")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub setup_token: Option<SecretString>,

    /// Create this administrator at the start when there is none
    #[arg(long, env = "COUNTERSIGN_ADMIN_USERNAME", value_name = "NAME")]
    #[arg(global = true)]
    pub admin_username: Option<String>,

    /// The password of that administrator
    #[arg(long, env = "COUNTERSIGN_ADMIN_PASSWORD", value_name = "PASSWORD")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub admin_password: Option<SecretString>,

    /// A file whose first line is the password of that administrator
    #[arg(long, env = "COUNTERSIGN_ADMIN_PASSWORD_FILE", value_name = "FILE")]
    #[arg(global = true, value_parser = path)]
    pub admin_password_file: Option<PathBuf>,
}

/// The log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// The form of the log on standard output
    #[arg(long, env = "COUNTERSIGN_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    #[arg(global = true)]
    pub log_format: LogFormat,

    /// What is logged: a level, or levels by module
    ///
    /// A running server takes a new value on SIGHUP.
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "LEVELS")]
    #[arg(global = true)]
    pub log: String,
}

/// Where traces and logs are sent.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "OpenTelemetry")]
pub struct CollectorSettings {
    /// The address of a collector for traces and logs over OTLP (protobuf over HTTP)
    ///
    /// Such as `http://127.0.0.1:4318`, to which /v1/traces and /v1/logs are added. Without it, nothing is sent.
    #[arg(long, env = "COUNTERSIGN_OTLP_URL", value_name = "URL")]
    #[arg(global = true, value_parser = address)]
    pub otlp_url: Option<String>,

    /// Headers of each request to the collector, as NAME=value with commas between
    ///
    /// Such as authorization=Bearer and a token.
    #[arg(long, env = "COUNTERSIGN_OTLP_HEADERS", value_name = "HEADERS")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub otlp_headers: Option<SecretString>,

    /// The share of requests whose traces are sent, from 0 to 1
    ///
    /// What a trusted proxy has decided about a trace takes precedence. Logs are all sent.
    #[arg(long, env = "COUNTERSIGN_OTLP_SAMPLE", default_value = "1", value_name = "SHARE")]
    #[arg(global = true, value_parser = share)]
    pub otlp_sample: f64,
}

impl CollectorSettings {
    /// The headers, by name.
    pub fn headers(&self) -> Result<HashMap<String, String>, StartError> {
        let text = self.otlp_headers.as_ref().map_or("", ExposeSecret::expose_secret);
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let is_value = |value: &str| !value.is_empty() && value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let pair = |word: &str| {
            let (name, value) = word.split_once('=').map(|(name, value)| (name.trim(), value.trim()))?;
            (is_name(name) && is_value(value)).then(|| (name.to_owned(), value.to_owned()))
        };
        let words = text.split(',').filter(|word| !word.trim().is_empty());
        words.map(pair).collect::<Option<_>>().ok_or_else(|| {
            let mend = "must be NAME=value with commas between, such as authorization=Bearer and a token";
            StartError::setting("COUNTERSIGN_OTLP_HEADERS", mend)
        })
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: a JSON object on each line.
    Json,
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

impl FirstAdminSettings {
    /// The username and the password of the administrator to create at the start, if one is named.
    pub fn admin(&self) -> Result<Option<(&str, SecretString)>, StartError> {
        let password = match (&self.admin_password, &self.admin_password_file) {
            (Some(_), Some(_)) => {
                return Err(StartError::setting(
                    "COUNTERSIGN_ADMIN_PASSWORD",
                    "is set, and COUNTERSIGN_ADMIN_PASSWORD_FILE too; keep one",
                ));
            }
            (Some(password), None) => Some(password.clone()),
            (None, Some(file)) => Some(values::first_line("COUNTERSIGN_ADMIN_PASSWORD_FILE", file)?),
            (None, None) => None,
        };
        match (self.admin_username.as_deref(), password) {
            (Some(username), Some(password)) => Ok(Some((username, password))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(StartError::setting(
                "COUNTERSIGN_ADMIN_USERNAME",
                "is set without a password; set COUNTERSIGN_ADMIN_PASSWORD or COUNTERSIGN_ADMIN_PASSWORD_FILE too",
            )),
            (None, Some(_)) => Err(StartError::setting(
                "COUNTERSIGN_ADMIN_PASSWORD",
                "is set without a name; set COUNTERSIGN_ADMIN_USERNAME too",
            )),
        }
    }
}
