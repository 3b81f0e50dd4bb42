//! Users brought along from elsewhere, with the hashes of their passwords, so that nobody has to choose another one.
//!
//! Rule: a row keeps the rules of a user that is made here; rows are written in batches, each a transaction with its record
//! in the audit trail, so an import that is interrupted leaves whole batches and can be run again. Threats: an import that
//! takes the machine's memory or the one writer for minutes, a hash that could never be checked, and a row that takes over
//! or locks out somebody who is there.

mod batch;
mod rows;
mod update;

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use batch::Batch;
pub use rows::Rows;
use rows::{Broken, Row};

use crate::{
    auth::{Actor, Auth, Grant},
    error::{Error, FieldError},
    model::Conflict,
};

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The user was made.
    Created,
    /// The user was there and was changed.
    Updated,
    /// The user was there and just like that.
    Unchanged,
    /// The user was there and was left alone.
    Skipped,
    /// Nothing was done; the errors say why.
    Failed,
}

impl Outcome {
    /// The word for reports.
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

/// What became of a row.
#[derive(Clone, Debug)]
pub struct RowReport {
    /// The line it begins on, from 1.
    pub line: u64,
    /// Whom it is about, if it is a username at all.
    pub username: Option<String>,
    /// What happened.
    pub outcome: Outcome,
    /// Why nothing was done.
    pub errors: Vec<FieldError>,
}

/// What became of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Users that were made.
    pub created: u64,
    /// Users that were changed.
    pub updated: u64,
    /// Users that were like that already.
    pub unchanged: u64,
    /// Rows that were left out because somebody has the username.
    pub skipped: u64,
    /// Rows that could not be taken.
    pub failed: u64,
    /// The line at which the import ended before its end, and why.
    pub stopped: Option<(u64, FieldError)>,
}

impl Summary {
    /// Counts a row.
    pub fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Created => &mut self.created,
            Outcome::Updated => &mut self.updated,
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Failed => &mut self.failed,
        } += 1;
    }

    /// How many rows were read.
    pub fn rows(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.skipped + self.failed
    }
}

/// How an import is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Import {
    /// Who does it.
    pub actor: Actor,
    /// What they were let in by, to be asked again before each batch.
    pub grant: Option<Grant>,
    /// What to do about usernames that somebody has.
    pub conflict: Conflict,
    /// Whether to do everything but keep it.
    pub dry_run: bool,
}

/// What came of a transaction: the reports, and the line that ended the import, in which case nothing was kept.
#[derive(Default)]
struct Done {
    reports: Vec<RowReport>,
    stopped: Option<u64>,
}

/// What is still to be done.
struct Work {
    import: Import,
    rows: Rows,
    /// Whom a dry run would have made, which the database does not know.
    seen: SeenNames,
}

/// Usernames that a dry run has met, as hashes: of a million there are some megabytes.
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

/// How long a transaction takes in one batch after the other: others wait, but each commit writes the same index pages anew.
const HOLD: Duration = Duration::from_millis(500);
/// How long others have the writer between two transactions.
const PAUSE: Duration = Duration::from_millis(8);

impl Auth {
    /// Takes users in. `report` is told of each row in their order; when it fails, the import ends. [`Error::Invalid`] when
    /// nothing can be read at all.
    pub async fn import(
        &self,
        import: Import,
        rows: Rows,
        report: impl FnMut(RowReport) -> std::io::Result<()>,
    ) -> Result<Summary, Error> {
        let imported = self.take_all_in(Work { import, rows, seen: SeenNames::default() }, report).await;
        let auth = self.clone();
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            tx.end_bulk().await?;
            tx.commit().await
        })
        .await?;
        if let Err(error) = self.refresh_known_costs().await {
            tracing::warn!(%error, "what passwords cost was not learnt after an import");
        }
        imported
    }

    async fn take_all_in(
        &self,
        mut work: Work,
        mut report: impl FnMut(RowReport) -> std::io::Result<()>,
    ) -> Result<Summary, Error> {
        let (mut summary, grant) = (Summary::default(), work.import.grant);
        while let Some(batch) = work.rows.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(Broken { fault, .. }) if summary.rows() == 0 => return Err(Error::Invalid(vec![fault])),
                Err(Broken { line, fault }) => {
                    summary.stopped = Some((line, fault));
                    break;
                }
            };
            if let Some(grant) = grant {
                self.recheck(grant).await?;
            }
            let (done, rest) = self.take_in(work, batch).await?;
            work = rest;
            for row in done.reports {
                summary.count(row.outcome);
                report(row).map_err(|error| Error::Internal(error.into()))?;
            }
            if let Some(line) = done.stopped {
                summary.stopped = Some((line, taken("username")));
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(summary)
    }

    /// One transaction: a batch, and more of them if they are there in time.
    async fn take_in(&self, mut work: Work, rows: Vec<Row>) -> Result<(Done, Work), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut next = Some(Batch::of(rows, &work, now)?);
            let mut tx = auth.store.write_alone().await?;
            tx.begin_bulk().await?;
            let (begun, mut all) = (Instant::now(), Done::default());
            while let Some(batch) = next {
                let more = if begun.elapsed() < HOLD { work.rows.next_if_ready() } else { None };
                // While the database writes this one, the next is made ready.
                let ready = async { more.map(|rows| Batch::of(rows, &work, now)).transpose() };
                let (done, ready) = tokio::join!(batch::take_in(&mut tx, work.import, batch, now), ready);
                let done = done?;
                if done.stopped.is_some() {
                    return Ok((done, work));
                }
                all.reports.extend(done.reports);
                next = ready?;
            }
            if work.import.dry_run {
                let made = all.reports.iter().filter(|row| row.outcome == Outcome::Created);
                made.filter_map(|row| row.username.as_ref()).for_each(|name| work.seen.add(name));
            } else {
                tx.shrink_page_cache().await?;
                tx.commit().await?;
            }
            Ok((all, work))
        })
        .await
    }
}

fn taken(field: &'static str) -> FieldError {
    FieldError::new(field, "taken", "belongs to someone already")
}
