//! `sessions`: one row a login. It lives from its beginning until `expires_at` or `ended_at`, and is asked for with the
//! hash of the opaque token or with its id, which JWTs carry. A user who is disabled has no live session. Whatever ends a
//! session marks its place in the status list in the same transaction.

use std::collections::BTreeSet;

#[cfg(feature = "sqlite")]
use super::json_of_uses;
use super::{
    Conn, Tx, execute, fetch_all, fetch_optional,
    users::{user_of, user_row},
};
use crate::{
    error::Error,
    model::{LiveSession, Session, SessionId, Status, StatusListId, StatusPlace, Timestamp, TokenHash, UserId},
};

user_row! {
    struct LiveRow {
        session_id: SessionId,
        session_started_at: Timestamp,
        session_last_seen_at: Option<Timestamp>,
        session_expires_at: Timestamp,
        status_list: Option<StatusListId>,
        status_idx: Option<i64>,
    }
}

impl From<LiveRow> for LiveSession {
    fn from(row: LiveRow) -> Self {
        Self {
            id: row.session_id,
            created_at: row.session_started_at,
            last_seen_at: row.session_last_seen_at.unwrap_or(row.session_started_at),
            expires_at: row.session_expires_at,
            status: place(row.status_list, row.status_idx),
            user: user_of!(row),
        }
    }
}

/// A place, if the session has one: those from before there were lists have none.
fn place(list: Option<StatusListId>, idx: Option<i64>) -> Option<StatusPlace> {
    Some(StatusPlace { list: list?, idx: u32::try_from(idx?).ok()? })
}

struct SessionRow {
    id: SessionId,
    user_id: UserId,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    expires_at: Timestamp,
    address: String,
    user_agent: Option<String>,
}

struct EndedRow {
    id: SessionId,
    user_id: UserId,
    expires_at: Timestamp,
    status_list: Option<StatusListId>,
    status_idx: Option<i64>,
}

struct ListRow {
    id: StatusListId,
}

/// The live session that meets the condition on `$1`, with its user, in one statement. `CROSS JOIN` keeps SQLite to this
/// order: by statistics from when there were few users it would read all of them first.
macro_rules! fetch_live {
    ($conn:expr, $condition:tt, $key:expr, $now:expr) => {
        fetch_optional!(
            $conn,
            LiveRow,
            r#"SELECT s.id AS "session_id!: SessionId", s.created_at AS "session_started_at!: Timestamp",
            s.last_seen_at AS "session_last_seen_at: Timestamp", s.expires_at AS "session_expires_at!: Timestamp",
            s.status_list AS "status_list: StatusListId", s.status_idx,
            u.id AS "id!: UserId", u.username AS "username!", u.name, u.email, u.roles AS "roles!",
            u.status AS "status!: Status", u.must_change_password AS "must_change_password!: bool",
            u.created_at AS "created_at!: Timestamp", u.updated_at AS "updated_at!: Timestamp",
            u.last_login_at AS "last_login_at: Timestamp"
            FROM sessions s CROSS JOIN users u
            WHERE u.id = s.user_id AND s.ended_at IS NULL AND s.expires_at > $2 AND u.status = 'active' AND "#
                + $condition,
            $key,
            $now as _,
        )
    };
}

/// Ends the live sessions that meet the condition on `$2` and what follows it.
macro_rules! end_sessions {
    ($tx:expr, $now:expr, $condition:tt, $($arg:expr),*) => {{
        let now: Timestamp = $now;
        let ended = fetch_all!(
            &mut **$tx,
            EndedRow,
            r#"UPDATE sessions SET ended_at = $1 WHERE ended_at IS NULL AND expires_at > $1 AND "# + $condition
                + r#" RETURNING id AS "id!: SessionId", user_id AS "user_id!: UserId", expires_at AS "expires_at!: Timestamp",
                status_list AS "status_list: StatusListId", status_idx"#,
            now as _,
            $($arg),*
        )?;
        $tx.revoke_statuses(ended).await
    }};
}

impl Conn {
    /// The live session with this opaque token.
    pub async fn session_by_token(&mut self, hash: TokenHash, now: Timestamp) -> Result<Option<LiveSession>, Error> {
        Ok(fetch_live!(self, "s.token_hash = $1", hash.as_bytes(), now)?.map(LiveSession::from))
    }

    /// The live session with this id.
    pub async fn session_by_id(&mut self, id: SessionId, now: Timestamp) -> Result<Option<LiveSession>, Error> {
        Ok(fetch_live!(self, "s.id = $1", id as _, now)?.map(LiveSession::from))
    }

    /// The sessions of a user that have neither ended nor run out, the newest first.
    pub async fn sessions_of(&mut self, user: UserId, now: Timestamp) -> Result<Vec<Session>, Error> {
        let rows = fetch_all!(
            self,
            SessionRow,
            r#"SELECT id AS "id!: SessionId", user_id AS "user_id!: UserId", created_at AS "created_at!: Timestamp",
            COALESCE(last_seen_at, created_at) AS "last_seen_at!: Timestamp", expires_at AS "expires_at!: Timestamp",
            address AS "address!", user_agent FROM sessions
            WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 ORDER BY id DESC"#,
            user as _,
            now as _,
        )?;
        Ok(rows.into_iter().map(Session::from).collect())
    }
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            expires_at: row.expires_at,
            address: row.address,
            user_agent: row.user_agent,
        }
    }
}

impl Tx {
    /// Begins a session, unless another has the place in the status list. Tells whether it did.
    pub async fn insert_session(
        &mut self,
        session: &Session,
        token: TokenHash,
        place: StatusPlace,
    ) -> Result<bool, Error> {
        let idx = i64::from(place.idx);
        let inserted = execute!(
            &mut **self,
            "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at, address, user_agent, status_list,
            status_idx) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (status_list, status_idx) DO NOTHING",
            session.id as _,
            session.user_id as _,
            token.as_bytes(),
            session.created_at as _,
            session.expires_at as _,
            session.address,
            session.user_agent,
            place.list as _,
            idx,
        )?;
        Ok(inserted == 1)
    }

    /// Ends a session, and with it its opaque token and its JWTs. Gives whose it was; none when it does not live.
    pub async fn end_session(&mut self, id: SessionId, now: Timestamp) -> Result<Option<UserId>, Error> {
        self.touch(id.0);
        let ended = end_sessions!(self, now, "id = $2", id as _)?;
        Ok(ended.first().map(|(_, user)| *user))
    }

    /// Ends all sessions of a user but this one. Gives which.
    pub async fn end_sessions_of(
        &mut self,
        user: UserId,
        but: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, Error> {
        self.touch(user.0);
        let but = but.unwrap_or_default();
        let ended = end_sessions!(self, now, "user_id = $2 AND id <> $3", user as _, but as _)?;
        Ok(ended.into_iter().map(|(id, _)| id).collect())
    }

    /// Ends the oldest sessions of a user, so that besides this new one there are no more than `others`.
    pub async fn end_oldest_sessions(
        &mut self,
        user: UserId,
        new: SessionId,
        others: u32,
        now: Timestamp,
    ) -> Result<(), Error> {
        let others = i64::from(others);
        self.touch(user.0);
        // The new one is named: by its id, which another server's clock may have made, it could be the oldest.
        end_sessions!(
            self,
            now,
            "id IN (SELECT id FROM sessions WHERE user_id = $2 AND id <> $3 AND ended_at IS NULL AND expires_at > $1
            ORDER BY id DESC LIMIT 1000000 OFFSET $4)",
            user as _,
            new as _,
            others
        )?;
        Ok(())
    }

    /// Ends every session there is. Tells how many. There may be millions: none of them is read here.
    pub async fn end_all_sessions(&mut self, now: Timestamp) -> Result<u64, Error> {
        self.touch_all();
        let ended = execute!(
            &mut **self,
            "UPDATE sessions SET ended_at = $1 WHERE ended_at IS NULL AND expires_at > $1",
            now as _,
        )?;
        execute!(
            &mut **self,
            "INSERT INTO revoked_statuses (list_id, idx, expires_at) SELECT status_list, status_idx, expires_at
            FROM sessions WHERE ended_at = $1 AND status_list IS NOT NULL ON CONFLICT DO NOTHING",
            now as _,
        )?;
        let lists = fetch_all!(
            &mut **self,
            ListRow,
            r#"SELECT DISTINCT status_list AS "id!: StatusListId" FROM sessions
            WHERE ended_at = $1 AND status_list IS NOT NULL ORDER BY status_list DESC"#,
            now as _,
        )?;
        for list in lists {
            self.note_status_change(list.id).await?;
        }
        Ok(ended)
    }

    /// Marks the places of sessions that were just ended, in the lists served next.
    async fn revoke_statuses(&mut self, ended: Vec<EndedRow>) -> Result<Vec<(SessionId, UserId)>, Error> {
        // The newest first, as a login does that closes a list: of two transactions that change the same lists neither
        // waits for the other for ever.
        let mut changed = BTreeSet::new();
        for row in &ended {
            if let Some(place) = place(row.status_list, row.status_idx) {
                self.revoke_status(place, row.expires_at).await?;
                changed.insert(place.list);
            }
        }
        for list in changed.into_iter().rev() {
            self.note_status_change(list).await?;
        }
        Ok(ended.into_iter().map(|row| (row.id, row.user_id)).collect())
    }

    /// Notes when sessions were last used.
    pub async fn note_sessions_seen(&mut self, uses: &[(SessionId, Timestamp)]) -> Result<(), Error> {
        match &mut **self {
            #[cfg(feature = "sqlite")]
            Conn::Sqlite(conn) => {
                let uses = json_of_uses(uses.iter().map(|(id, at)| (id.0, *at)));
                sqlx::query!(
                    "/* sqlite */ UPDATE sessions SET last_seen_at = used.at
                        FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS at FROM json_each($1)) AS used
                        WHERE sessions.id = used.id AND COALESCE(last_seen_at, created_at) < used.at",
                    uses
                )
                .execute(&mut **conn)
                .await?;
            }
            // One by one, in their order: of two servers that note the same ones neither waits for the other for ever.
            #[cfg(feature = "postgres")]
            Conn::Postgres(conn) => {
                for (id, at) in uses {
                    sqlx::query!(
                        "/* postgres */ UPDATE sessions SET last_seen_at = $1
                            WHERE id = $2 AND COALESCE(last_seen_at, created_at) < $1",
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
