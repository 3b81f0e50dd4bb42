//! `sessions`: one row a login. It lives from its beginning until `expires_at` or `ended_at`, and is asked for with the
//! hash of the opaque token or with its id, which JWTs carry. A user who is disabled has no live session.

use super::{Conn, Tx, execute, fetch_optional, users::UserRow};
use crate::{
    error::Error,
    model::{Session, SessionId, Status, Timestamp, TokenHash, User, UserId},
};

struct LiveRow {
    session_id: SessionId,
    session_expires_at: Timestamp,
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

/// A live session: its id, when it ends by itself, and whose it is.
pub type Live = (SessionId, Timestamp, User);

impl From<LiveRow> for Live {
    fn from(row: LiveRow) -> Self {
        let user = UserRow {
            id: row.id,
            username: row.username,
            name: row.name,
            email: row.email,
            roles: row.roles,
            status: row.status,
            must_change_password: row.must_change_password,
            created_at: row.created_at,
            updated_at: row.updated_at,
            last_login_at: row.last_login_at,
        };
        (row.session_id, row.session_expires_at, user.into())
    }
}

/// The live session that meets the condition on `$1`, with its user, in one statement.
macro_rules! fetch_live {
    ($conn:expr, $condition:tt, $key:expr, $now:expr) => {
        fetch_optional!(
            $conn,
            LiveRow,
            r#"SELECT s.id AS "session_id!: SessionId", s.expires_at AS "session_expires_at!: Timestamp",
            u.id AS "id!: UserId", u.username AS "username!", u.name, u.email, u.roles AS "roles!",
            u.status AS "status!: Status", u.must_change_password AS "must_change_password!: bool",
            u.created_at AS "created_at!: Timestamp", u.updated_at AS "updated_at!: Timestamp",
            u.last_login_at AS "last_login_at: Timestamp"
            FROM sessions s JOIN users u ON u.id = s.user_id
            WHERE s.ended_at IS NULL AND s.expires_at > $2 AND u.status = 'active' AND "#
                + $condition,
            $key,
            $now as _,
        )
    };
}

impl Conn {
    /// The live session with this opaque token.
    pub async fn session_by_token(&mut self, hash: TokenHash, now: Timestamp) -> Result<Option<Live>, Error> {
        Ok(fetch_live!(self, "s.token_hash = $1", hash.as_bytes(), now)?.map(Live::from))
    }

    /// The live session with this id.
    pub async fn session_by_id(&mut self, id: SessionId, now: Timestamp) -> Result<Option<Live>, Error> {
        Ok(fetch_live!(self, "s.id = $1", id as _, now)?.map(Live::from))
    }
}

impl Tx {
    /// Begins a session.
    pub async fn insert_session(&mut self, session: &Session) -> Result<(), Error> {
        let address = session.client.address.to_string();
        execute!(
            &mut **self,
            "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at, address, user_agent)
            VALUES ($1, $2, $3, $4, $5, $6, $7)",
            session.id as _,
            session.user_id as _,
            session.token_hash.as_bytes(),
            session.created_at as _,
            session.expires_at as _,
            address,
            session.client.user_agent,
        )?;
        Ok(())
    }

    /// Ends a session, and with it its opaque token and its JWTs. One that has ended stays as it was.
    pub async fn end_session(&mut self, id: SessionId, now: Timestamp) -> Result<(), Error> {
        execute!(
            &mut **self,
            "UPDATE sessions SET ended_at = $1 WHERE id = $2 AND ended_at IS NULL",
            now as _,
            id as _,
        )?;
        Ok(())
    }

    /// Forgets up to `most` sessions that ran out before `moment`. Tells how many.
    pub async fn delete_sessions_expired_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            &mut **self,
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }
}
