//! A batch of rows of an import: checking the rows and writing them.

use std::collections::{HashMap, HashSet};

use crate::auth::passwords::formats;
use crate::auth::users::import::{Import, Invite, Outcome, Row, RowReport, State, Written, taken, update};
use crate::auth::{Auth, random};
use crate::error::{Error, FieldError};
use crate::model::{
    Conflict, Event, HashedPassword, LinkPurpose, PasswordHash, Roles, SecretPurpose, Status, Timestamp, User, UserId,
    UserRecord, is_deliverable,
};
use crate::store::{PackedUsers, Tx};

/// A batch of rows, prepared without access to the database.
pub struct Batch {
    /// Each row with the id of the user to insert, or `None` if it has errors, or its username is known to exist.
    rows: Vec<(Row, Option<UserId>)>,
    /// The users to insert.
    users: PackedUsers,
    /// Those of them who are active admins with a password.
    admins: Vec<UserId>,
    /// Those of them who are to be invited.
    invited: HashMap<UserId, User>,
    /// Those of them whose e-mail address is verified.
    verified: Vec<UserId>,
}

impl Batch {
    pub fn new(rows: Vec<Row>, state: &State, now: Timestamp) -> Result<Self, Error> {
        let (mut names, mut given, mut ids) = (HashSet::new(), HashSet::new(), new_ids(rows.len(), now).into_iter());
        let (mut users, mut verified) = (Vec::with_capacity(rows.len()), Vec::new());
        let mut id_to_insert = |row: &mut Row| {
            let record = row.record.as_ref().ok()?;
            if state.seen.contains(&record.username) || !names.insert(record.username.clone()) {
                return None;
            }
            let error = if record.id.is_some_and(|id| !given.insert(id)) {
                taken("id")
            } else if let Some(hash) = record
                .password_hash
                .clone()
                .or_else(|| (state.import.invite != Invite::Nobody).then(PasswordHash::none))
            {
                let user = new_user(record, record.id.or_else(|| ids.next()).unwrap_or_default(), now);
                let id = user.id;
                if record.email_verified == Some(true) {
                    verified.push(id);
                }
                users.push((user, formats::with_scheme(hash)));
                return Some(id);
            } else if state.import.conflict == Conflict::Update {
                return None;
            } else {
                record.id.map(|id| given.remove(&id));
                FieldError::new("password_hash", "required", "is missing")
            };
            // A later row may have this name, and that id unless it is another's.
            names.remove(&record.username);
            row.record = Err(vec![error]);
            None
        };
        let with_id = |mut row| {
            let id = id_to_insert(&mut row);
            (row, id)
        };
        let rows = rows.into_iter().map(with_id).collect();
        // In the order of the index, so that rows on the same page are written together.
        users.sort_unstable_by(|(a, _), (b, _)| a.username.cmp(&b.username));
        let is_admin = |(user, password): &&(User, HashedPassword)| user.is_active_admin() && !password.hash.is_none();
        let admins = users.iter().filter(is_admin).map(|(user, _)| user.id).collect();
        let is_invited = |(user, password): &&(User, HashedPassword)| {
            state.import.invite != Invite::Nobody && user.status == Status::Active && password.hash.is_none()
        };
        let invited = users.iter().filter(is_invited).map(|(user, _)| (user.id, user.clone())).collect();
        Ok(Self { rows, users: PackedUsers::new(&users)?, admins, invited, verified })
    }
}

/// Writes a batch and returns a report of each row.
pub async fn write(auth: &Auth, tx: &mut Tx, import: Import, batch: Batch, now: Timestamp) -> Result<Written, Error> {
    // This must come before any other lock, see `lock_admins`.
    let mut admins = match import.conflict {
        Conflict::Update => tx.lock_admins().await?,
        Conflict::Skip | Conflict::Fail => Vec::new(),
    };
    let given: Vec<UserId> = batch.rows.iter().filter_map(|(row, _)| row.record.as_ref().ok()?.id).collect();
    let owners = tx.usernames_of(&given).await?;
    let inserted = tx.insert_users(&batch.users).await?;
    let is_created = |id: &UserId| !owners.contains_key(id) && inserted.contains(id);
    let verified: Vec<_> = batch.verified.iter().copied().filter(is_created).collect();
    tx.verify_emails_of(&verified).await?;
    admins.extend(batch.admins.iter().copied().filter(is_created));
    if !admins.is_empty() {
        tx.use_up_secret(SecretPurpose::Setup, None, now).await?;
    }

    let mut reports = Vec::with_capacity(batch.rows.len());
    for (Row { line, username, record }, id) in batch.rows {
        let (mut link, created) = (None, id.filter(is_created));
        let (outcome, errors) = match record {
            Err(errors) => (Outcome::Failed, errors),
            Ok(_) if created.is_some() => {
                if let Some(user) = created.and_then(|id| batch.invited.get(&id)) {
                    // Whoever has no address that mail can be sent to is handed the link.
                    let deliver = import.invite == Invite::ByMail && user.email.as_deref().is_some_and(is_deliverable);
                    link = Some(auth.issue_link(tx, user, LinkPurpose::Invitation, deliver, now).await?);
                }
                (Outcome::Created, Vec::new())
            }
            Ok(record) if has_id_of_other(&record, &owners) => (Outcome::Failed, vec![taken("id")]),
            Ok(record) => match import.conflict {
                Conflict::Skip => (Outcome::Skipped, Vec::new()),
                Conflict::Update => update::update_from(auth, tx, import, &record, &mut admins, now).await?,
                Conflict::Fail => {
                    let errors = vec![taken("username")];
                    let reports = vec![RowReport { line, username, outcome: Outcome::Failed, errors, link }];
                    return Ok(Written { reports, stopped: Some(line) });
                }
            },
        };
        reports.push(RowReport { line, username, outcome, errors, link });
    }
    // One audit record for all created users. Updated users have records of their own.
    let created = reports.iter().filter(|report| report.outcome == Outcome::Created).count();
    if let (1.., Some(first), Some(last)) = (created, reports.first(), reports.last()) {
        let target = format!("{created} users, lines {} to {}", first.line, last.line);
        tx.record(import.actor.did(Event::UsersImported, now).to(target));
    }
    let links = reports.iter().filter(|report| report.link.is_some()).count();
    if links > 0 {
        let target = format!("{links} of {}", LinkPurpose::Invitation.as_str());
        tx.record(import.actor.did(Event::LinkCreated, now).to(target));
    }
    Ok(Written { reports, stopped: None })
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

/// Returns the user that a row creates.
fn new_user(record: &UserRecord, id: UserId, now: Timestamp) -> User {
    let default = || [Roles::DEFAULT].into_iter().collect();
    User {
        name: record.name.clone(),
        email: record.email.clone(),
        roles: record.roles.as_ref().map_or_else(default, |roles| roles.iter().collect()),
        status: record.status.unwrap_or(Status::Active),
        must_change_password: record.must_change_password.unwrap_or(false),
        created_at: record.created_at.unwrap_or(now),
        last_login_at: record.last_login_at,
        ..User::new(id, record.username.clone(), now)
    }
}
