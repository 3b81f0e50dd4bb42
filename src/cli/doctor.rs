//! `countersign doctor`: read-only checks of an installation.

use serde::Serialize;

use crate::auth::{self, Finding, Verdict};
use crate::cli::serve::settings;
use crate::cli::table::table;
use crate::cli::{Outcome, block_on, json, print};
use crate::config::Config;
use crate::error::CommandError;
use crate::model::Clock;

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
    findings.extend(settings::weaknesses(config));
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
    let errors = settings::errors(config);
    if errors.is_empty() {
        return vec![Finding::ok("settings", "a server accepts all of them")];
    }
    errors.into_iter().map(|error| Finding::error("settings", error)).collect()
}
