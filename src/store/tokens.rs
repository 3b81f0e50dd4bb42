//! `personal_tokens`: tokens that users make for their programs. A row lives until it is deleted or `expires_at`; the token
//! itself is nowhere, only its hash.

#[cfg(feature = "sqlite")]
use super::json_of_uses;
use super::{
    Conn, Tx, execute, fetch_all, fetch_optional,
    users::{user_of, user_row},
};
use crate::{
    error::Error,
    model::{PersonalToken, Scopes, Status, Timestamp, TokenHash, TokenId, User, UserId},
};

struct TokenRow {
    id: TokenId,
    user_id: UserId,
    name: String,
    scopes: String,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

impl From<TokenRow> for PersonalToken {
    fn from(row: TokenRow) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            name: row.name,
            scopes: Scopes::from(row.scopes),
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }
}

user_row! {
    struct LiveRow {
        token_id: TokenId,
        token_scopes: String,
        token_created_at: Timestamp,
        token_expires_at: Option<Timestamp>,
        token_last_used_at: Option<Timestamp>,
        token_name: String,
    }
}

struct DeletedRow {
    user_id: UserId,
}

struct IdRow {
    id: TokenId,
}

impl From<LiveRow> for (PersonalToken, User) {
    fn from(row: LiveRow) -> Self {
        let token = PersonalToken {
            id: row.token_id,
            user_id: row.id,
            name: row.token_name,
            scopes: Scopes::from(row.token_scopes),
            created_at: row.token_created_at,
            expires_at: row.token_expires_at,
            last_used_at: row.token_last_used_at,
        };
        (token, user_of!(row))
    }
}

/// The live token that meets the condition on `$1`, with its user, in one statement; for `CROSS JOIN` see `sessions`.
macro_rules! fetch_live {
    ($conn:expr, $condition:tt, $key:expr, $now:expr) => {
        fetch_optional!(
            $conn,
            LiveRow,
            r#"SELECT t.id AS "token_id!: TokenId", t.scopes AS "token_scopes!",
            t.created_at AS "token_created_at!: Timestamp", t.expires_at AS "token_expires_at: Timestamp",
            t.last_used_at AS "token_last_used_at: Timestamp", t.name AS "token_name!",
            u.id AS "id!: UserId", u.username AS "username!", u.name, u.email, u.roles AS "roles!",
            u.status AS "status!: Status", u.must_change_password AS "must_change_password!: bool",
            u.created_at AS "created_at!: Timestamp", u.updated_at AS "updated_at!: Timestamp",
            u.last_login_at AS "last_login_at: Timestamp"
            FROM personal_tokens t CROSS JOIN users u
            WHERE u.id = t.user_id AND (t.expires_at IS NULL OR t.expires_at > $2) AND u.status = 'active' AND "#
                + $condition,
            $key,
            $now as _,
        )
    };
}

impl Conn {
    /// The token with this hash and its user, if both live.
    pub async fn personal_token(
        &mut self,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<Option<(PersonalToken, User)>, Error> {
        Ok(fetch_live!(self, "t.token_hash = $1", hash.as_bytes(), now)?.map(Into::into))
    }

    /// The token with this id and its user, if both live.
    pub async fn personal_token_by_id(
        &mut self,
        id: TokenId,
        now: Timestamp,
    ) -> Result<Option<(PersonalToken, User)>, Error> {
        Ok(fetch_live!(self, "t.id = $1", id as _, now)?.map(Into::into))
    }

    /// The tokens of a user that have not run out, the newest first.
    pub async fn personal_tokens_of(&mut self, user: UserId, now: Timestamp) -> Result<Vec<PersonalToken>, Error> {
        let rows = fetch_all!(
            self,
            TokenRow,
            r#"SELECT id AS "id!: TokenId", user_id AS "user_id!: UserId", name AS "name!", scopes AS "scopes!",
            created_at AS "created_at!: Timestamp", expires_at AS "expires_at: Timestamp",
            last_used_at AS "last_used_at: Timestamp" FROM personal_tokens
            WHERE user_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY id DESC"#,
            user as _,
            now as _,
        )?;
        Ok(rows.into_iter().map(PersonalToken::from).collect())
    }
}

impl Tx {
    /// Adds a token, which goes when the one goes that it was made with. [`Error::InvalidToken`] when that has gone already.
    pub async fn insert_personal_token(
        &mut self,
        token: &PersonalToken,
        hash: TokenHash,
        parent: Option<TokenId>,
    ) -> Result<(), Error> {
        let scopes = token.scopes.to_string();
        let inserted = execute!(
            &mut **self,
            "INSERT INTO personal_tokens (id, user_id, name, token_hash, scopes, created_at, expires_at, parent_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            token.id as _,
            token.user_id as _,
            token.name,
            hash.as_bytes(),
            scopes,
            token.created_at as _,
            token.expires_at as _,
            parent as _,
        );
        match inserted {
            Err(sqlx::Error::Database(fault)) if fault.is_foreign_key_violation() => Err(Error::InvalidToken),
            inserted => Ok(inserted.map(drop)?),
        }
    }

    /// Takes a token back. Gives whose it was; none when there is no such token.
    pub async fn delete_personal_token(&mut self, id: TokenId) -> Result<Option<UserId>, Error> {
        self.touch(id.0);
        let row = fetch_optional!(
            &mut **self,
            DeletedRow,
            r#"DELETE FROM personal_tokens WHERE id = $1 RETURNING user_id AS "user_id!: UserId""#,
            id as _,
        )?;
        // Those that were made with it, which are theirs too, have gone with it.
        row.iter().for_each(|row| self.touch(row.user_id.0));
        Ok(row.map(|row| row.user_id))
    }

    /// Takes back all tokens of a user but this one, which then stands by itself. Gives which.
    pub async fn delete_personal_tokens_of(
        &mut self,
        user: UserId,
        but: Option<TokenId>,
    ) -> Result<Vec<TokenId>, Error> {
        self.touch(user.0);
        let but = but.unwrap_or_default();
        execute!(&mut **self, "UPDATE personal_tokens SET parent_id = NULL WHERE id = $1", but as _)?;
        let rows = fetch_all!(
            &mut **self,
            IdRow,
            r#"DELETE FROM personal_tokens WHERE user_id = $1 AND id <> $2 RETURNING id AS "id!: TokenId""#,
            user as _,
            but as _,
        )?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    /// Takes back every token there is. Tells how many.
    pub async fn delete_all_personal_tokens(&mut self) -> Result<u64, Error> {
        self.touch_all();
        // None hangs on another then, so that each is counted and none is looked for twice.
        execute!(&mut **self, "UPDATE personal_tokens SET parent_id = NULL WHERE parent_id IS NOT NULL")?;
        Ok(execute!(&mut **self, "DELETE FROM personal_tokens")?)
    }

    /// Notes when tokens were last used.
    pub async fn note_tokens_used(&mut self, uses: &[(TokenId, Timestamp)]) -> Result<(), Error> {
        match &mut **self {
            #[cfg(feature = "sqlite")]
            Conn::Sqlite(conn) => {
                let uses = json_of_uses(uses.iter().map(|(id, at)| (id.0, *at)));
                sqlx::query!(
                    "/* sqlite */ UPDATE personal_tokens SET last_used_at = used.at
                        FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS at FROM json_each($1)) AS used
                        WHERE personal_tokens.id = used.id AND COALESCE(last_used_at, 0) < used.at",
                    uses
                )
                .execute(&mut **conn)
                .await?;
            }
            // One by one, as with sessions.
            #[cfg(feature = "postgres")]
            Conn::Postgres(conn) => {
                for (id, at) in uses {
                    sqlx::query!(
                        "/* postgres */ UPDATE personal_tokens SET last_used_at = $1
                            WHERE id = $2 AND COALESCE(last_used_at, 0) < $1",
                        *at as _,
                        *id as _
                    )
                    .execute(&mut **conn)
                    .await?;
                }
            }
        }
        Ok(())
    }

    /// Forgets up to `most` tokens that ran out before `moment`. Tells how many.
    pub async fn delete_personal_tokens_expired_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            &mut **self,
            "DELETE FROM personal_tokens WHERE id IN (SELECT id FROM personal_tokens WHERE expires_at < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }
}
