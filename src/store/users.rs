//! `users`: who there is, with the hash of their password. A user's id and username are theirs alone; the hash is read
//! only to check a password and leaves this folder as a [`PasswordHash`], which does not print.

use super::{Conn, Tx, execute, fetch_all, fetch_optional, fetch_scalar};
use crate::{
    error::Error,
    model::{PasswordHash, Roles, Status, Timestamp, User, UserId, search_key},
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

struct NameRow {
    id: UserId,
    name: String,
}

/// How often a search asks for more when all it found had been found before.
const MOST_LOOKS: usize = 5;

struct FoundRow {
    found_by: String,
    id: UserId,
    username: String,
    name: Option<String>,
    email: Option<String>,
    roles: String,
    status: Status,
    must_change_password: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    last_login_at: Option<Timestamp>,
}

impl FoundRow {
    /// Whether nothing that comes before what this was found by begins so, too.
    fn is_first(&self, begin: &str) -> bool {
        let [name, email] = [&self.name, &self.email].map(|text| text.as_deref().map(search_key));
        let others = [Some(&self.username), name.as_ref(), email.as_ref()];
        others.into_iter().flatten().all(|other| !other.starts_with(begin) || *other >= self.found_by)
    }
}

impl From<FoundRow> for User {
    fn from(row: FoundRow) -> Self {
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

/// What matches the roles of whoever has this one, or of everyone. A role's name has no `%`, but `_` is a letter in it.
fn role_pattern(role: Option<&str>) -> String {
    role.map_or("%".to_owned(), |role| format!("% {} %", role.replace('_', "\\_")))
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

    /// Users with this role and status, if those are given, in the order they were made, from the one after `after`.
    pub async fn users(
        &mut self,
        role: Option<&str>,
        status: Option<Status>,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<User>, Error> {
        let (after, limit) = (after.unwrap_or_default(), i64::from(limit));
        let (status, pattern) = (status.map_or("", Status::as_str), role_pattern(role));
        // Nearly everyone is an active `user` and found on the way; who is something else has an index.
        let rows = match (role, status) {
            (_, "disabled") => fetch_users!(
                fetch_all,
                self,
                "SELECT",
                r"FROM users
                WHERE status = 'disabled' AND ' ' || roles || ' ' LIKE $1 ESCAPE '\' AND id > $2 ORDER BY id LIMIT $3",
                pattern,
                after as _,
                limit
            )?,
            (Some(role), _) if role != Roles::DEFAULT => fetch_users!(
                fetch_all,
                self,
                "SELECT",
                r"FROM users
                WHERE roles <> 'user' AND ' ' || roles || ' ' LIKE $1 ESCAPE '\' AND ($2 = '' OR status = $2) AND id > $3
                ORDER BY id LIMIT $4",
                pattern,
                status,
                after as _,
                limit
            )?,
            _ => fetch_users!(
                fetch_all,
                self,
                "SELECT",
                r"FROM users
                WHERE ' ' || roles || ' ' LIKE $1 ESCAPE '\' AND ($2 = '' OR status = $2) AND id > $3 ORDER BY id LIMIT $4",
                pattern,
                status,
                after as _,
                limit
            )?,
        };
        Ok(rows.into_iter().map(User::from).collect())
    }

    /// Users whose username, name or e-mail begins with this, in the order of what does, from after `after`: the key and
    /// the id of the last one seen. Someone who is found by more than one comes once, by the first. Also gives where to go on,
    /// if there may be more: where very many were found before by something else, that may be sooner than at `limit`.
    pub async fn users_beginning_with(
        &mut self,
        begin: &str,
        role: Option<&str>,
        status: Option<Status>,
        after: Option<(String, UserId)>,
        limit: usize,
    ) -> Result<(Vec<User>, Option<(String, UserId)>), Error> {
        let (mut users, mut seen) = (Vec::new(), after.unwrap_or((begin.to_owned(), UserId::default())));
        let mut last = None;
        for _ in 0..MOST_LOOKS {
            // Most are found twice, by their username and by an e-mail address that begins with it.
            let wanted = limit.saturating_mul(2).saturating_add(2);
            let rows = self.found(begin, role, status, &seen, wanted).await?;
            let are_all = rows.len() < wanted;
            for row in rows {
                let place = (row.found_by.clone(), row.id);
                // Found by two that are the same, they come twice in a row.
                let is_next = row.is_first(begin) && place != seen;
                if is_next && users.len() == limit {
                    return Ok((users, last));
                }
                if is_next {
                    users.push(row.into());
                    last = Some(place.clone());
                }
                seen = place;
            }
            if are_all {
                return Ok((users, None));
            }
        }
        Ok((users, Some(seen)))
    }

    /// What begins with this, after what was seen, in its order.
    async fn found(
        &mut self,
        begin: &str,
        role: Option<&str>,
        status: Option<Status>,
        (key, id): &(String, UserId),
        limit: usize,
    ) -> Result<Vec<FoundRow>, Error> {
        // Text is compared by its bytes, and nothing that goes on from here comes after the last code point.
        let end = format!("{begin}\u{10ffff}");
        let (status, pattern) = (status.map_or("", Status::as_str), role_pattern(role));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(fetch_all!(
            self,
            FoundRow,
            r#"SELECT found_by AS "found_by!", id AS "id!: UserId", username AS "username!", name, email, roles AS "roles!",
            status AS "status!: Status", must_change_password AS "must_change_password!: bool",
            created_at AS "created_at!: Timestamp", updated_at AS "updated_at!: Timestamp",
            last_login_at AS "last_login_at: Timestamp" FROM (
                SELECT * FROM (SELECT username AS found_by, users.* FROM users
                    WHERE username >= $1 AND username < $2 AND (username, id) > ($1, $3)
                    AND ' ' || roles || ' ' LIKE $4 ESCAPE '\' AND ($5 = '' OR status = $5) ORDER BY username, id LIMIT $6) AS a
                UNION ALL
                SELECT * FROM (SELECT name_key AS found_by, users.* FROM users
                    WHERE name_key >= $1 AND name_key < $2 AND (name_key, id) > ($1, $3)
                    AND ' ' || roles || ' ' LIKE $4 ESCAPE '\' AND ($5 = '' OR status = $5) ORDER BY name_key, id LIMIT $6) AS b
                UNION ALL
                SELECT * FROM (SELECT email_key AS found_by, users.* FROM users
                    WHERE email_key >= $1 AND email_key < $2 AND (email_key, id) > ($1, $3)
                    AND ' ' || roles || ' ' LIKE $4 ESCAPE '\' AND ($5 = '' OR status = $5) ORDER BY email_key, id LIMIT $6) AS c
            ) AS found ORDER BY found_by, id LIMIT $6"#,
            key,
            end,
            id as _,
            pattern,
            status,
            limit,
        )?)
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
