//! `countersign doctor`: a look at an installation, which changes nothing.

use std::path::Path;

use serde::Serialize;

use crate::{
    auth::{self, Finding, Verdict},
    cli::{Outcome, json, print, run_async, table::table},
    config::{self, Config},
    error::CommandError,
    model::Clock,
    telemetry,
};

/// What argon2id should cost at least: memory in KiB, times passes.
const GOOD_COST: u64 = 19_456 * 2;
/// The fewest characters that are advised for a password.
const GOOD_LENGTH: usize = 8;

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

/// Looks at everything and says how it is.
pub fn run(config: &Config, as_json: bool) -> Result<Outcome, CommandError> {
    let mut findings = settings(config);
    findings.extend(weaknesses(config));
    if let Ok(settings) = config.settings() {
        findings.extend(run_async(auth::examine(&Clock::System, &settings))?);
    }
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
    Ok(if ok { Outcome::Done } else { Outcome::NeedsPerson })
}

/// What would stop a server.
fn settings(config: &Config) -> Vec<Finding> {
    let mut errors = match config.settings() {
        Ok(settings) => auth::examine_settings(&settings, config.setup_token.as_ref()),
        Err(error) => vec![error],
    };
    errors.extend(config.admin().err());
    errors.extend(telemetry::levels(&config.log).err());
    if errors.is_empty() {
        return vec![Finding::ok("settings", "each is one that a server takes")];
    }
    errors.into_iter().map(|error| Finding::error("settings", error)).collect()
}

/// What a server takes, and should not be given.
fn weaknesses(config: &Config) -> Vec<Finding> {
    let issuer = if config.issuer.starts_with("http://") && !config.listen.ip().is_loopback() {
        let found = format!("others reach {}, and tokens are issued as {}", config.listen, config.issuer);
        Finding::warning("issuer", found, "put TLS before it and set COUNTERSIGN_ISSUER to the https address")
    } else {
        Finding::ok("issuer", &config.issuer)
    };
    let cost = format!("argon2id takes {} KiB × {}", config.argon2_memory_kib, config.argon2_iterations);
    let hashing = if u64::from(config.argon2_memory_kib) * u64::from(config.argon2_iterations) < GOOD_COST {
        let mend = "set COUNTERSIGN_ARGON2_MEMORY_KIB=19456 and COUNTERSIGN_ARGON2_ITERATIONS=2";
        Finding::warning("password hashing", cost, mend)
    } else {
        Finding::ok("password hashing", cost)
    };
    let found = format!("a password has at least {} characters", config.password_min_length);
    let length = if config.password_min_length < GOOD_LENGTH {
        Finding::warning("password length", found, "set COUNTERSIGN_PASSWORD_MIN_LENGTH=8")
    } else {
        Finding::ok("password length", found)
    };
    let env_file = auth::mode(Path::new(config::ENV_FILE)).filter(|_| config::env_file_has_secrets());
    [issuer, hashing, length].into_iter().chain(env_file).collect()
}
