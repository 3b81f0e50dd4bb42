//! `users`: who there is, with the hash of their password. A user's id and username are theirs alone; the hash is read
//! only to check a password and leaves this folder as a [`PasswordHash`], which does not print.

use super::{Conn, Tx, execute, fetch_all, fetch_optional, fetch_scalar};
use crate::{
    error::Error,
    model::{PasswordHash, Status, Timestamp, User, UserId, search_key},
};

/// A row with every column of a user but the hash, and these: sqlx fills no struct within a struct.
macro_rules! user_row {
    ($vis:vis struct $Row:ident { $($field:ident: $Type:ty),* $(,)? }) => {
        $vis struct $Row {
            $(pub $field: $Type,)*
            pub id: $crate::model::UserId,
            pub username: String,
            pub name: Option<String>,
            pub email: Option<String>,
            pub roles: String,
            pub status: $crate::model::Status,
            pub must_change_password: bool,
            pub created_at: $crate::model::Timestamp,
            pub updated_at: $crate::model::Timestamp,
            pub last_login_at: Option<$crate::model::Timestamp>,
        }
    };
}
pub(super) use user_row;

/// The user of such a row.
macro_rules! user_of {
    ($row:ident) => {
        $crate::model::User {
            id: $row.id,
            username: $row.username,
            name: $row.name,
            email: $row.email,
            roles: $crate::model::Roles::from($row.roles),
            status: $row.status,
            must_change_password: $row.must_change_password,
            created_at: $row.created_at,
            updated_at: $row.updated_at,
            last_login_at: $row.last_login_at,
        }
    };
}
pub(super) use user_of;

user_row! { pub(super) struct UserRow {} }

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        user_of!(row)
    }
}

struct HashRow {
    id: UserId,
    password_hash: PasswordHash,
}

struct PasswordRow {
    id: UserId,
    password_hash: PasswordHash,
    status: Status,
}

struct IdRow {
    id: UserId,
}

struct StatusRow {
    status: Status,
}

/// Every column of a user but the hash, of rows that are read or that a statement has changed.
macro_rules! fetch_users {
    ($fetch:ident, $conn:expr, $before:tt, $after:tt, $($arg:expr),*) => {
        $fetch!(
            $conn,
            UserRow,
            $before + r#" id AS "id!: UserId", username AS "username!", name, email, roles AS "roles!",
            status AS "status!: Status", must_change_password AS "must_change_password!: bool",
            created_at AS "created_at!: Timestamp", updated_at AS "updated_at!: Timestamp",
            last_login_at AS "last_login_at: Timestamp" "# + $after,
            $($arg),*
        )
    };
}
pub(super) use fetch_users;

impl Conn {
    /// The user with this id.
    pub async fn user(&mut self, id: UserId) -> Result<Option<User>, Error> {
        Ok(fetch_users!(fetch_optional, self, "SELECT", "FROM users WHERE id = $1", id as _)?.map(User::from))
    }

    /// The user with this username.
    pub async fn user_named(&mut self, username: &str) -> Result<Option<User>, Error> {
        Ok(fetch_users!(fetch_optional, self, "SELECT", "FROM users WHERE username = $1", username)?.map(User::from))
    }

    /// Who has this username, the hash to check their password against, and whether they may come in.
    pub async fn password_of(&mut self, username: &str) -> Result<Option<(UserId, PasswordHash, Status)>, Error> {
        let row = fetch_optional!(
            self,
            PasswordRow,
            r#"SELECT id AS "id!: UserId", password_hash AS "password_hash!: PasswordHash", status AS "status!: Status"
            FROM users WHERE username = $1"#,
            username,
        )?;
        Ok(row.map(|row| (row.id, row.password_hash, row.status)))
    }

    /// The hashes of users in the order of their ids, from the one after `after`.
    pub async fn password_hashes(&mut self, after: UserId, limit: u32) -> Result<Vec<(UserId, PasswordHash)>, Error> {
        let limit = i64::from(limit);
        let rows = fetch_all!(
            self,
            HashRow,
            r#"SELECT id AS "id!: UserId", password_hash AS "password_hash!: PasswordHash" FROM users
            WHERE id > $1 ORDER BY id LIMIT $2"#,
            after as _,
            limit,
        )?;
        Ok(rows.into_iter().map(|row| (row.id, row.password_hash)).collect())
    }

    /// Whether this is the hash of the user's password.
    pub async fn is_password(&mut self, id: UserId, hash: &PasswordHash) -> Result<bool, Error> {
        Ok(fetch_scalar!(
            self,
            r#"SELECT EXISTS (SELECT 1 FROM users WHERE id = $1 AND password_hash = $2) AS "is_password!: bool""#,
            id as _,
            hash as _,
        )?)
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
        let (name_key, email_key) = (user.name.as_deref().map(search_key), user.email.as_deref().map(search_key));
        let inserted = execute!(
            &mut **self,
            "INSERT INTO users (id, username, name, email, roles, status, password_hash, must_change_password, created_at,
            updated_at, name_key, email_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
            ON CONFLICT (username) DO NOTHING",
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
            name_key,
            email_key,
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

    /// Writes what may be changed of a user.
    pub async fn update_user(&mut self, user: &User) -> Result<(), Error> {
        self.touch(user.id.0);
        let (roles, status) = (user.roles.to_string(), user.status.as_str());
        let (name_key, email_key) = (user.name.as_deref().map(search_key), user.email.as_deref().map(search_key));
        execute!(
            &mut **self,
            "UPDATE users SET name = $1, name_key = $2, email = $3, email_key = $4, roles = $5, status = $6,
            updated_at = $7 WHERE id = $8",
            user.name,
            name_key,
            user.email,
            email_key,
            roles,
            status,
            user.updated_at as _,
            user.id as _,
        )?;
        Ok(())
    }

    /// Gives a user another password.
    pub async fn set_password(
        &mut self,
        id: UserId,
        hash: &PasswordHash,
        must_change: bool,
        updated_at: Timestamp,
    ) -> Result<(), Error> {
        self.touch(id.0);
        execute!(
            &mut **self,
            "UPDATE users SET password_hash = $1, must_change_password = $2, updated_at = $3 WHERE id = $4",
            hash as _,
            must_change,
            updated_at as _,
            id as _,
        )?;
        Ok(())
    }

    /// Says whether a user must choose another password before anything else.
    pub async fn set_must_change_password(
        &mut self,
        id: UserId,
        must_change: bool,
        updated_at: Timestamp,
    ) -> Result<(), Error> {
        self.touch(id.0);
        execute!(
            &mut **self,
            "UPDATE users SET must_change_password = $1, updated_at = $2 WHERE id = $3",
            must_change,
            updated_at as _,
            id as _,
        )?;
        Ok(())
    }

    /// Takes a user away, with all that is theirs. Their sessions are to be ended before, or status lists would not know.
    pub async fn delete_user(&mut self, id: UserId) -> Result<(), Error> {
        self.touch(id.0);
        execute!(&mut **self, "DELETE FROM users WHERE id = $1", id as _)?;
        Ok(())
    }

    /// Keeps everyone else from changing any admin until this transaction ends, so that of two who take away the last two
    /// one comes late. Gives who can come in. It goes before any other lock: of two who did it last each could wait for the
    /// other for ever.
    pub async fn lock_admins(&mut self) -> Result<Vec<UserId>, Error> {
        let rows = fetch_all!(
            &mut **self,
            IdRow,
            r#"UPDATE users SET status = status WHERE roles <> 'user' AND status = 'active'
            AND ' ' || roles || ' ' LIKE '% admin %' RETURNING id AS "id!: UserId""#,
        )?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    /// Puts a stronger hash of the same password in place of the one that was checked, unless it has changed since.
    pub async fn upgrade_hash(&mut self, id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<(), Error> {
        self.touch(id.0);
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
    /// hash ran counts. Gives who they are then.
    pub async fn note_login(
        &mut self,
        id: UserId,
        checked: &PasswordHash,
        now: Timestamp,
    ) -> Result<Option<User>, Error> {
        self.touch(id.0);
        let user = fetch_users!(
            fetch_optional,
            &mut **self,
            "UPDATE users SET last_login_at = $1 WHERE id = $2 AND password_hash = $3 AND status = 'active' RETURNING",
            "",
            now as _,
            id as _,
            checked as _
        )?;
        Ok(user.map(User::from))
    }
}
