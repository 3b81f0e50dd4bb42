//! Users brought along from elsewhere, with the hashes of their passwords, so that nobody has to choose another one.
//!
//! Rule: a row keeps the rules of a user that is made here; rows are written in batches, each a transaction with its record
//! in the audit trail, so an import that is interrupted leaves whole batches and can be run again. Threats: an import that
//! takes the machine's memory or the one writer for minutes, a hash that could never be checked, and a row that takes over
//! or locks out somebody who is there.

mod rows;
mod update;

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use rows::{Broken, Row};
pub use rows::{Format, Rows};

use super::{Actor, Auth, Standing, audit, random};
use crate::{
    error::{Error, FieldError},
    model::{Conflict, Event, PasswordHash, Roles, Status, Timestamp, User, UserId, UserRecord},
    store::Tx,
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
    pub standing: Option<Standing>,
    /// What to do about usernames that somebody has.
    pub conflict: Conflict,
    /// Whether to do everything but keep it.
    pub dry_run: bool,
}

/// What came of a batch: the reports, and the line that ended the import.
struct Done {
    reports: Vec<RowReport>,
    stopped: Option<u64>,
}

/// Usernames that a dry run has met, as hashes: of a million there are some megabytes.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    names: HashSet<u64>,
}

impl Seen {
    fn add(&mut self, name: &str) {
        self.names.insert(self.hasher.hash_one(name));
    }

    fn contains(&self, name: &str) -> bool {
        !self.names.is_empty() && self.names.contains(&self.hasher.hash_one(name))
    }
}

/// How often a batch is tried when somebody else takes one of its usernames meanwhile.
const TRIES: usize = 3;

impl Auth {
    /// Takes users in. `report` is told of each row in their order; when it fails, the import ends. [`Error::Invalid`] when
    /// nothing can be read at all.
    pub async fn import(
        &self,
        import: Import,
        mut rows: Rows,
        mut report: impl FnMut(RowReport) -> std::io::Result<()>,
    ) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        let mut seen = Seen::default();
        while let Some(batch) = rows.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(Broken { fault, .. }) if summary.rows() == 0 => return Err(Error::Invalid(vec![fault])),
                Err(Broken { line, fault }) => {
                    summary.stopped = Some((line, fault));
                    break;
                }
            };
            if let Some(standing) = import.standing {
                self.confirm(standing).await?;
            }
            let (done, names) = self.take_in(import, batch, seen).await?;
            seen = names;
            for row in done.reports {
                summary.count(row.outcome);
                report(row).map_err(|error| Error::Internal(error.into()))?;
            }
            if let Some(line) = done.stopped {
                summary.stopped = Some((line, taken()));
                break;
            }
        }
        self.learn_schemes().await?;
        Ok(summary)
    }

    /// Takes a batch in. `seen` are the usernames of a dry run so far, which the database does not know.
    async fn take_in(&self, import: Import, batch: Vec<Row>, mut seen: Seen) -> Result<(Done, Seen), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            for _ in 0..TRIES {
                let mut tx = auth.store.write().await?;
                let Some(done) = tx.take_in(import, &batch, &seen, now).await? else { continue };
                if import.dry_run {
                    batch.iter().filter_map(|row| row.username.as_deref()).for_each(|name| seen.add(name));
                } else if done.stopped.is_none() {
                    tx.commit().await?;
                }
                return Ok((done, seen));
            }
            Err(Error::Busy { retry_after: std::time::Duration::from_secs(1) })
        })
        .await
    }
}

fn taken() -> FieldError {
    FieldError::new("username", "taken", "belongs to someone already")
}

impl Tx {
    /// Writes a batch; none when somebody else took one of its usernames meanwhile.
    async fn take_in(
        &mut self,
        import: Import,
        batch: &[Row],
        seen: &Seen,
        now: Timestamp,
    ) -> Result<Option<Done>, Error> {
        // Before any other lock, see `lock_admins`.
        let mut admins = match import.conflict {
            Conflict::Update => self.lock_admins().await?,
            Conflict::Skip | Conflict::Fail => Vec::new(),
        };
        let names: Vec<&str> = batch.iter().filter_map(|row| row.username.as_deref()).collect();
        let mut names_taken = self.taken_usernames(&names).await?;
        let ids: Vec<UserId> = batch.iter().filter_map(|row| row.record.as_ref().ok()?.id).collect();
        let mut ids_taken = self.taken_ids(&ids).await?;
        let mut new_ids = new_ids(batch.len(), now).into_iter();

        let (mut reports, mut new) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for row in batch {
            let (outcome, errors) = match &row.record {
                Err(errors) => (Outcome::Failed, errors.clone()),
                Ok(record) if names_taken.contains(&record.username) || seen.contains(&record.username) => {
                    match import.conflict {
                        Conflict::Skip => (Outcome::Skipped, Vec::new()),
                        // Below, after those that are new: it may be one of them.
                        Conflict::Update => (Outcome::Unchanged, Vec::new()),
                        Conflict::Fail => {
                            let report = report(row, Outcome::Failed, vec![taken()]);
                            return Ok(Some(Done { reports: vec![report], stopped: Some(row.line) }));
                        }
                    }
                }
                Ok(record) => match new_user(record, new_ids.next(), &mut ids_taken, now) {
                    Ok(user) => {
                        names_taken.insert(record.username.clone());
                        new.push(user);
                        (Outcome::Created, Vec::new())
                    }
                    Err(error) => (Outcome::Failed, vec![error]),
                },
            };
            reports.push(report(row, outcome, errors));
        }
        if self.insert_users(&new).await? != new.len() {
            return Ok(None);
        }
        if new.iter().any(|(user, _)| user.is_active_admin()) {
            self.delete_setup_token().await?;
        }
        admins.extend(new.iter().filter(|(user, _)| user.is_active_admin()).map(|(user, _)| user.id));
        for (row, report) in batch.iter().zip(&mut reports) {
            if let (Outcome::Unchanged, Ok(record)) = (report.outcome, &row.record) {
                match self.update_from(import.actor, record, &mut admins, now).await? {
                    Ok(outcome) => report.outcome = outcome,
                    Err(error) => (report.outcome, report.errors) = (Outcome::Failed, vec![error]),
                }
            }
        }
        self.record_import(import.actor, batch, &reports, now).await?;
        Ok(Some(Done { reports, stopped: None }))
    }

    /// One record for all who were made: an import is one act. Those who were changed have their own.
    async fn record_import(
        &mut self,
        actor: Actor,
        batch: &[Row],
        reports: &[RowReport],
        now: Timestamp,
    ) -> Result<(), Error> {
        let created = reports.iter().filter(|report| report.outcome == Outcome::Created).count();
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        if created == 0 {
            return Ok(());
        }
        let target = format!("{created} users, lines {} to {}", first.line, last.line);
        audit::record(self, actor.did(Event::UsersImported, now).to(target)).await
    }
}

/// Ids for so many users, in their order.
fn new_ids(count: usize, now: Timestamp) -> Vec<UserId> {
    let mut ids: Vec<UserId> = (0..count).map(|_| UserId::new(now, random())).collect();
    ids.sort_unstable();
    ids
}

fn report(row: &Row, outcome: Outcome, errors: Vec<FieldError>) -> RowReport {
    RowReport { line: row.line, username: row.username.clone(), outcome, errors }
}

/// The user that a row makes, with the id that is given or this one.
fn new_user(
    record: &UserRecord,
    id: Option<UserId>,
    ids_taken: &mut HashSet<UserId>,
    now: Timestamp,
) -> Result<(User, PasswordHash), FieldError> {
    let hash =
        record.password_hash.clone().ok_or_else(|| FieldError::new("password_hash", "required", "is missing"))?;
    let id = record.id.or(id).unwrap_or_default();
    if !ids_taken.insert(id) {
        return Err(FieldError::new("id", "taken", "belongs to someone already"));
    }
    let user = User {
        id,
        username: record.username.clone(),
        name: record.name.clone(),
        email: record.email.clone(),
        roles: match &record.roles {
            Some(roles) => roles.iter().collect(),
            None => [Roles::DEFAULT].into_iter().collect(),
        },
        status: record.status.unwrap_or(Status::Active),
        must_change_password: record.must_change_password.unwrap_or(false),
        created_at: record.created_at.unwrap_or(now),
        updated_at: now,
        last_login_at: record.last_login_at,
    };
    Ok((user, hash))
}
