//! `users`: who there is, with the hash of their password. The hash is read only to check a password, and leaves this folder
//! as a [`PasswordHash`], which does not print.

use std::collections::HashMap;

use crate::error::Error;
use crate::model::{
    CredentialId, HashedPassword, Holder, PasswordHash, Scopes, Status, StoredPassword, Timestamp, User, UserId,
};
use crate::store::invalidation::Invalidate;
use crate::store::query::{
    execute, fetch_all, fetch_optional, fetch_scalar, in_time, on_each_store, returning_all, returning_optional,
};
use crate::store::tables::user_columns::{PackedUsers, select_users, user};
use crate::store::{Conn, Connection, Tx};

impl<C: Connection> Conn<C> {
    /// The user with this id.
    pub async fn user(&mut self, id: UserId) -> Result<Option<User>, Error> {
        Ok(select_users!(fetch_optional(self), |row| user!(row), "SELECT" + "FROM users WHERE id = $1", id as _)?)
    }

    /// The usernames of these users, and whether there still are such users: of a deleted one the record of the deletion has it.
    pub async fn usernames(&mut self, ids: &[UserId]) -> Result<HashMap<UserId, (String, bool)>, Error> {
        let found: Vec<(UserId, (String, bool))> = on_each_store!(
            self,
            sqlite: |driver| {
                let ids = serde_json::json!(ids.iter().map(|id| id.0.simple().to_string()).collect::<Vec<_>>()).to_string();
                sqlx::query!(
                    r#"/* sqlite */ SELECT subject_id AS "id!: UserId", target AS "username!", FALSE AS "is_there!: bool"
                    FROM audit WHERE event = 'user.deleted' AND target IS NOT NULL
                    AND subject_id IN (SELECT unhex(value) FROM json_each($1))
                    UNION ALL SELECT id, username, TRUE FROM users WHERE id IN (SELECT unhex(value) FROM json_each($1))"#,
                    ids
                )
                .map(|row| (row.id, (row.username, row.is_there)))
                .fetch_all(driver)
                .await?
            },
            postgres: |driver| {
                let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
                in_time(
                    sqlx::query!(
                        r#"/* postgres */ SELECT subject_id AS "id!: UserId", target AS "username!", FALSE AS "is_there!: bool"
                        FROM audit WHERE event = 'user.deleted' AND target IS NOT NULL AND subject_id = ANY($1)
                        UNION ALL SELECT id, username, TRUE FROM users WHERE id = ANY($1)"#,
                        &ids
                    )
                    .map(|row| (row.id, (row.username, row.is_there)))
                    .fetch_all(driver),
                )
                .await?
            },
        );
        Ok(found.into_iter().collect())
    }

    /// How many users there are.
    pub async fn count_users(&mut self) -> Result<i64, Error> {
        Ok(fetch_scalar!(self, r#"SELECT COUNT(*) AS "count!" FROM users"#)?)
    }

    /// How many users may not log in. The index on them is found by the literal.
    pub async fn count_disabled_users(&mut self) -> Result<i64, Error> {
        Ok(fetch_scalar!(self, r#"SELECT COUNT(*) AS "count!" FROM users WHERE status = 'disabled'"#)?)
    }

    /// Whether there is any user.
    pub async fn has_users(&mut self) -> Result<bool, Error> {
        Ok(fetch_scalar!(self, r#"SELECT EXISTS (SELECT 1 FROM users) AS "exists!: bool""#)?)
    }

    /// The user with this username.
    pub async fn user_named(&mut self, username: &str) -> Result<Option<User>, Error> {
        Ok(select_users!(
            fetch_optional(self),
            |row| user!(row),
            "SELECT" + "FROM users WHERE username = $1",
            username
        )?)
    }

    /// What a password of the user with this username, or else with this verified e-mail address, is checked against.
    pub async fn password_of(&mut self, username: &str, email: Option<&str>) -> Result<Option<StoredPassword>, Error> {
        Ok(fetch_optional!(
            self,
            |row| StoredPassword { id: row.id, username: row.username, hash: row.password_hash, status: row.status },
            r#"SELECT id AS "id!: UserId", username AS "username!", password_hash AS "password_hash!: PasswordHash",
            status AS "status!: Status"
            FROM users WHERE username = $1 OR (email_key = $2 AND email_verified) ORDER BY username = $1 DESC LIMIT 1"#,
            username,
            email,
        )?)
    }

    /// The user with this username, or else with this verified e-mail address.
    pub async fn user_by_login(&mut self, username: &str, email: Option<&str>) -> Result<Option<User>, Error> {
        Ok(select_users!(
            fetch_optional(self),
            |row| user!(row),
            "SELECT"
                + "FROM users WHERE username = $1 OR (email_key = $2 AND email_verified) ORDER BY username = $1 DESC LIMIT 1",
            username,
            email
        )?)
    }

    /// How many e-mail addresses belong to more than one user, and one of them.
    pub async fn shared_emails(&mut self) -> Result<(i64, Option<String>), Error> {
        Ok(fetch_optional!(
            self,
            |row| (row.count, row.example),
            r#"SELECT COUNT(*) AS "count!: i64", MIN(email_key) AS example
            FROM (SELECT email_key FROM users WHERE email_key IS NOT NULL GROUP BY email_key HAVING COUNT(*) > 1) AS shared"#,
        )?
        .unwrap_or_default())
    }

    /// Whether a user other than this one has this verified e-mail address, in its folded form.
    pub async fn is_email_taken(&mut self, email_key: &str, but: UserId) -> Result<bool, Error> {
        Ok(fetch_scalar!(
            self,
            r#"SELECT EXISTS (SELECT 1 FROM users WHERE email_key = $1 AND email_verified AND id <> $2) AS "taken!: bool""#,
            email_key,
            but as _,
        )?)
    }

    /// The user of a live credential, whatever it is.
    pub async fn holder_of(&mut self, credential: CredentialId, now: Timestamp) -> Result<Option<Holder>, Error> {
        Ok(match credential {
            CredentialId::Session(id) => self.session_by_id(id, now).await?.map(|live| Holder {
                user: live.user,
                scopes: Scopes::all(),
                password: None,
            }),
            CredentialId::Token(id) => self.personal_token_by_id(id, now).await?.map(|(token, user)| Holder {
                user,
                scopes: token.scopes,
                password: None,
            }),
            CredentialId::Password(id) => match self.user(id).await? {
                Some(user) => {
                    let password = self.password_of(&user.username, None).await?.map(|stored| stored.hash);
                    Some(Holder { user, scopes: Scopes::all(), password })
                }
                None => None,
            },
        })
    }

    /// One hash of each scheme in use. It reads one row of the index for each scheme.
    pub async fn one_hash_of_each_scheme(&mut self) -> Result<Vec<PasswordHash>, Error> {
        Ok(fetch_all!(
            self,
            |row| row.hash,
            r#"SELECT (SELECT password_hash FROM users WHERE password_scheme = found.scheme LIMIT 1) AS "hash!: PasswordHash"
            FROM (
                WITH RECURSIVE schemes (scheme) AS (
                    SELECT MIN(password_scheme) FROM users
                    UNION ALL
                    SELECT (SELECT MIN(password_scheme) FROM users WHERE password_scheme > schemes.scheme) FROM schemes
                    WHERE schemes.scheme IS NOT NULL
                )
                SELECT scheme FROM schemes WHERE scheme IS NOT NULL
            ) AS found"#,
        )?)
    }

    /// Hashes that were stored before there was a column for their scheme.
    pub async fn hashes_without_scheme(&mut self, limit: u32) -> Result<Vec<(UserId, PasswordHash)>, Error> {
        let limit = i64::from(limit);
        Ok(fetch_all!(
            self,
            |row| (row.id, row.hash),
            r#"SELECT id AS "id!: UserId", password_hash AS "hash!: PasswordHash" FROM users
            WHERE password_scheme = '' ORDER BY id LIMIT $1"#,
            limit,
        )?)
    }

    /// Whether this is the hash of the user's password.
    pub async fn has_password_hash(&mut self, id: UserId, hash: &PasswordHash) -> Result<bool, Error> {
        Ok(fetch_scalar!(
            self,
            r#"SELECT EXISTS (SELECT 1 FROM users WHERE id = $1 AND password_hash = $2) AS "has_hash!: bool""#,
            id as _,
            hash as _,
        )?)
    }

    /// Whether there is an active administrator who has a password: one who was invited cannot log in yet. It reads only users
    /// with uncommon roles, by their index.
    pub async fn has_admin(&mut self) -> Result<bool, Error> {
        Ok(fetch_scalar!(
            self,
            r#"SELECT EXISTS (SELECT 1 FROM users WHERE roles <> 'user' AND status = 'active'
            AND password_hash <> '!' AND ' ' || roles || ' ' LIKE '% admin %') AS "has_admin!: bool""#,
        )?)
    }
}

impl Tx {
    /// Adds a user. [`Error::UsernameTaken`] when the username belongs to another.
    pub async fn insert_user(&mut self, user: &User, password: &HashedPassword) -> Result<(), Error> {
        let packed = PackedUsers::new(&[(user.clone(), password.clone())])?;
        if self.insert_packed(&packed).await? == 1 { Ok(()) } else { Err(Error::UsernameTaken) }
    }

    /// Locks a user until this transaction ends: nobody else changes them or begins sessions for them. Returns their status;
    /// none when there is no such user.
    pub async fn lock_user(&mut self, id: UserId) -> Result<Option<Status>, Error> {
        Ok(returning_optional!(
            self,
            Invalidate::Nothing,
            |row| row.status,
            r#"UPDATE users SET status = status WHERE id = $1 RETURNING status AS "status!: Status""#,
            id as _,
        )?)
    }

    /// A user, locked until this transaction ends. [`Error::NotFound`]; [`Error::Stale`] when `versions` are given and the
    /// user's is none of them.
    pub async fn locked_user(&mut self, id: UserId, versions: Option<&[Timestamp]>) -> Result<User, Error> {
        self.lock_user(id).await?.ok_or(Error::NotFound)?;
        let user = self.user(id).await?.ok_or(Error::NotFound)?;
        if versions.is_some_and(|versions| !versions.contains(&user.updated_at)) {
            return Err(Error::Stale);
        }
        Ok(user)
    }

    /// Locks every active administrator who has a password until this transaction ends, so that of two requests that each take away one of the
    /// last two, the second sees what the first did. Returns their ids. It comes before any other lock: two transactions that
    /// took it last could wait for each other (a deadlock).
    pub async fn lock_admins(&mut self) -> Result<Vec<UserId>, Error> {
        Ok(returning_all!(
            self,
            Invalidate::Nothing,
            |row| row.id,
            r#"UPDATE users SET status = status WHERE roles <> 'user' AND status = 'active'
            AND password_hash <> '!' AND ' ' || roles || ' ' LIKE '% admin %' RETURNING id AS "id!: UserId""#,
        )?)
    }

    /// Gives a user another password.
    pub async fn set_password(
        &mut self,
        id: UserId,
        new: &HashedPassword,
        must_change: bool,
        updated_at: Timestamp,
    ) -> Result<(), Error> {
        execute!(
            self,
            Invalidate::CredentialsOf(id.0),
            "UPDATE users SET password_hash = $1, password_scheme = $2, must_change_password = $3, updated_at = $4
            WHERE id = $5",
            new.hash as _,
            new.scheme,
            must_change,
            updated_at as _,
            id as _,
        )?;
        Ok(())
    }

    /// Ends every session and link of a user and deletes every personal token.
    pub async fn end_all_of(&mut self, id: UserId, now: Timestamp) -> Result<(), Error> {
        self.end_sessions_of(id, None, now).await?;
        self.delete_personal_tokens_of(id, None).await?;
        self.end_links_of(id, now).await
    }

    /// Deletes a user with everything they own. End their sessions before, so that the status lists show it.
    pub async fn delete_user(&mut self, id: UserId) -> Result<(), Error> {
        execute!(self, Invalidate::CredentialsOf(id.0), "DELETE FROM users WHERE id = $1", id as _)?;
        Ok(())
    }

    /// Replaces the hash that was checked by a stronger hash of the same password, unless the hash has changed since.
    pub async fn upgrade_hash(&mut self, id: UserId, old: &PasswordHash, new: &HashedPassword) -> Result<bool, Error> {
        let upgraded = execute!(
            self,
            Invalidate::CredentialsOf(id.0),
            "UPDATE users SET password_hash = $1, password_scheme = $2 WHERE id = $3 AND password_hash = $4",
            new.hash as _,
            new.scheme,
            id as _,
            old as _,
        )?;
        Ok(upgraded == 1)
    }

    /// Fills in the scheme of a stored hash, unless the hash has changed since.
    pub async fn fill_in_scheme(&mut self, id: UserId, password: &HashedPassword) -> Result<(), Error> {
        execute!(
            self,
            Invalidate::Nothing,
            "UPDATE users SET password_scheme = $1 WHERE id = $2 AND password_hash = $3",
            password.scheme,
            id as _,
            password.hash as _,
        )?;
        Ok(())
    }

    /// Records a login, if the user is still active and the hash still the one that was checked: what was changed while the
    /// password was hashed counts. Returns the user as they are now.
    pub async fn record_login(
        &mut self,
        id: UserId,
        checked: &PasswordHash,
        now: Timestamp,
    ) -> Result<Option<User>, Error> {
        Ok(select_users!(
            returning_optional(self, Invalidate::CredentialsOf(id.0)),
            |row| user!(row),
            "UPDATE users SET last_login_at = $1 WHERE id = $2 AND password_hash = $3 AND status = 'active' RETURNING"
                + "",
            now as _,
            id as _,
            checked as _
        )?)
    }
}
