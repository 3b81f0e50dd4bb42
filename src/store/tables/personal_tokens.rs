//! `personal_tokens`: tokens that users make for their programs. A row lives until it is deleted or `expires_at`. The token
//! itself is stored nowhere, only its hash.

use crate::error::Error;
use crate::model::{PersonalToken, Scopes, SessionId, Timestamp, TokenHash, TokenId, User, UserId};
use crate::store::invalidation::Invalidate;
use crate::store::query::{
    execute, fetch_all, fetch_scalar, in_time, on_each_store, returning_all, returning_optional,
};
use crate::store::tables::sessions::json_of_uses;
use crate::store::tables::user_columns::{select_users, user};
use crate::store::{Conn, Connection, Tx};

/// The live token that meets the condition on `$1`, with its user, in one statement; for `CROSS JOIN` see `sessions`.
macro_rules! fetch_live {
    ($conn:expr, $condition:tt, $key:expr, $now:expr) => {
        select_users!(
            fetch_optional($conn),
            |row| (
                PersonalToken {
                    id: row.token_id,
                    user_id: row.id,
                    name: row.token_name,
                    scopes: Scopes::from(row.scopes),
                    created_at: row.token_created_at,
                    expires_at: row.expires_at,
                    last_used_at: row.last_used_at,
                },
                user!(row)
            ),
            r#"SELECT token_id AS "token_id!: TokenId", token_name AS "token_name!", scopes AS "scopes!",
            token_created_at AS "token_created_at!: Timestamp", expires_at AS "expires_at?: Timestamp",
            last_used_at AS "last_used_at?: Timestamp","#
                + "FROM (SELECT id AS token_id, user_id, name AS token_name, token_hash, scopes,
                created_at AS token_created_at, expires_at, last_used_at FROM personal_tokens) AS t CROSS JOIN users
                WHERE users.id = t.user_id AND (t.expires_at IS NULL OR t.expires_at > $2)
                AND users.status = 'active' AND "
                + $condition,
            $key,
            $now as _,
        )
    };
}

impl<C: Connection> Conn<C> {
    /// The live token with this hash, and its user.
    pub async fn personal_token(
        &mut self,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<Option<(PersonalToken, User)>, Error> {
        Ok(fetch_live!(self, "t.token_hash = $1", hash.as_bytes(), now)?)
    }

    /// The live token with this id, and its user.
    pub async fn personal_token_by_id(
        &mut self,
        id: TokenId,
        now: Timestamp,
    ) -> Result<Option<(PersonalToken, User)>, Error> {
        Ok(fetch_live!(self, "t.token_id = $1", id as _, now)?)
    }

    /// The tokens of a user that have not expired, the newest first.
    pub async fn personal_tokens_of(&mut self, user: UserId, now: Timestamp) -> Result<Vec<PersonalToken>, Error> {
        Ok(fetch_all!(
            self,
            |row| PersonalToken {
                id: row.id,
                user_id: row.user_id,
                name: row.name,
                scopes: Scopes::from(row.scopes),
                created_at: row.created_at,
                expires_at: row.expires_at,
                last_used_at: row.last_used_at,
            },
            r#"SELECT id AS "id!: TokenId", user_id AS "user_id!: UserId", name AS "name!", scopes AS "scopes!",
            created_at AS "created_at!: Timestamp", expires_at AS "expires_at: Timestamp",
            last_used_at AS "last_used_at: Timestamp" FROM personal_tokens
            WHERE user_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY id DESC"#,
            user as _,
            now as _,
        )?)
    }

    /// The tokens of all users that have not expired, with the usernames, the newest first, from the one before `before`.
    pub async fn personal_tokens(
        &mut self,
        before: Option<TokenId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(PersonalToken, String)>, Error> {
        let before = before.unwrap_or(TokenId(uuid::Uuid::max()));
        Ok(fetch_all!(
            self,
            |row| (
                PersonalToken {
                    id: row.id,
                    user_id: row.user_id,
                    name: row.name,
                    scopes: Scopes::from(row.scopes),
                    created_at: row.created_at,
                    expires_at: row.expires_at,
                    last_used_at: row.last_used_at,
                },
                row.username
            ),
            r#"SELECT t.id AS "id!: TokenId", t.user_id AS "user_id!: UserId", t.name AS "name!", t.scopes AS "scopes!",
            t.created_at AS "created_at!: Timestamp", t.expires_at AS "expires_at: Timestamp",
            t.last_used_at AS "last_used_at: Timestamp", users.username AS "username!"
            FROM personal_tokens AS t CROSS JOIN users
            WHERE users.id = t.user_id AND t.id < $1 AND (t.expires_at IS NULL OR t.expires_at > $2) ORDER BY t.id DESC LIMIT $3"#,
            before as _,
            now as _,
            i64::from(limit),
        )?)
    }

    /// How many tokens have not expired.
    pub async fn count_personal_tokens(&mut self, now: Timestamp) -> Result<i64, Error> {
        Ok(fetch_scalar!(
            self,
            r#"SELECT COUNT(*) AS "count!" FROM personal_tokens WHERE expires_at IS NULL OR expires_at > $1"#,
            now as _,
        )?)
    }
}

impl Tx {
    /// Adds a token, which is deleted together with its `parent`, the token it was made with; `session` is the session that it
    /// was made in. [`Error::InvalidToken`] when the parent is gone already.
    pub async fn insert_personal_token(
        &mut self,
        token: &PersonalToken,
        hash: TokenHash,
        parent: Option<TokenId>,
        session: Option<SessionId>,
    ) -> Result<(), Error> {
        let scopes = token.scopes.to_string();
        let inserted = execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO personal_tokens (id, user_id, name, token_hash, scopes, created_at, expires_at, parent_id, session_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            token.id as _,
            token.user_id as _,
            token.name,
            hash.as_bytes(),
            scopes,
            token.created_at as _,
            token.expires_at as _,
            parent as _,
            session as _,
        );
        match inserted {
            Err(sqlx::Error::Database(fault)) if fault.is_foreign_key_violation() => Err(Error::InvalidToken),
            inserted => Ok(inserted.map(drop)?),
        }
    }

    /// Deletes a token, and those that were made with it. Returns its user; none when there is no such token.
    pub async fn delete_personal_token(&mut self, id: TokenId) -> Result<Option<UserId>, Error> {
        let user = returning_optional!(
            self,
            Invalidate::CredentialsOf(id.0),
            |row| row.user_id,
            r#"DELETE FROM personal_tokens WHERE id = $1 RETURNING user_id AS "user_id!: UserId""#,
            id as _,
        )?;
        // The tokens that were made with it are its user's, too.
        user.iter().for_each(|user| self.invalidate(Invalidate::CredentialsOf(user.0)));
        Ok(user)
    }

    /// Deletes a token of this user, and those that were made with it. Returns whether it did: a token that is another
    /// user's stays.
    pub async fn delete_own_personal_token(&mut self, user: UserId, id: TokenId) -> Result<bool, Error> {
        self.invalidate(Invalidate::CredentialsOf(user.0));
        let deleted = execute!(
            self,
            Invalidate::CredentialsOf(id.0),
            "DELETE FROM personal_tokens WHERE id = $1 AND user_id = $2",
            id as _,
            user as _,
        )?;
        Ok(deleted == 1)
    }

    /// Deletes all tokens of a user, except `but`, which then has no parent any more. Returns which.
    pub async fn delete_personal_tokens_of(
        &mut self,
        user: UserId,
        but: Option<TokenId>,
    ) -> Result<Vec<TokenId>, Error> {
        let but = but.unwrap_or_default();
        execute!(self, Invalidate::Nothing, "UPDATE personal_tokens SET parent_id = NULL WHERE id = $1", but as _)?;
        Ok(returning_all!(
            self,
            Invalidate::CredentialsOf(user.0),
            |row| row.id,
            r#"DELETE FROM personal_tokens WHERE user_id = $1 AND id <> $2 RETURNING id AS "id!: TokenId""#,
            user as _,
            but as _,
        )?)
    }

    /// Deletes the tokens of a user that were made in this session, and those that were made with them. Returns which.
    pub async fn delete_personal_tokens_made_in(
        &mut self,
        session: SessionId,
        user: UserId,
    ) -> Result<Vec<TokenId>, Error> {
        Ok(returning_all!(
            self,
            Invalidate::CredentialsOf(user.0),
            |row| row.id,
            r#"DELETE FROM personal_tokens WHERE session_id = $1 AND user_id = $2 RETURNING id AS "id!: TokenId""#,
            session as _,
            user as _,
        )?)
    }

    /// Deletes every token. Returns how many.
    pub async fn delete_all_personal_tokens(&mut self) -> Result<u64, Error> {
        // Without parents, each row is deleted by the statement itself and counted, and none is looked up once more.
        execute!(self, Invalidate::Nothing, "UPDATE personal_tokens SET parent_id = NULL WHERE parent_id IS NOT NULL")?;
        Ok(execute!(self, Invalidate::Everything, "DELETE FROM personal_tokens")?)
    }

    /// Records when tokens were last used, in the order of their ids.
    pub async fn record_tokens_used(&mut self, uses: &[(TokenId, Timestamp)]) -> Result<(), Error> {
        self.invalidate(Invalidate::Nothing);
        on_each_store!(
            self,
            sqlite: |driver| {
                let uses = json_of_uses(uses.iter().map(|(id, at)| (id.0, *at)));
                sqlx::query!(
                    "/* sqlite */ UPDATE personal_tokens SET last_used_at = used.at
                    FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS at FROM json_each($1)) AS used
                    WHERE personal_tokens.id = used.id AND COALESCE(last_used_at, 0) < used.at",
                    uses
                )
                .execute(driver)
                .await?;
            },
            // One by one, as with sessions.
            postgres: |driver| for (id, at) in uses {
                in_time(
                    sqlx::query!(
                        "/* postgres */ UPDATE personal_tokens SET last_used_at = $1
                        WHERE id = $2 AND COALESCE(last_used_at, 0) < $1",
                        *at as _,
                        *id as _
                    )
                    .execute(&mut *driver),
                )
                .await?;
            },
        );
        Ok(())
    }

    /// Deletes up to `most` tokens that expired before `moment`. Returns how many.
    pub async fn delete_personal_tokens_expired_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            self,
            Invalidate::Nothing,
            "DELETE FROM personal_tokens WHERE id IN (SELECT id FROM personal_tokens WHERE expires_at < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }
}
