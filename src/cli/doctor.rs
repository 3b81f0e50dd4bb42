//! `countersign doctor`: read-only checks of an installation.

use serde::Serialize;

use crate::auth::{self, Finding, Verdict};
use crate::cli::table::table;
use crate::cli::{Outcome, block_on, json, print};
use crate::config::{Config, Settings};
use crate::error::CommandError;
use crate::model::Clock;
use crate::telemetry;

/// The lowest recommended cost of argon2id: memory in KiB times passes.
const MIN_COST: u64 = 19_456 * 2;
/// The lowest recommended minimum length of a password, in characters.
const MIN_LENGTH: usize = 8;

#[derive(Serialize)]
struct Report<'a> {
    /// Whether no check failed.
    ok: bool,
    checks: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    check: &'a str,
    /// `ok`, `warning` or `failed`.
    result: &'a str,
    found: &'a str,
    mend: Option<&'a str>,
}

/// Runs `countersign doctor`: prints a report of all checks.
pub fn run(config: &Config, as_json: bool) -> Result<Outcome, CommandError> {
    let mut findings = check_settings(config);
    findings.extend(check_weaknesses(config));
    findings.extend(block_on(auth::examine(&Clock::System, &config.settings))?);
    let ok = findings.iter().all(|finding| finding.verdict != Verdict::Failed);
    let report = if as_json {
        let checks = findings.iter().map(|finding| Row {
            check: finding.check,
            result: finding.verdict.as_str(),
            found: &finding.found,
            mend: finding.mend.as_deref(),
        });
        json(&Report { ok, checks: checks.collect() })?
    } else {
        let rows = findings.into_iter().map(|finding| {
            let mend = finding.mend.map(|mend| format!("; {mend}")).unwrap_or_default();
            [finding.verdict.as_str().to_owned(), finding.check.to_owned(), finding.found + &mend]
        });
        table(["RESULT", "CHECK", "FOUND"], rows)
    };
    print(&report)?;
    Ok(if ok { Outcome::Done } else { Outcome::NeedsAttention })
}

/// Checks for settings that would keep a server from starting.
fn check_settings(config: &Config) -> Vec<Finding> {
    let mut errors = auth::examine_settings(&config.settings, config.first_admin.setup_token.as_ref());
    errors.extend(config.first_admin.admin().err());
    errors.extend(telemetry::levels(&config.log.log).err());
    errors.extend(config.collector.headers().err());
    if errors.is_empty() {
        return vec![Finding::ok("settings", "a server accepts all of them")];
    }
    errors.into_iter().map(|error| Finding::error("settings", error)).collect()
}

/// Checks for settings that a server accepts but that are weak.
pub fn check_weaknesses(config: &Config) -> Vec<Finding> {
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
