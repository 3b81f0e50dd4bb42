//! Users read out, with the hashes of their passwords, in the form that an import takes.
//!
//! Rule: whoever reads all hashes leaves a record of it before the first one; pages are read one after the other, so that
//! nobody waits for an export. Threat: a stolen session of an admin that takes the whole table along unseen.

use serde::Serialize;

use crate::{
    auth::{Actor, Auth},
    error::Error,
    model::{Event, Format, PasswordHash, Roles, Status, Timestamp, User, UserId, UserRecord},
};

/// Users that are read at a time.
const PAGE: u32 = 1000;

/// A user as they are written down. The one thing that shows a hash to others, which is what an export is for.
#[derive(Serialize)]
struct Written<'a> {
    id: UserId,
    username: &'a str,
    name: Option<&'a str>,
    email: Option<&'a str>,
    roles: &'a Roles,
    status: Status,
    must_change_password: bool,
    password_hash: &'a str,
    created_at: Timestamp,
    last_login_at: Option<Timestamp>,
}

impl Auth {
    /// Records that all users are about to be read out.
    pub async fn begin_export(&self, actor: Actor) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            tx.record(actor.did(Event::UsersExported, now));
            tx.commit().await
        })
        .await
    }

    /// The next users in the order of their ids, and where to go on; none at the end. Someone who is changed meanwhile is
    /// there as they were when their page was read.
    pub async fn export_page(&self, after: UserId) -> Result<Option<(Vec<(User, PasswordHash)>, UserId)>, Error> {
        let page = self.store.read().await?.users_with_hashes(after, PAGE).await?;
        let last = page.last().map(|(user, _)| user.id);
        Ok(last.map(|last| (page, last)))
    }
}

/// The line that a file in this form begins with, if it has one.
pub fn header(format: Format) -> String {
    match format {
        Format::Csv => UserRecord::FIELDS.join(",") + "\n",
        Format::Ndjson => String::new(),
    }
}

/// Writes users down, a line each.
pub fn write_users(format: Format, users: &[(User, PasswordHash)]) -> Result<Vec<u8>, Error> {
    let written = users.iter().map(|(user, hash)| Written {
        id: user.id,
        username: &user.username,
        name: user.name.as_deref(),
        email: user.email.as_deref(),
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
            for user in written {
                serde_json::to_writer(&mut lines, &user).map_err(|error| Error::Internal(error.into()))?;
                lines.push(b'\n');
            }
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(&mut lines);
            for user in written {
                csv.write_record(cells(&user)).map_err(|error| Error::Internal(error.into()))?;
            }
            csv.flush().map_err(|error| Error::Internal(error.into()))?;
        }
    }
    Ok(lines)
}

/// The fields in their order as text; what is not there is empty.
fn cells(user: &Written<'_>) -> [String; UserRecord::FIELDS.len()] {
    [
        user.id.to_string(),
        user.username.to_owned(),
        user.name.unwrap_or_default().to_owned(),
        user.email.unwrap_or_default().to_owned(),
        user.roles.to_string(),
        user.status.as_str().to_owned(),
        user.must_change_password.to_string(),
        user.password_hash.to_owned(),
        user.created_at.to_string(),
        user.last_login_at.map(|at| at.to_string()).unwrap_or_default(),
    ]
}
