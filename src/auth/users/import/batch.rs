//! Some rows of an import, and what becomes of each.

use std::collections::{HashMap, HashSet};

use crate::{
    auth::{
        Actor,
        passwords::formats,
        random,
        users::import::{Done, Import, Outcome, Row, RowReport, Work, taken, update},
    },
    error::{Error, FieldError},
    model::{Conflict, Event, Roles, SecretPurpose, Status, Timestamp, User, UserId, UserRecord},
    store::{PackedUsers, Tx},
};

/// What is to become of a row.
enum Fate {
    /// Perhaps a user with this id, unless somebody has the username.
    New(UserId),
    /// Its username is somebody's.
    Taken,
    /// Nothing.
    Failed(Vec<FieldError>),
}

/// Rows, as far as they can be understood without a look at the database.
pub struct Batch {
    rows: Vec<(Row, Fate)>,
    /// All who may be new.
    users: PackedUsers,
    /// Those of them who could manage the rest.
    admins: Vec<UserId>,
}

impl Batch {
    pub fn of(rows: Vec<Row>, work: &Work, now: Timestamp) -> Result<Self, Error> {
        let (mut names, mut given, mut ids) = (HashSet::new(), HashSet::new(), new_ids(rows.len(), now).into_iter());
        let mut users = Vec::with_capacity(rows.len());
        let mut fate = |row: &Row| {
            let record = match &row.record {
                Err(errors) => return Fate::Failed(errors.clone()),
                Ok(record) => record,
            };
            if work.seen.contains(&record.username) || !names.insert(record.username.clone()) {
                return Fate::Taken;
            }
            if record.id.is_some_and(|id| !given.insert(id)) {
                return Fate::Failed(vec![taken("id")]);
            }
            match (&record.password_hash, work.import.conflict) {
                (Some(hash), _) => {
                    let user = new_user(record, record.id.or_else(|| ids.next()).unwrap_or_default(), now);
                    let id = user.id;
                    users.push((user, formats::with_scheme(hash.clone())));
                    Fate::New(id)
                }
                (None, Conflict::Update) => Fate::Taken,
                (None, Conflict::Skip | Conflict::Fail) => {
                    Fate::Failed(vec![FieldError::new("password_hash", "required", "is missing")])
                }
            }
        };
        let fates: Vec<Fate> = rows.iter().map(&mut fate).collect();
        // Neighbours in the index are written together.
        users.sort_unstable_by(|(a, _), (b, _)| a.username.cmp(&b.username));
        let admins = users.iter().map(|(user, _)| user).filter(|user| user.is_active_admin()).map(|user| user.id);
        let admins = admins.collect();
        Ok(Self { rows: rows.into_iter().zip(fates).collect(), users: PackedUsers::new(&users)?, admins })
    }
}

/// Writes a batch.
pub async fn take_in(tx: &mut Tx, import: Import, batch: Batch, now: Timestamp) -> Result<Done, Error> {
    // Before any other lock, see `lock_admins`.
    let mut admins = match import.conflict {
        Conflict::Update => tx.lock_admins().await?,
        Conflict::Skip | Conflict::Fail => Vec::new(),
    };
    let given: Vec<UserId> = batch.rows.iter().filter_map(|(row, _)| row.record.as_ref().ok()?.id).collect();
    let owners = tx.usernames_of(&given).await?;
    let made = tx.insert_users(&batch.users).await?;
    let is_made = |id: &UserId| !owners.contains_key(id) && made.contains(id);
    admins.extend(batch.admins.into_iter().filter(is_made));
    if !admins.is_empty() {
        tx.use_up_secret(SecretPurpose::Setup, None, now).await?;
    }

    let (mut reports, span) = (Vec::with_capacity(batch.rows.len()), Span::of(&batch.rows));
    for (row, fate) in batch.rows {
        let (outcome, errors) = match (fate, &row.record) {
            (Fate::Failed(errors), _) => (Outcome::Failed, errors),
            (_, Err(errors)) => (Outcome::Failed, errors.clone()),
            (Fate::New(id), _) if is_made(&id) => (Outcome::Created, Vec::new()),
            (_, Ok(record)) if is_of_another(record, &owners) => (Outcome::Failed, vec![taken("id")]),
            (_, Ok(record)) => match import.conflict {
                Conflict::Skip => (Outcome::Skipped, Vec::new()),
                Conflict::Update => update::update_from(tx, import.actor, record, &mut admins, now).await?,
                Conflict::Fail => {
                    let stopped = Some(row.line);
                    return Ok(Done { reports: vec![report(row, Outcome::Failed, vec![taken("username")])], stopped });
                }
            },
        };
        reports.push(report(row, outcome, errors));
    }
    record_import(tx, import.actor, span, &reports, now);
    Ok(Done { reports, stopped: None })
}

/// One record for all who were made: an import is one act. Those who were changed have their own.
fn record_import(tx: &mut Tx, actor: Actor, Span { first, last }: Span, reports: &[RowReport], now: Timestamp) {
    let created = reports.iter().filter(|report| report.outcome == Outcome::Created).count();
    if created > 0 {
        let target = format!("{created} users, lines {first} to {last}");
        tx.record(actor.did(Event::UsersImported, now).to(target));
    }
}

/// The lines that a batch is from.
#[derive(Default)]
struct Span {
    first: u64,
    last: u64,
}

impl Span {
    fn of(rows: &[(Row, Fate)]) -> Self {
        match rows {
            [(first, _), .., (last, _)] => Self { first: first.line, last: last.line },
            [(only, _)] => Self { first: only.line, last: only.line },
            [] => Self::default(),
        }
    }
}

/// Whether a row has the id of somebody with another username.
fn is_of_another(record: &UserRecord, owners: &HashMap<UserId, String>) -> bool {
    record.id.and_then(|id| owners.get(&id)).is_some_and(|owner| *owner != record.username)
}

/// Ids for so many users, in their order.
fn new_ids(count: usize, now: Timestamp) -> Vec<UserId> {
    let mut ids: Vec<UserId> = (0..count).map(|_| UserId::new(now, random())).collect();
    ids.sort_unstable();
    ids
}

fn report(row: Row, outcome: Outcome, errors: Vec<FieldError>) -> RowReport {
    RowReport { line: row.line, username: row.username, outcome, errors }
}

/// The user that a row makes.
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
