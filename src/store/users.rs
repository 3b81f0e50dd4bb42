//! `users`: who there is, with the hash of their password. A user's id and username are theirs alone; the hash is read
//! only to check a password and leaves this folder as a [`PasswordHash`], which does not print.

use super::{Conn, Tx, execute, fetch_all, fetch_optional, fetch_scalar};
use crate::{
    error::Error,
    model::{PasswordHash, Roles, Status, Timestamp, User, UserId},
};

pub(super) struct UserRow {
    pub id: UserId,
    pub username: String,
    pub name: Option<String>,
    pub email: Option<String>,
    pub roles: String,
    pub status: Status,
    pub must_change_password: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_login_at: Option<Timestamp>,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            username: row.username,
            name: row.name,
            email: row.email,
            roles: Roles::from(row.roles),
            status: row.status,
            must_change_password: row.must_change_password,
            created_at: row.created_at,
            updated_at: row.updated_at,
            last_login_at: row.last_login_at,
        }
    }
}

struct HashRow {
    id: UserId,
    password_hash: PasswordHash,
}

struct StatusRow {
    status: Status,
}

struct NameRow {
    id: UserId,
    name: String,
}

/// Every column of a user but the hash.
macro_rules! fetch_users {
    ($fetch:ident, $conn:expr, $rest:tt, $($arg:expr),*) => {
        $fetch!(
            $conn,
            UserRow,
            r#"SELECT id AS "id!: UserId", username AS "username!", name, email, roles AS "roles!",
            status AS "status!: Status", must_change_password AS "must_change_password!: bool",
            created_at AS "created_at!: Timestamp", updated_at AS "updated_at!: Timestamp",
            last_login_at AS "last_login_at: Timestamp" FROM users "# + $rest,
            $($arg),*
        )
    };
}

impl Conn {
    /// The user with this id.
    pub async fn user(&mut self, id: UserId) -> Result<Option<User>, Error> {
        Ok(fetch_users!(fetch_optional, self, "WHERE id = $1", id as _)?.map(User::from))
    }

    /// Which active user has this username, and the hash to check their password against. A disabled user is not found,
    /// so that to whoever tries one they are nobody, in every way down to the time it takes.
    pub async fn password_of(&mut self, username: &str) -> Result<Option<(UserId, PasswordHash)>, Error> {
        let row = fetch_optional!(
            self,
            HashRow,
            r#"SELECT id AS "id!: UserId", password_hash AS "password_hash!: PasswordHash" FROM users
            WHERE username = $1 AND status = 'active'"#,
            username,
        )?;
        Ok(row.map(|row| (row.id, row.password_hash)))
    }

    /// Users in the order they were made, from the one after `after`.
    pub async fn users(&mut self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, Error> {
        let (after, limit) = (after.unwrap_or_default(), i64::from(limit));
        let rows = fetch_users!(fetch_all, self, "WHERE id > $1 ORDER BY id LIMIT $2", after as _, limit)?;
        Ok(rows.into_iter().map(User::from).collect())
    }

    /// Ids and display names of active users in the order they were made, from the one after `after`.
    pub async fn directory(&mut self, after: Option<UserId>, limit: u32) -> Result<Vec<(UserId, String)>, Error> {
        let (after, limit) = (after.unwrap_or_default(), i64::from(limit));
        let rows = fetch_all!(
            self,
            NameRow,
            r#"SELECT id AS "id!: UserId", COALESCE(name, username) AS "name!" FROM users
            WHERE id > $1 AND status = 'active' ORDER BY id LIMIT $2"#,
            after as _,
            limit,
        )?;
        Ok(rows.into_iter().map(|row| (row.id, row.name)).collect())
    }

    /// Whether there is an admin who can come in. It reads only users with uncommon roles, by their index.
    pub async fn has_admin(&mut self) -> Result<bool, Error> {
        Ok(fetch_scalar!(
            self,
            r#"SELECT EXISTS (SELECT 1 FROM users WHERE roles <> 'user' AND status = 'active'
            AND ' ' || roles || ' ' LIKE '% admin %') AS "has_admin!: bool""#,
        )?)
    }
}

impl Tx {
    /// Adds a user. [`Error::UsernameTaken`] when someone has the name.
    pub async fn insert_user(&mut self, user: &User, hash: &PasswordHash) -> Result<(), Error> {
        let (roles, status) = (user.roles.to_string(), user.status.as_str());
        let inserted = execute!(
            &mut **self,
            "INSERT INTO users (id, username, name, email, roles, status, password_hash, must_change_password, created_at,
            updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (username) DO NOTHING",
            user.id as _,
            user.username,
            user.name,
            user.email,
            roles,
            status,
            hash as _,
            user.must_change_password,
            user.created_at as _,
            user.updated_at as _,
        )?;
        if inserted == 1 { Ok(()) } else { Err(Error::UsernameTaken) }
    }

    /// Keeps everyone else from changing this user, and from beginning sessions for them, until this transaction ends. Tells
    /// whether there is such a user, and whether they are active.
    pub async fn lock_user(&mut self, id: UserId) -> Result<Option<Status>, Error> {
        let row = fetch_optional!(
            &mut **self,
            StatusRow,
            r#"UPDATE users SET status = status WHERE id = $1 RETURNING status AS "status!: Status""#,
            id as _,
        )?;
        Ok(row.map(|row| row.status))
    }

    /// Puts a stronger hash of the same password in place of the one that was checked, unless it has changed since.
    pub async fn upgrade_hash(&mut self, id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<(), Error> {
        execute!(
            &mut **self,
            "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3",
            new as _,
            id as _,
            old as _,
        )?;
        Ok(())
    }

    /// Notes a login, if the user is still active and the hash still the one that was checked: a change made while the
    /// hash ran counts. Tells whether they are.
    pub async fn note_login(&mut self, id: UserId, checked: &PasswordHash, now: Timestamp) -> Result<bool, Error> {
        let noted = execute!(
            &mut **self,
            "UPDATE users SET last_login_at = $1 WHERE id = $2 AND password_hash = $3 AND status = 'active'",
            now as _,
            id as _,
            checked as _,
        )?;
        Ok(noted == 1)
    }
}
