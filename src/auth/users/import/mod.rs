//! Import of users from other software with their password hashes, so that nobody has to change their password.
//!
//! Rule: rows are validated like users created here; they are written in transactions of whole batches with their audit
//! records, so an interrupted import can be run again. Threats: an import that exhausts the memory of the machine or
//! blocks the only writer for minutes, a hash that can never be checked, and a row that takes over or locks out an
//! existing user.

mod batch;
mod rows;
mod update;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use batch::Batch;
pub use rows::Rows;
use rows::{ReadError, Row};

use crate::auth::passwords::formats::ParsedHash;
use crate::auth::{Actor, Auth, Link};
use crate::error::{Error, FieldError};
use crate::model::Conflict;

/// The outcome of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The user was created.
    Created,
    /// The user existed and was updated.
    Updated,
    /// The user existed and already had the values of the row.
    Unchanged,
    /// The user existed and was not touched.
    Skipped,
    /// The row was rejected; its errors state the reason.
    Failed,
}

impl Outcome {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// The report of a row.
#[derive(Clone, Debug)]
pub struct RowReport {
    /// The line on which the row begins, from 1.
    pub line: u64,
    /// The folded username, if valid.
    pub username: Option<String>,
    /// The outcome.
    pub outcome: Outcome,
    /// The errors of a rejected row.
    pub errors: Vec<FieldError>,
    /// The invitation of a created user without a password.
    pub link: Option<Link>,
}

/// The counts of all outcomes of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Created users.
    pub created: u64,
    /// Updated users.
    pub updated: u64,
    /// Users that already had the values of the row.
    pub unchanged: u64,
    /// Rows skipped because the username exists.
    pub skipped: u64,
    /// Rejected rows.
    pub failed: u64,
    /// The line at which the import stopped early, and the reason.
    pub stopped: Option<(u64, FieldError)>,
}

impl Summary {
    /// Counts one outcome.
    pub fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Created => &mut self.created,
            Outcome::Updated => &mut self.updated,
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Failed => &mut self.failed,
        } += 1;
    }

    /// Returns the number of rows read.
    pub fn rows(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.skipped + self.failed
    }
}

/// What becomes of rows without a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invite {
    /// They fail.
    Nobody,
    /// They create users, whose links are reported.
    ByLink,
    /// They create users, who are sent their links; those of users to whom no mail can be sent are reported.
    ByMail,
}

/// The options of an import.
#[derive(Clone, Copy, Debug)]
pub struct Import {
    /// The actor in the audit trail.
    pub actor: Actor,
    /// What to do when a username exists.
    pub conflict: Conflict,
    /// Whether rows without a password create users, who are invited.
    pub invite: Invite,
    /// Whether to roll back all changes.
    pub dry_run: bool,
}

/// The result of a transaction: the reports, and the line that stopped the import, which rolled the transaction back.
#[derive(Default)]
struct Written {
    reports: Vec<RowReport>,
    stopped: Option<u64>,
}

/// The state of a running import.
struct State {
    import: Import,
    rows: Rows,
    /// The users that a dry run would have created, which are not in the database.
    seen: SeenNames,
}

/// A set of usernames, stored as hashes: a million of them take some megabytes.
#[derive(Default)]
struct SeenNames {
    hasher: RandomState,
    names: HashSet<u64>,
}

impl SeenNames {
    fn add(&mut self, name: &str) {
        self.names.insert(self.hasher.hash_one(name));
    }

    fn contains(&self, name: &str) -> bool {
        !self.names.is_empty() && self.names.contains(&self.hasher.hash_one(name))
    }
}

/// How long a transaction accepts further batches. A longer one blocks other writes; a shorter one writes the same
/// index pages more often, once per commit.
const MAX_TRANSACTION: Duration = Duration::from_millis(250);
/// The pause between two transactions, for other writes.
const PAUSE: Duration = Duration::from_millis(8);

impl Auth {
    /// Imports users. Calls `report` for each row in order; an error of it ends the import. Returns [`Error::Invalid`]
    /// when no row can be read.
    pub async fn import(
        &self,
        import: Import,
        rows: Rows,
        report: impl FnMut(RowReport) -> std::io::Result<()>,
    ) -> Result<Summary, Error> {
        if import.invite == Invite::ByMail {
            self.require_mail()?;
        }
        let mut interrupted = Interrupted(Some(self.clone()));
        let imported = self.write_all(State { import, rows, seen: SeenNames::default() }, report).await;
        interrupted.0 = None;
        self.end_import().await?;
        imported
    }

    /// Does what is left to do after an import.
    async fn end_import(&self) -> Result<(), Error> {
        let auth = self.clone();
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            tx.end_bulk().await?;
            tx.commit().await
        })
        .await?;
        // In the background: nobody waits for it.
        let auth = self.clone();
        self.writes.spawn(async move {
            if let Err(error) = auth.measure_schemes().await {
                tracing::warn!(%error, "the costs of imported password hashes could not be measured");
            }
        });
        Ok(())
    }

    async fn write_all(
        &self,
        mut state: State,
        mut report: impl FnMut(RowReport) -> std::io::Result<()>,
    ) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        while let Some(batch) = state.rows.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(ReadError { error, .. }) if summary.rows() == 0 => return Err(Error::Invalid(vec![error])),
                Err(ReadError { line, error }) => {
                    summary.stopped = Some((line, error));
                    break;
                }
            };
            let (written, rest) = self.write_transaction(state, batch).await?;
            state = rest;
            for row in written.reports {
                summary.count(row.outcome);
                report(row).map_err(|error| Error::Internal(error.into()))?;
            }
            if let Some(line) = written.stopped {
                summary.stopped = Some((line, taken("username")));
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(summary)
    }

    /// Writes a batch in a transaction, and further ones that are ready within [`MAX_TRANSACTION`].
    async fn write_transaction(&self, mut state: State, rows: Vec<Row>) -> Result<(Written, State), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut next = Some(Batch::new(auth.without_dear_hashes(rows), &state, now)?);
            let mut tx = auth.store.write_alone().await?;
            auth.confirm(&mut tx, state.import.actor).await?;
            tx.begin_bulk().await?;
            let (begun, mut all) = (Instant::now(), Written::default());
            while let Some(batch) = next {
                let more = if begun.elapsed() < MAX_TRANSACTION { state.rows.next_if_ready() } else { None };
                // Prepares the next batch while the database writes this one.
                let prepared =
                    async { more.map(|rows| Batch::new(auth.without_dear_hashes(rows), &state, now)).transpose() };
                let (written, prepared) =
                    tokio::join!(batch::write(&auth, &mut tx, state.import, batch, now), prepared);
                let written = written?;
                if written.stopped.is_some() {
                    return Ok((written, state));
                }
                all.reports.extend(written.reports);
                next = prepared?;
            }
            if state.import.dry_run {
                let created = all.reports.iter().filter(|row| row.outcome == Outcome::Created);
                created.filter_map(|row| row.username.as_ref()).for_each(|name| state.seen.add(name));
            } else {
                tx.shrink_page_cache().await?;
                tx.commit().await?;
            }
            Ok((all, state))
        })
        .await
    }
}

impl Auth {
    /// Rejects the rows with a hash that would cost too much to check.
    fn without_dear_hashes(&self, mut rows: Vec<Row>) -> Vec<Row> {
        for row in &mut rows {
            let hash = row.record.as_ref().ok().and_then(|record| record.password_hash.as_ref());
            let parsed = hash.and_then(ParsedHash::parse);
            if parsed.is_some_and(|parsed| !self.is_cheap_enough_to_import(parsed.scheme)) {
                let message = "costs more to check than COUNTERSIGN_IMPORT_MAX_COST allows";
                row.record = Err(vec![FieldError::new("password_hash", "too-expensive", message)]);
            }
        }
        rows
    }
}

/// An import whose client left, or whose time is over. It is ended all the same.
struct Interrupted(Option<Auth>);

impl Drop for Interrupted {
    fn drop(&mut self) {
        let Some(auth) = self.0.take() else { return };
        auth.clone().writes.spawn(async move {
            if let Err(error) = auth.end_import().await {
                tracing::warn!(%error, "an interrupted import was not ended");
            }
        });
    }
}

fn taken(field: &'static str) -> FieldError {
    FieldError::new(field, "taken", "belongs to someone already")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_counted_once_by_its_outcome() {
        let mut summary = Summary::default();
        let outcomes = [Outcome::Created, Outcome::Updated, Outcome::Unchanged, Outcome::Skipped, Outcome::Failed];
        for (times, outcome) in (1..).zip(outcomes) {
            (0..times).for_each(|_| summary.count(outcome));
        }
        let Summary { created, updated, unchanged, skipped, failed, .. } = summary;
        assert_eq!((created, updated, unchanged, skipped, failed, summary.rows()), (1, 2, 3, 4, 5, 15));
    }

    #[test]
    fn names_that_were_seen_are_known() {
        let mut seen = SeenNames::default();
        assert!(!seen.contains("ana"));
        seen.add("ana");
        assert!(seen.contains("ana") && !seen.contains("ben"));
    }
}
