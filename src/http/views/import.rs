//! The JSON lines of an import report.

use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{RowReport, Summary};
use crate::http::problem::FieldProblem;

/// The result of one row of an import.
#[derive(Serialize, ToSchema)]
pub struct RowView<'a> {
    /// The line the row starts on, from 1.
    line: u64,
    /// The username in the row, if it is a possible username.
    #[schema(example = "sergio")]
    username: Option<&'a str>,
    /// `created`, `updated`, `unchanged`, `skipped` or `failed`.
    #[schema(example = "created")]
    outcome: &'static str,
    /// The invitation of a user without a password, to hand over where no mail was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "http://localhost:5000/link/…")]
    url: Option<&'a str>,
    /// Why the row failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem<'a>>,
}

impl<'a> From<&'a RowReport> for RowView<'a> {
    fn from(row: &'a RowReport) -> Self {
        Self {
            line: row.line,
            username: row.username.as_deref(),
            outcome: row.outcome.as_str(),
            url: row.link.as_ref().and_then(|link| Some(link.url.as_ref()?.expose_secret())),
            errors: row.errors.iter().map(FieldProblem::from).collect(),
        }
    }
}

/// The last line of an import report.
#[derive(Serialize, ToSchema)]
pub struct SummaryView<'a> {
    summary: Counts<'a>,
}

/// The number of rows by outcome.
#[derive(Serialize, ToSchema)]
struct Counts<'a> {
    rows: u64,
    created: u64,
    updated: u64,
    unchanged: u64,
    skipped: u64,
    failed: u64,
    dry_run: bool,
    /// Where and why the import stopped early.
    stopped: Option<Stopped<'a>>,
}

/// Where and why an import stopped early.
#[derive(Serialize, ToSchema)]
struct Stopped<'a> {
    line: u64,
    error: FieldProblem<'a>,
}

impl<'a> SummaryView<'a> {
    /// Creates the summary of an import or, with `dry_run`, of a simulated one.
    pub fn new(summary: &'a Summary, dry_run: bool) -> Self {
        let stopped = summary.stopped.as_ref().map(|(line, error)| Stopped { line: *line, error: error.into() });
        Self {
            summary: Counts {
                rows: summary.rows(),
                created: summary.created,
                updated: summary.updated,
                unchanged: summary.unchanged,
                skipped: summary.skipped,
                failed: summary.failed,
                dry_run,
                stopped,
            },
        }
    }
}
