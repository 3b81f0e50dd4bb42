//! `users` by the thousand, for imports and exports.

use std::collections::{HashMap, HashSet};

use crate::error::Error;
use crate::model::{PasswordHash, User, UserId};
use crate::store::invalidation::Invalidate;
use crate::store::query::{in_time, on_each_store};
use crate::store::tables::user_columns::{PackedUsers, select_users, user};
use crate::store::{Conn, Connection, Tx};

impl<C: Connection> Conn<C> {
    /// Users and their hashes in the order of their ids, from the one after `after`.
    pub async fn users_with_hashes(&mut self, after: UserId, limit: u32) -> Result<Vec<(User, PasswordHash)>, Error> {
        let limit = i64::from(limit);
        Ok(select_users!(
            fetch_all(self),
            |row| (user!(row), row.password_hash),
            r#"SELECT password_hash AS "password_hash!: PasswordHash","#
                + "FROM users WHERE id > $1 ORDER BY id LIMIT $2",
            after as _,
            limit,
        )?)
    }

    /// The usernames of those users who have one of these ids.
    pub async fn usernames_of(&mut self, ids: &[UserId]) -> Result<HashMap<UserId, String>, Error> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let owners = on_each_store!(
            self,
            sqlite: |driver| {
                let ids = json_ids(ids);
                sqlx::query!(
                    r#"/* sqlite */ SELECT id AS "id!: UserId", username AS "username!" FROM users
                    WHERE id IN (SELECT unhex(value) FROM json_each($1))"#,
                    ids
                )
                .map(|row| (row.id, row.username))
                .fetch_all(driver)
                .await?
            },
            postgres: |driver| {
                let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
                in_time(
                    sqlx::query!(
                        r#"/* postgres */ SELECT id AS "id!: UserId", username AS "username!" FROM users WHERE id = ANY($1)"#,
                        &ids
                    )
                    .map(|row| (row.id, row.username))
                    .fetch_all(driver),
                )
                .await?
            },
        );
        Ok(owners.into_iter().collect())
    }
}

impl Tx {
    /// Adds users, except those whose username or id is taken.
    pub async fn insert_users(&mut self, users: &PackedUsers) -> Result<Inserted, Error> {
        let inserted = self.insert_packed(users).await?;
        let inserted = usize::try_from(inserted).map_err(|error| Error::Internal(error.into()))?;
        Ok(if inserted == users.ids.len() {
            Inserted::All
        } else {
            Inserted::Some(self.usernames_of(&users.ids).await?.into_keys().collect())
        })
    }
}

impl Tx {
    /// Marks the e-mail addresses of new users as verified, except those that another user has verified. Of two new users with
    /// the same address it is the one who was created first.
    pub async fn verify_emails_of(&mut self, ids: &[UserId]) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        // A new user has no credentials that could be cached.
        self.invalidate(Invalidate::Nothing);
        on_each_store!(
            self,
            sqlite: |driver| {
                let ids = json_ids(ids);
                sqlx::query!(
                    "/* sqlite */ WITH new (id) AS (SELECT unhex(value) FROM json_each($1))
                    UPDATE users SET email_verified = TRUE WHERE id IN (SELECT id FROM new) AND email_key IS NOT NULL
                    AND NOT EXISTS (SELECT 1 FROM users AS other WHERE other.email_key = users.email_key AND other.email_verified)
                    AND id = (SELECT MIN(twin.id) FROM users AS twin WHERE twin.email_key = users.email_key
                        AND twin.id IN (SELECT id FROM new))",
                    ids
                )
                .execute(driver)
                .await?;
            },
            postgres: |driver| {
                let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
                in_time(
                    sqlx::query!(
                        "/* postgres */ UPDATE users SET email_verified = TRUE WHERE id = ANY($1) AND email_key IS NOT NULL
                        AND NOT EXISTS (SELECT 1 FROM users AS other WHERE other.email_key = users.email_key AND other.email_verified)
                        AND NOT EXISTS (SELECT 1 FROM users AS twin WHERE twin.email_key = users.email_key AND twin.id = ANY($1)
                            AND twin.id < users.id)",
                        &ids
                    )
                    .execute(driver),
                )
                .await?;
            },
        );
        Ok(())
    }
}

/// Ids as a JSON list of hexadecimal numbers, which SQLite can take as one parameter.
fn json_ids(ids: &[UserId]) -> String {
    ids.iter().map(|id| id.0.simple().to_string()).collect::<serde_json::Value>().to_string()
}

/// Which users an insert has added.
#[derive(Debug)]
pub enum Inserted {
    /// Each of them.
    All,
    /// Those with these ids, unless the id was taken before.
    Some(HashSet<UserId>),
}

impl Inserted {
    /// Whether the user with this id is there now.
    pub fn contains(&self, id: &UserId) -> bool {
        match self {
            Self::All => true,
            Self::Some(ids) => ids.contains(id),
        }
    }
}
