//! What settings mean for a server before it has them: what keeps it from starting, what is weak, and who may connect.

use std::io::{self, IsTerminal};
use std::time::Duration;

use crate::auth::{self, Finding};
use crate::config::{Config, Settings};
use crate::error::StartError;
use crate::http::{Access, Pages, Tls};
use crate::telemetry;

/// The lowest recommended cost of argon2id: memory in KiB times passes.
const MIN_COST: u64 = 19_456 * 2;
/// The lowest recommended minimum length of a password, in characters.
const MIN_LENGTH: usize = 8;

/// Everything that would keep a server with these settings from starting, as far as it can be known without the database.
pub fn errors(config: &Config) -> Vec<StartError> {
    let mut errors = auth::examine_settings(&config.settings, config.first_admin.setup_token.as_ref());
    errors.extend(config.first_admin.admin().err());
    errors.extend(telemetry::levels(&config.log.log).err());
    errors.extend(telemetry::check_collector(&config.collector).err());
    errors.extend(access(config).err());
    errors
}

/// The settings that a server accepts but that are weak.
pub fn weaknesses(config: &Config) -> Vec<Finding> {
    let Settings { tokens, passwords, .. } = &config.settings;
    let listen = config.server.listen;
    let issuer = if tokens.issuer().starts_with("http://") && !listen.ip().is_loopback() {
        let found = format!("others can reach {listen}, but tokens are issued by {}", tokens.issuer());
        Finding::warning("issuer", found, "put TLS before it and set COUNTERSIGN_PUBLIC_URL to the https address")
    } else if tokens.public_url.as_deref().is_some_and(|address| address != tokens.issuer()) {
        let found = format!("tokens are issued by {}, but COUNTERSIGN_PUBLIC_URL is another address", tokens.issuer());
        Finding::warning("issuer", found, "leave COUNTERSIGN_ISSUER out, unless services expect the old one")
    } else {
        Finding::ok("issuer", tokens.issuer())
    };
    let cost = format!("argon2id costs {} KiB × {}", passwords.argon2_memory_kib, passwords.argon2_iterations);
    let hashing = if passwords.cost().work() < MIN_COST {
        let mend = "set COUNTERSIGN_ARGON2_MEMORY_KIB=19456 and COUNTERSIGN_ARGON2_ITERATIONS=2";
        Finding::warning("password hashing", cost, mend)
    } else {
        Finding::ok("password hashing", cost)
    };
    let found = format!("a password has at least {} characters", passwords.password_min_length);
    let length = if passwords.password_min_length < MIN_LENGTH {
        Finding::warning("password length", found, "set COUNTERSIGN_PASSWORD_MIN_LENGTH=8")
    } else {
        Finding::ok("password length", found)
    };
    let env_file = auth::mode(config.sources.file()).filter(|_| config.sources.file_has_secrets());
    [issuer, hashing, length].into_iter().chain(env_file).collect()
}

/// Who may connect to a server with these settings, and how.
pub fn access(config: &Config) -> Result<Access, StartError> {
    let tls = match (&config.server.tls_cert, &config.server.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::open(certificate, key)?),
        (None, None) => None,
        (Some(_), None) => {
            let mend = "is missing, though COUNTERSIGN_TLS_CERT is set; name the file with the private key";
            return Err(StartError::setting("COUNTERSIGN_TLS_KEY", mend));
        }
        (None, Some(_)) => {
            let mend = "is missing, though COUNTERSIGN_TLS_KEY is set; name the file with the certificate";
            return Err(StartError::setting("COUNTERSIGN_TLS_CERT", mend));
        }
    };
    Ok(Access {
        tracer: None,
        trusted_proxies: config.server.trusted_proxies.clone(),
        connections_per_address: config.server.connections_per_address,
        cors_origins: config.server.cors_origins.clone(),
        tls,
        pages: Pages::new(&config.settings.pages.service_name, config.settings.pages.logo.as_deref())?,
        cookie_domain: cookie_domain(config)?,
        return_to: config.settings.pages.return_to.clone(),
        settings: config.in_force.clone(),
        findings: weaknesses(config),
        drain_time: config.server.drain_time.unwrap_or_else(default_drain_time),
    })
}

/// The domain whose hosts share the cookie, if there is one. Browsers refuse a cookie of a domain that this host is not in.
fn cookie_domain(config: &Config) -> Result<Option<String>, StartError> {
    let Some(domain) = &config.settings.pages.cookie_domain else { return Ok(None) };
    let url = config.settings.tokens.public_url();
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default();
    if host == domain || host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.')) {
        return Ok(Some(domain.clone()));
    }
    let fault = format_args!(
        "is {domain}, and {url} is not in it; name a domain that the host of COUNTERSIGN_PUBLIC_URL is in"
    );
    Err(StartError::setting("COUNTERSIGN_COOKIE_DOMAIN", fault))
}

/// Whoever stops it by hand does not wait for a load balancer.
fn default_drain_time() -> Duration {
    if terminals().contains(&true) { Duration::ZERO } else { Duration::from_secs(2) }
}

/// Which of standard input, output and error are a terminal.
pub fn terminals() -> [bool; 3] {
    [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()]
}
