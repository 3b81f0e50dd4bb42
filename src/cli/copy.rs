//! `countersign copy`: moves everything to another database.

use std::fmt::Write as _;

use indicatif::{ProgressBar, ProgressStyle};

use crate::auth;
use crate::cli::backup::unless_interrupted;
use crate::cli::{Outcome, print};
use crate::config::{Config, CopyCommand};
use crate::error::CommandError;
use crate::model::Clock;

/// Runs `countersign copy`.
pub fn run(config: &Config, command: &CopyCommand) -> Result<Outcome, CommandError> {
    let mut settings = config.settings.clone();
    if let Some(from) = &command.from {
        settings.database.database_url = from.clone();
    }
    // Drawn on a terminal only.
    let style = ProgressStyle::with_template("{spinner} {msg}: {pos} rows, {elapsed}");
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let progress = |table, rows| {
        bar.set_message(table);
        bar.set_position(rows);
    };
    let copied = unless_interrupted(auth::copy(&Clock::System, &settings, &command.to, progress));
    bar.finish_and_clear();
    let copied = copied?;
    let mut text = String::new();
    for (table, rows) in copied.tables.iter().filter(|(_, rows)| *rows > 0) {
        let _infallible = writeln!(text, "{table:<16} {rows:>12}");
    }
    text += &match copied.chain.broken_at {
        None => format!("{} records of the audit trail hang together there\n", copied.chain.records),
        Some(number) => format!("record {number} of the audit trail was changed or is missing\n"),
    };
    let _infallible = writeln!(text, "everything is in {}", copied.database);
    if let Some(file) = copied.key_file {
        let _infallible =
            writeln!(text, "its servers need the secret key in {file}: COUNTERSIGN_SECRET_KEY=$(cat {file})");
    }
    print(&text)?;
    Ok(if copied.chain.broken_at.is_none() { Outcome::Done } else { Outcome::NeedsAttention })
}
