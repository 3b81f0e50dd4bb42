//! A batch of rows of an import: checking the rows and writing them.

use std::collections::{HashMap, HashSet};

use crate::{
    auth::{
        Actor, random,
        users::import::{Import, Outcome, Row, RowReport, State, Written, taken, update},
    },
    error::{Error, FieldError},
    model::{Conflict, Event, Roles, Status, Timestamp, User, UserId, UserRecord},
    store::{PackedUsers, Tx},
};

/// What to do with a row.
enum Plan {
    /// Insert a user with this id, unless the username exists.
    Insert(UserId),
    /// Handle a username that exists, or appeared earlier in the import.
    Conflict,
    /// Report errors.
    Fail(Vec<FieldError>),
}

/// A batch of rows, prepared without access to the database.
pub struct Batch {
    rows: Vec<(Row, Plan)>,
    /// The users to insert.
    users: PackedUsers,
    /// Those of them who are active admins.
    admins: Vec<UserId>,
}

impl Batch {
    pub fn new(rows: Vec<Row>, state: &State, now: Timestamp) -> Result<Self, Error> {
        let (mut names, mut given, mut ids) = (HashSet::new(), HashSet::new(), new_ids(rows.len(), now).into_iter());
        let mut users = Vec::with_capacity(rows.len());
        let mut plan = |row: &Row| {
            let record = match &row.record {
                Err(errors) => return Plan::Fail(errors.clone()),
                Ok(record) => record,
            };
            if state.seen.contains(&record.username) || !names.insert(record.username.clone()) {
                return Plan::Conflict;
            }
            if record.id.is_some_and(|id| !given.insert(id)) {
                return Plan::Fail(vec![taken("id")]);
            }
            match (&record.password_hash, state.import.conflict) {
                (Some(hash), _) => {
                    let user = new_user(record, record.id.or_else(|| ids.next()).unwrap_or_default(), now);
                    let id = user.id;
                    users.push((user, hash.clone()));
                    Plan::Insert(id)
                }
                (None, Conflict::Update) => Plan::Conflict,
                (None, Conflict::Skip | Conflict::Fail) => {
                    Plan::Fail(vec![FieldError::new("password_hash", "required", "is missing")])
                }
            }
        };
        let plans: Vec<Plan> = rows.iter().map(&mut plan).collect();
        // In the order of the index, so that rows on the same page are written together.
        users.sort_unstable_by(|(a, _), (b, _)| a.username.cmp(&b.username));
        let admins = users.iter().map(|(user, _)| user).filter(|user| user.is_active_admin()).map(|user| user.id);
        let admins = admins.collect();
        Ok(Self { rows: rows.into_iter().zip(plans).collect(), users: PackedUsers::new(&users)?, admins })
    }
}

/// Writes a batch and returns a report of each row.
pub async fn write(tx: &mut Tx, import: Import, batch: Batch, now: Timestamp) -> Result<Written, Error> {
    // This must come before any other lock, see `lock_admins`.
    let mut admins = match import.conflict {
        Conflict::Update => tx.lock_admins().await?,
        Conflict::Skip | Conflict::Fail => Vec::new(),
    };
    let given: Vec<UserId> = batch.rows.iter().filter_map(|(row, _)| row.record.as_ref().ok()?.id).collect();
    let owners = tx.usernames_of(&given).await?;
    let inserted = tx.insert_users(&batch.users).await?;
    let is_created = |id: &UserId| !owners.contains_key(id) && inserted.contains(id);
    admins.extend(batch.admins.into_iter().filter(is_created));
    if !admins.is_empty() {
        tx.delete_setup_token().await?;
    }

    let (mut reports, span) = (Vec::with_capacity(batch.rows.len()), Span::of(&batch.rows));
    for (row, plan) in batch.rows {
        let (outcome, errors) = match (plan, &row.record) {
            (Plan::Fail(errors), _) => (Outcome::Failed, errors),
            (_, Err(errors)) => (Outcome::Failed, errors.clone()),
            (Plan::Insert(id), _) if is_created(&id) => (Outcome::Created, Vec::new()),
            (_, Ok(record)) if has_id_of_other(record, &owners) => (Outcome::Failed, vec![taken("id")]),
            (_, Ok(record)) => match import.conflict {
                Conflict::Skip => (Outcome::Skipped, Vec::new()),
                Conflict::Update => update::update_from(tx, import.actor, record, &mut admins, now).await?,
                Conflict::Fail => {
                    let stopped = Some(row.line);
                    return Ok(Written {
                        reports: vec![report(row, Outcome::Failed, vec![taken("username")])],
                        stopped,
                    });
                }
            },
        };
        reports.push(report(row, outcome, errors));
    }
    record_import(tx, import.actor, span, &reports, now);
    Ok(Written { reports, stopped: None })
}

/// Writes one audit record for all created users of a batch. Updated users have records of their own.
fn record_import(tx: &mut Tx, actor: Actor, Span { first, last }: Span, reports: &[RowReport], now: Timestamp) {
    let created = reports.iter().filter(|report| report.outcome == Outcome::Created).count();
    if created > 0 {
        let target = format!("{created} users, lines {first} to {last}");
        tx.record(actor.did(Event::UsersImported, now).to(target));
    }
}

/// The first and the last line of a batch.
#[derive(Default)]
struct Span {
    first: u64,
    last: u64,
}

impl Span {
    fn of(rows: &[(Row, Plan)]) -> Self {
        match rows {
            [(first, _), .., (last, _)] => Self { first: first.line, last: last.line },
            [(only, _)] => Self { first: only.line, last: only.line },
            [] => Self::default(),
        }
    }
}

/// Returns whether a row has the id of a user with another username.
fn has_id_of_other(record: &UserRecord, owners: &HashMap<UserId, String>) -> bool {
    record.id.and_then(|id| owners.get(&id)).is_some_and(|owner| *owner != record.username)
}

/// Creates sorted ids.
fn new_ids(count: usize, now: Timestamp) -> Vec<UserId> {
    let mut ids: Vec<UserId> = (0..count).map(|_| UserId::new(now, random())).collect();
    ids.sort_unstable();
    ids
}

fn report(row: Row, outcome: Outcome, errors: Vec<FieldError>) -> RowReport {
    RowReport { line: row.line, username: row.username, outcome, errors }
}

/// Returns the user that a row creates.
fn new_user(record: &UserRecord, id: UserId, now: Timestamp) -> User {
    User {
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
    }
}
