//! `countersign import`: creates or updates users from a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::auth::{self, Actor, Auth, Durability, Import, Invite, RowReport, Rows, Summary};
use crate::cli::{Outcome, explain, print, with_durability};
use crate::config::{Config, ImportCommand};
use crate::error::CommandError;
use crate::http::views::{RowView, SummaryView};
use crate::model::{Format, to_csv_cell};
use crate::private_file;

/// The most failed rows that are printed without `--report` or `--json`.
const MAX_SHOWN: u64 = 20;

/// Runs `countersign import` and prints the outcome of its rows.
pub fn run(config: &Config, command: &ImportCommand) -> Result<Outcome, CommandError> {
    let mut source = open(&command.file)?;
    let format = match command.format.or_else(|| crate::cli::format_of(&command.file)) {
        Some(format) => format,
        None => detect_format(&mut source).map_err(|error| unreadable(&command.file, &error))?,
    };
    let mut report = Report::new(command)?;
    // The import is acknowledged once, after a final sync. A sync after each batch would double the time.
    let work = async |auth: &Auth| import(auth, command, format, source, &mut report).await;
    let summary = with_durability(config, Durability::AtSync, work)?;
    report.finish(&summary, command)?;
    let is_whole = summary.failed == 0 && summary.stopped.is_none();
    Ok(if is_whole { Outcome::Done } else { Outcome::NeedsAttention })
}

async fn import(
    auth: &Auth,
    command: &ImportCommand,
    format: Format,
    source: BufReader<Box<dyn Read + Send>>,
    report: &mut Report,
) -> Result<Summary, CommandError> {
    let bar = progress_bar(&command.file);
    let rows = Rows::read(format, bar.wrap_read(source)).map_err(explain)?;
    let invite = match (command.deliver, &command.invite) {
        (true, _) => Invite::ByMail,
        (false, Some(_)) => Invite::ByLink,
        (false, None) => Invite::Nobody,
    };
    let (conflict, dry_run) = (command.on_conflict, command.dry_run);
    let import = Import { actor: Actor::Operator, conflict, invite, dry_run };
    let done = auth.import(import, rows, |row| report.add(&row)).await;
    bar.finish_and_clear();
    done.map_err(explain)
}

fn open(file: &Path) -> Result<BufReader<Box<dyn Read + Send>>, CommandError> {
    let source: Box<dyn Read + Send> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(|error| unreadable(file, &error))?)
    };
    Ok(BufReader::with_capacity(256 * 1024, source))
}

fn unreadable(file: &Path, error: &io::Error) -> CommandError {
    CommandError(format!("{} cannot be read: {error}", file.display()))
}

/// NDJSON begins with a brace, which no CSV header does.
fn detect_format(source: &mut impl BufRead) -> io::Result<Format> {
    let begin = source.fill_buf()?.trim_ascii_start();
    Ok(if begin.first() == Some(&b'{') { Format::Ndjson } else { Format::Csv })
}

/// A progress bar, drawn on a terminal only.
fn progress_bar(file: &Path) -> ProgressBar {
    let size = std::fs::metadata(file).map(|about| about.len()).ok().filter(|size| *size > 0);
    let (bar, form) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:40} {percent}%  {bytes} of {total_bytes}, {eta} to go"),
        None => (ProgressBar::no_length(), "{spinner} {bytes}, {elapsed}"),
    };
    bar.with_style(ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Collects the outcomes of rows, for the report or for the terminal.
struct Report {
    lines: Option<BufWriter<Box<dyn Write>>>,
    invitations: Option<csv::Writer<File>>,
    shown: String,
}

impl Report {
    fn new(command: &ImportCommand) -> Result<Self, CommandError> {
        let lines: Option<Box<dyn Write>> = match &command.report {
            Some(file) => Some(Box::new(
                File::create(file)
                    .map_err(|error| CommandError(format!("{} cannot be written: {error}", file.display())))?,
            )),
            None if command.json => Some(Box::new(io::stdout())),
            None => None,
        };
        let invitations = match &command.invite {
            Some(file) if !command.dry_run => Some(invitations(file)?),
            _ => None,
        };
        Ok(Self { lines: lines.map(BufWriter::new), invitations, shown: String::new() })
    }

    fn add(&mut self, row: &RowReport) -> io::Result<()> {
        if let Some(lines) = &mut self.lines {
            write_line(lines, &RowView::from(row))?;
        }
        if let (Some(file), Some(link), Some(username)) = (&mut self.invitations, &row.link, &row.username)
            && let Some(url) = &link.url
        {
            file.write_record([&to_csv_cell(username), url.expose_secret(), &link.expires_at.to_string()])?;
        }
        if row.outcome == auth::Outcome::Failed && self.shown.lines().count() < MAX_SHOWN as usize {
            let username = row.username.as_deref().unwrap_or("-");
            let errors: Vec<_> = row.errors.iter().map(|e| format!("{} {}", e.field, e.message)).collect();
            let _infallible = writeln!(self.shown, "line {}: {username}: {}", row.line, errors.join("; ").trim());
        }
        Ok(())
    }

    fn finish(mut self, summary: &Summary, command: &ImportCommand) -> Result<(), CommandError> {
        let view = SummaryView::new(summary, command.dry_run);
        if let Some(lines) = &mut self.lines {
            let written = write_line(lines, &view).and_then(|()| lines.flush());
            written.map_err(|error| CommandError(format!("the report cannot be written: {error}")))?;
        }
        if let Some(file) = self.invitations.take() {
            let written = file.into_inner().map_err(csv::IntoInnerError::into_error).and_then(|file| file.sync_all());
            written.map_err(|error| CommandError(format!("the invitations cannot be written: {error}")))?;
        }
        if command.json {
            return if command.report.is_some() { print(&crate::cli::json_line(&view)?) } else { Ok(()) };
        }
        if summary.failed > MAX_SHOWN && command.report.is_none() {
            let _infallible =
                writeln!(self.shown, "and {} more; --report FILE lists them all", summary.failed - MAX_SHOWN);
        }
        print(&(self.shown + &summary_text(summary, command.dry_run)))
    }
}

/// A new file for the links. They let whoever reads them choose a password.
fn invitations(file: &Path) -> Result<csv::Writer<File>, CommandError> {
    let cannot = |error: io::Error| CommandError(format!("{} cannot be written: {error}", file.display()));
    let mut rows = csv::Writer::from_writer(private_file::create_new(file).map_err(cannot)?);
    rows.write_record(["username", "url", "expires_at"]).map_err(|error| cannot(error.into()))?;
    Ok(rows)
}

fn write_line(lines: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *lines, line)?;
    lines.write_all(b"\n")
}

fn summary_text(summary: &Summary, dry_run: bool) -> String {
    let counts = [
        (summary.created, "created"),
        (summary.updated, "updated"),
        (summary.unchanged, "unchanged"),
        (summary.skipped, "skipped, for somebody has the username"),
        (summary.failed, "failed"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let counts: Vec<_> = counts.collect();
    let mut text = match counts.is_empty() {
        true => "no rows\n".to_owned(),
        false => counts.join(", ") + "\n",
    };
    if let Some((line, error)) = &summary.stopped {
        let _infallible = writeln!(text, "stopped at line {line}: {} {}", error.field, error.message);
    }
    if dry_run {
        text += "it was a dry run: nothing was kept\n";
    }
    text
}
