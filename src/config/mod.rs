//! Every setting: a flag, a variable of the environment, a line in `.env`, and its help, from one place.
//!
//! Secrets have a type that does not print, and their values are kept out of `--help` and of errors.

mod commands;

use std::{
    error::Error as _,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use clap::{
    Args, CommandFactory, Parser, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
};
pub use commands::{
    AuditCommand, Command, ExportCommand, ImportCommand, KeyCommand, SessionCommand, TokenCommand, UserCommand, Which,
};
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    auth::{Cost, Durability, Settings},
    error::StartError,
    model::Algorithm,
};

/// What a command's exit code says; clap itself ends with 2.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 not done, and standard error says why in one sentence; 2 not understood; \
3 done, and something was found that needs a person.";

/// Where settings may be, in the folder it is started in.
pub const ENV_FILE: &str = ".env";

/// Users, passwords and tokens in one binary.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, args_override_self = true, max_term_width = 100)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; without a command it serves.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings.
    #[command(flatten)]
    pub config: Config,
}

impl Cli {
    /// A setting that may be missing may also be empty: that is how compose files and `.env` leave one out.
    fn without_empty(mut self) -> Self {
        let config = &mut self.config;
        for secret in
            [&mut config.secret_key, &mut config.jwt_secret, &mut config.setup_token, &mut config.admin_password]
        {
            secret.take_if(|secret| secret.expose_secret().is_empty());
        }
        config.admin_username.take_if(|name| name.is_empty());
        config.admin_password_file.take_if(|file| file.as_os_str().is_empty());
        self
    }
}

/// A duration, or `off`. The alias keeps clap from taking it for a setting that may be missing.
pub type OrOff = Option<Duration>;

/// Networks in CIDR notation.
#[derive(Clone, Debug, Default)]
pub struct Networks(pub Vec<IpNet>);

/// An address, or `off`.
pub type AddressOrOff = Option<SocketAddr>;

/// The settings.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Where users, sessions and keys are kept
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite://countersign.db", value_name = "URL")]
    #[arg(help = "The database: sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub database_url: SecretString,

    /// Address and port to listen on
    #[arg(long, env = "COUNTERSIGN_LISTEN", default_value = "127.0.0.1:5000", value_name = "ADDRESS")]
    #[arg(global = true, value_parser = listen)]
    pub listen: SocketAddr,

    /// Address and port where /metrics tells Prometheus how it goes, or off
    #[arg(long, env = "COUNTERSIGN_METRICS_LISTEN", default_value = "off", value_name = "ADDRESS")]
    #[arg(global = true, value_parser = metrics_listen)]
    pub metrics_listen: AddressOrOff,

    /// Networks of the proxies in front, such as `10.0.0.0/8,fd00::/8`: their `X-Forwarded-For` tells a client's address
    #[arg(long, env = "COUNTERSIGN_TRUSTED_PROXIES", default_value = "", value_name = "NETWORKS")]
    #[arg(global = true, value_parser = trusted_proxies)]
    pub trusted_proxies: Networks,

    /// `iss` of JWTs: the address of this service as its clients know it
    #[arg(long, env = "COUNTERSIGN_ISSUER", default_value = "http://localhost:5000", value_name = "URL")]
    #[arg(global = true, value_parser = issuer)]
    pub issuer: String,

    /// `aud` of JWTs: whom they are for
    #[arg(long, env = "COUNTERSIGN_AUDIENCE", default_value = "countersign", value_name = "NAME")]
    #[arg(global = true, value_parser = audience)]
    pub audience: String,

    /// What seals the signing keys in the database: 32 bytes in base64; without it a 0600 file beside the database is used
    #[arg(long, env = "COUNTERSIGN_SECRET_KEY", value_name = "BASE64")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub secret_key: Option<SecretString>,

    /// How JWTs are signed
    #[arg(long, env = "COUNTERSIGN_JWT_ALGORITHM", default_value = "ES256", value_name = "ALGORITHM")]
    #[arg(global = true)]
    pub jwt_algorithm: Algorithm,

    /// The shared secret for HS256, at least 32 bytes
    #[arg(long, env = "COUNTERSIGN_JWT_SECRET", value_name = "SECRET")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub jwt_secret: Option<SecretString>,

    /// How long a JWT lives
    #[arg(long, env = "COUNTERSIGN_JWT_TTL", default_value = "30m", value_name = "DURATION")]
    #[arg(global = true, value_parser = lifetime)]
    pub jwt_ttl: Duration,

    /// How long a session and its opaque token live
    #[arg(long, env = "COUNTERSIGN_TOKEN_TTL", default_value = "30d", value_name = "DURATION")]
    #[arg(global = true, value_parser = lifetime)]
    pub token_ttl: Duration,

    /// How long a session may lie idle, or off
    #[arg(long, env = "COUNTERSIGN_IDLE_TTL", default_value = "off", value_name = "DURATION")]
    #[arg(global = true, value_parser = idle_ttl)]
    pub idle_ttl: OrOff,

    /// The most sessions a user has at a time; the oldest gives way
    #[arg(long, env = "COUNTERSIGN_SESSIONS_PER_USER", default_value = "100", value_name = "NUMBER")]
    #[arg(global = true, value_parser = sessions_per_user)]
    pub sessions_per_user: u32,

    /// How often a new key signs JWTs, or off
    #[arg(long, env = "COUNTERSIGN_KEY_ROTATION", default_value = "30d", value_name = "DURATION")]
    #[arg(global = true, value_parser = key_rotation)]
    pub key_rotation: OrOff,

    /// How long services that verify offline may keep a status list: so late they may hear of a logout
    #[arg(long, env = "COUNTERSIGN_STATUS_TTL", default_value = "1m", value_name = "DURATION")]
    #[arg(global = true, value_parser = status_ttl)]
    pub status_ttl: Duration,

    /// How long records of the audit trail are kept, or off: for ever
    #[arg(long, env = "COUNTERSIGN_AUDIT_RETENTION", default_value = "off", value_name = "DURATION")]
    #[arg(global = true, value_parser = audit_retention)]
    pub audit_retention: OrOff,

    /// The fewest characters of a new password
    #[arg(long, env = "COUNTERSIGN_PASSWORD_MIN_LENGTH", default_value = "8", value_name = "NUMBER")]
    #[arg(global = true, value_parser = password_min_length)]
    pub password_min_length: usize,

    /// Memory of one argon2id hash, in KiB
    #[arg(long, env = "COUNTERSIGN_ARGON2_MEMORY_KIB", default_value = "19456", value_name = "NUMBER")]
    #[arg(global = true, value_parser = number)]
    pub argon2_memory_kib: u32,

    /// Passes of one argon2id hash over its memory
    #[arg(long, env = "COUNTERSIGN_ARGON2_ITERATIONS", default_value = "2", value_name = "NUMBER")]
    #[arg(global = true, value_parser = number)]
    pub argon2_iterations: u32,

    /// Threads that hash passwords [default: one a core]
    #[arg(long, env = "COUNTERSIGN_HASH_WORKERS", value_name = "NUMBER")]
    #[arg(global = true, value_parser = hash_workers)]
    pub hash_workers: Option<usize>,

    /// Passwords that may wait for a hash thread; one more is answered with 503
    #[arg(long, env = "COUNTERSIGN_HASH_QUEUE", default_value = "64", value_name = "NUMBER")]
    #[arg(global = true, value_parser = hash_queue)]
    pub hash_queue: usize,

    /// Credentials that were checked and are kept in memory, so that the next request with one costs next to nothing; 0 keeps
    /// none
    #[arg(long, env = "COUNTERSIGN_CREDENTIAL_CACHE", default_value = "100000", value_name = "NUMBER")]
    #[arg(global = true, value_parser = credential_cache)]
    pub credential_cache: usize,

    /// While there is no admin, this bearer token may create one; without it one is made and shown at the first start
    #[arg(long, env = "COUNTERSIGN_SETUP_TOKEN", value_name = "TOKEN")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub setup_token: Option<SecretString>,

    /// Create this admin at the start when there is none
    #[arg(long, env = "COUNTERSIGN_ADMIN_USERNAME", value_name = "NAME")]
    #[arg(global = true)]
    pub admin_username: Option<String>,

    /// The password of that admin
    #[arg(long, env = "COUNTERSIGN_ADMIN_PASSWORD", value_name = "PASSWORD")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub admin_password: Option<SecretString>,

    /// A file whose first line is the password of that admin
    #[arg(long, env = "COUNTERSIGN_ADMIN_PASSWORD_FILE", value_name = "FILE")]
    #[arg(global = true, value_parser = path)]
    pub admin_password_file: Option<PathBuf>,

    /// The form of the log
    #[arg(long, env = "COUNTERSIGN_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    #[arg(global = true)]
    pub log_format: LogFormat,

    /// What is logged: a level, or levels by module
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "LEVELS")]
    #[arg(global = true)]
    pub log: String,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}

impl Config {
    /// What the service itself is told.
    pub fn settings(&self) -> Result<Settings, StartError> {
        Ok(Settings {
            database_url: self.database_url.clone(),
            secret_key: self.secret_key.clone(),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            algorithm: self.jwt_algorithm,
            jwt_secret: self.jwt_secret.clone(),
            jwt_ttl: self.jwt_ttl,
            token_ttl: self.token_ttl,
            idle_ttl: self.idle_ttl,
            sessions_per_user: self.sessions_per_user,
            key_rotation: self.key_rotation,
            status_ttl: self.status_ttl,
            audit_retention: self.audit_retention,
            password_min_length: self.password_min_length,
            cost: Cost::new(self.argon2_memory_kib, self.argon2_iterations)?,
            hash_workers: self.hash_workers.unwrap_or_else(cores),
            hash_queue: self.hash_queue,
            durability: Durability::EachCommit,
            credential_cache: self.credential_cache,
        })
    }

    /// The admin to create at the start, if one is named.
    pub fn admin(&self) -> Result<Option<(&str, SecretString)>, StartError> {
        let password = match (&self.admin_password, &self.admin_password_file) {
            (Some(_), Some(_)) => {
                return Err(StartError::setting(
                    "COUNTERSIGN_ADMIN_PASSWORD",
                    "is set, and COUNTERSIGN_ADMIN_PASSWORD_FILE too; keep one",
                ));
            }
            (Some(password), None) => Some(password.clone()),
            (None, Some(file)) => Some(first_line(file)?),
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

/// Whether `.env` gives a secret a value. A database's address is one when it has a user in it.
pub fn env_file_has_secrets() -> bool {
    let Ok(lines) = dotenvy::from_path_iter(ENV_FILE) else { return false };
    let command = Cli::command();
    let secrets: Vec<_> = command.get_arguments().filter(|setting| setting.is_hide_env_values_set()).collect();
    lines.flatten().any(|(name, value)| {
        let is_secret = secrets.iter().any(|setting| setting.get_env().is_some_and(|secret| *secret == *name));
        is_secret && !value.is_empty() && (name != "DATABASE_URL" || value.contains('@'))
    })
}

/// Reads flags, the environment and `.env` in this folder. Prints help and ends when that was asked for.
pub fn read() -> Result<Cli, StartError> {
    match dotenvy::from_path(ENV_FILE) {
        Err(dotenvy::Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(dotenvy::Error::LineParse(_, _)) => {
            return Err(StartError::setting(
                ".env",
                "a line cannot be read; write NAME=value, in quotes if it has spaces",
            ));
        }
        Err(error) => {
            return Err(StartError::setting(".env", format_args!("cannot be read ({error}); mend or remove it")));
        }
        Ok(()) => {}
    }
    for name in Cli::command().get_arguments().filter_map(clap::Arg::get_env) {
        #[expect(clippy::disallowed_methods, reason = "clap does not say which variable is not UTF-8")]
        if std::env::var_os(name).is_some_and(|value| value.to_str().is_none()) {
            return Err(StartError::setting(&name.to_string_lossy(), "is not UTF-8; write it in UTF-8"));
        }
    }
    Cli::try_parse().map(Cli::without_empty).map_err(|error| one_sentence(&error))
}

/// clap's error as one sentence that names the setting and never shows its value. Help, and what is amiss with a command
/// and not with a setting, are clap's to explain.
fn one_sentence(error: &clap::Error) -> StartError {
    let flag = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(ContextValue::String(flag))) => {
            flag.split(' ').next().unwrap_or_default()
        }
        _ => error.exit(),
    };
    let name = flag.trim_start_matches('-');
    if !Cli::command().get_arguments().any(|setting| setting.get_long() == Some(name)) {
        error.exit();
    }
    let variable = match flag {
        "--database-url" => "DATABASE_URL".to_owned(),
        "--log" => "RUST_LOG".to_owned(),
        _ => format!("COUNTERSIGN_{}", name.replace('-', "_").to_uppercase()),
    };
    let mend = match (error.get(ContextKind::ValidValue), error.source()) {
        (Some(ContextValue::Strings(values)), _) if !values.is_empty() => {
            format!("must be one of {}", values.join(", "))
        }
        (_, Some(source)) => source.to_string(),
        _ => "needs a value".to_owned(),
    };
    StartError::setting(&variable, mend)
}

/// One a core, which is what keeps every core busy and no hash waiting for another.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn first_line(file: &PathBuf) -> Result<SecretString, StartError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        StartError::setting(
            "COUNTERSIGN_ADMIN_PASSWORD_FILE",
            format_args!("{} cannot be read ({error}); name a file with the password", file.display()),
        )
    })?;
    Ok(text.lines().next().unwrap_or_default().into())
}

fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(text.into())
}

fn path(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(text.into())
}

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be an address and a port, such as 127.0.0.1:5000, 0.0.0.0:5000 or [::1]:5000")
}

fn metrics_listen(text: &str) -> Result<AddressOrOff, &'static str> {
    if ["off", ""].contains(&text) {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| "must be off, or an address and a port, such as 127.0.0.1:5001 or [::1]:5001")
}

fn issuer(text: &str) -> Result<String, &'static str> {
    let address = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let clean =
        !address.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#' || c == '?');
    if clean { Ok(text.to_owned()) } else { Err("must be an http or https address, such as https://auth.example.com") }
}

fn audience(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("must name whom the tokens are for, such as countersign or https://api.example.com");
    }
    Ok(text.to_owned())
}

/// A hundred years, the longest anything lives.
const LONGEST: u64 = 36_500 * 86_400;

/// From a second to a hundred years, whole seconds, as JWTs count.
fn lifetime(text: &str) -> Result<Duration, &'static str> {
    seconds(text, 1, LONGEST, "must be from 1s to 36500d, written like 30m, 12h or 30d")
}

fn seconds(text: &str, least: u64, most: u64, mend: &'static str) -> Result<Duration, &'static str> {
    let duration = humantime::parse_duration(text).map_err(|_| mend)?;
    let fits = (least..=most).contains(&duration.as_secs()) && duration.subsec_nanos() == 0;
    if fits { Ok(duration) } else { Err(mend) }
}

fn trusted_proxies(text: &str) -> Result<Networks, &'static str> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let network = |word: &str| word.parse().or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
    let networks: Result<_, _> = words.map(network).collect();
    networks.map(Networks).map_err(|_| "must be networks or addresses with commas between, such as 10.0.0.0/8,fd00::/8")
}

fn or_off(text: &str, least: u64, mend: &'static str) -> Result<OrOff, &'static str> {
    if text == "off" { Ok(None) } else { seconds(text, least, LONGEST, mend).map(Some) }
}

/// Other servers hear of a use after some seconds.
fn idle_ttl(text: &str) -> Result<OrOff, &'static str> {
    or_off(text, 300, "must be off, or from 5m to 36500d, written like 30m, 12h or 7d")
}

/// A key is public for eleven minutes before it signs.
fn key_rotation(text: &str) -> Result<OrOff, &'static str> {
    or_off(text, 3600, "must be off, or from 1h to 36500d, written like 12h or 30d")
}

fn audit_retention(text: &str) -> Result<OrOff, &'static str> {
    or_off(text, 86_400, "must be off, or from 1d to 36500d, written like 90d or 365d")
}

fn status_ttl(text: &str) -> Result<Duration, &'static str> {
    seconds(text, 1, 86_400, "must be from 1s to 1d, written like 30s, 1m or 1h")
}

fn sessions_per_user(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|number| (1..=1000).contains(number)).ok_or("must be a whole number from 1 to 1000")
}

fn number(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "must be a whole number")
}

fn between(text: &str, least: usize, most: usize, mend: &'static str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|number| (least..=most).contains(number)).ok_or(mend)
}

fn password_min_length(text: &str) -> Result<usize, &'static str> {
    between(text, 1, 128, "must be a whole number from 1 to 128; 8 is the least that is advised")
}

fn hash_workers(text: &str) -> Result<usize, &'static str> {
    if text.is_empty() {
        return Ok(cores());
    }
    between(text, 1, 1024, "must be a whole number from 1 to 1024; one a core is best")
}

fn hash_queue(text: &str) -> Result<usize, &'static str> {
    between(text, 1, 100_000, "must be a whole number from 1 to 100000")
}

fn credential_cache(text: &str) -> Result<usize, &'static str> {
    between(text, 0, 10_000_000, "must be a whole number from 0, which keeps none, to 10000000")
}
