//! The settings of a server alone: where it listens, its first administrator, its log. They are declared as those of
//! `settings.rs` are.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret, SecretString};

use crate::config::values::{
    AddressOrOff, NumberOrOff, OrAuto, Origins, address, connections_per_address, drain_time, first_line, listen,
    metrics_listen, origins, path, secret, share, trusted_proxies,
};
use crate::error::StartError;
use crate::model::Networks;

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
            (None, Some(file)) => Some(first_line("COUNTERSIGN_ADMIN_PASSWORD_FILE", file)?),
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
