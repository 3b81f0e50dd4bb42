//! Export of all users with their password hashes, in the format of an import.
//!
//! Rule: an export is recorded in the audit trail before the first hash is read; each page is a query of its own, so
//! that an export blocks nobody. Threat: a stolen session of an admin that copies the whole table unnoticed.

use serde::Serialize;

use crate::auth::{Actor, Auth};
use crate::error::Error;
use crate::model::{Event, Format, PasswordHash, Roles, Status, Timestamp, User, UserId, UserRecord, to_csv_cell};

/// The users in a page.
const PAGE: u32 = 1000;

/// A row of an export. It is the only type that serializes a password hash.
#[derive(Serialize)]
struct ExportRow<'a> {
    id: UserId,
    username: &'a str,
    name: Option<&'a str>,
    email: Option<&'a str>,
    email_verified: bool,
    roles: &'a Roles,
    status: Status,
    must_change_password: bool,
    password_hash: &'a str,
    created_at: Timestamp,
    last_login_at: Option<Timestamp>,
}

impl Auth {
    /// Records the beginning of an export. Call this before [`Auth::export_page`].
    pub async fn begin_export(&self, actor: Actor) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            tx.record(actor.did(Event::UsersExported, now));
            tx.commit().await
        })
        .await
    }

    /// Returns the page after the id `after`, in the order of ids, with its last id, or `None` at the end. The export
    /// is no snapshot: each user is in the state of the moment in which the page is read.
    pub async fn export_page(&self, after: UserId) -> Result<Option<(Vec<(User, PasswordHash)>, UserId)>, Error> {
        let page = self.store.read().await?.users_with_hashes(after, PAGE).await?;
        let last = page.last().map(|(user, _)| user.id);
        Ok(last.map(|last| (page, last)))
    }
}

/// Returns the header line of a format, or an empty string.
pub fn header(format: Format) -> String {
    match format {
        Format::Csv => UserRecord::FIELDS.join(",") + "\n",
        Format::Ndjson => String::new(),
    }
}

/// Serializes users, one per line.
pub fn write_users(format: Format, users: &[(User, PasswordHash)]) -> Result<Vec<u8>, Error> {
    let rows = users.iter().map(|(user, hash)| ExportRow {
        id: user.id,
        username: &user.username,
        name: user.name.as_deref(),
        email: user.email.as_deref(),
        email_verified: user.email_verified,
        roles: &user.roles,
        status: user.status,
        must_change_password: user.must_change_password,
        password_hash: &hash.0,
        created_at: user.created_at,
        last_login_at: user.last_login_at,
    });
    let mut lines = Vec::new();
    match format {
        Format::Ndjson => {
            for row in rows {
                serde_json::to_writer(&mut lines, &row).map_err(|error| Error::Internal(error.into()))?;
                lines.push(b'\n');
            }
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(&mut lines);
            for row in rows {
                csv.write_record(cells(&row)).map_err(|error| Error::Internal(error.into()))?;
            }
            csv.flush().map_err(|error| Error::Internal(error.into()))?;
        }
    }
    Ok(lines)
}

/// Returns the CSV fields in the order of [`UserRecord::FIELDS`]; absent ones are empty.
fn cells(row: &ExportRow<'_>) -> [String; UserRecord::FIELDS.len()] {
    [
        row.id.to_string(),
        to_csv_cell(row.username),
        to_csv_cell(row.name.unwrap_or_default()),
        to_csv_cell(row.email.unwrap_or_default()),
        row.email_verified.to_string(),
        row.roles.to_string(),
        row.status.as_str().to_owned(),
        row.must_change_password.to_string(),
        row.password_hash.to_owned(),
        row.created_at.to_string(),
        row.last_login_at.map(|at| at.to_string()).unwrap_or_default(),
    ]
}
