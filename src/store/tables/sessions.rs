//! `sessions`: one row for each login. A session lives until `expires_at` or `ended_at`; it is found by the hash of its opaque
//! token, or by its id, which JWTs carry. A disabled user has no live session. Whatever ends a session sets its bit in the
//! status list in the same transaction.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::model::{LiveSession, Session, SessionId, StatusIndex, StatusListId, Timestamp, TokenHash, UserId};
use crate::store::invalidation::Invalidate;
use crate::store::query::{execute, fetch_all, fetch_scalar, in_time, on_each_store, returning_all};
use crate::store::tables::user_columns::{select_users, user};
use crate::store::{Conn, Connection, Tx};

/// The bit of a session in a status list. Sessions from before there were lists have none.
fn status_index(list: Option<StatusListId>, idx: Option<i64>) -> Option<StatusIndex> {
    Some(StatusIndex { list: list?, idx: u32::try_from(idx?).ok()? })
}

/// A session that was ended just now.
struct Ended {
    id: SessionId,
    user_id: UserId,
    expires_at: Timestamp,
    status: Option<StatusIndex>,
}

/// The live session that meets the condition on `$1`, with its user, in one statement. SQLite takes `CROSS JOIN` as an order:
/// by statistics from when there were few users it would otherwise read all of them first.
macro_rules! fetch_live {
    ($conn:expr, $condition:tt, $key:expr, $now:expr) => {
        select_users!(
            fetch_optional($conn),
            |row| LiveSession {
                id: row.session_id,
                created_at: row.session_created_at,
                last_seen_at: row.session_last_seen_at.unwrap_or(row.session_created_at),
                expires_at: row.session_expires_at,
                status: status_index(row.status_list, row.status_idx),
                user: user!(row),
            },
            r#"SELECT session_id AS "session_id!: SessionId", session_created_at AS "session_created_at!: Timestamp",
            session_last_seen_at AS "session_last_seen_at?: Timestamp",
            session_expires_at AS "session_expires_at!: Timestamp",
            status_list AS "status_list?: StatusListId", status_idx AS "status_idx?: i64","#
                + "FROM (SELECT id AS session_id, user_id, token_hash, created_at AS session_created_at,
                last_seen_at AS session_last_seen_at, expires_at AS session_expires_at, ended_at, status_list, status_idx
                FROM sessions) AS s CROSS JOIN users
                WHERE users.id = s.user_id AND s.ended_at IS NULL AND session_expires_at > $2
                AND users.status = 'active' AND "
                + $condition,
            $key,
            $now as _,
        )
    };
}

/// Ends the live sessions that meet the condition on `$2` and what follows it.
macro_rules! end_sessions {
    ($tx:expr, $what:expr, $now:expr, $condition:tt, $($arg:expr),*) => {{
        let now: Timestamp = $now;
        let ended = returning_all!(
            $tx,
            $what,
            |row| Ended {
                id: row.id,
                user_id: row.user_id,
                expires_at: row.expires_at,
                status: status_index(row.status_list, row.status_idx),
            },
            r#"UPDATE sessions SET ended_at = $1 WHERE ended_at IS NULL AND expires_at > $1 AND "# + $condition
                + r#" RETURNING id AS "id!: SessionId", user_id AS "user_id!: UserId", expires_at AS "expires_at!: Timestamp",
                status_list AS "status_list?: StatusListId", status_idx AS "status_idx?: i64""#,
            now as _,
            $($arg),*
        )?;
        $tx.revoke_statuses(ended).await
    }};
}

impl<C: Connection> Conn<C> {
    /// The live session with this opaque token.
    pub async fn session_by_token(&mut self, hash: TokenHash, now: Timestamp) -> Result<Option<LiveSession>, Error> {
        Ok(fetch_live!(self, "s.token_hash = $1", hash.as_bytes(), now)?)
    }

    /// The live session with this id.
    pub async fn session_by_id(&mut self, id: SessionId, now: Timestamp) -> Result<Option<LiveSession>, Error> {
        Ok(fetch_live!(self, "s.session_id = $1", id as _, now)?)
    }

    /// The live sessions of a user, the newest first.
    pub async fn sessions_of(&mut self, user: UserId, now: Timestamp) -> Result<Vec<Session>, Error> {
        Ok(fetch_all!(
            self,
            |row| Session {
                id: row.id,
                user_id: row.user_id,
                created_at: row.created_at,
                last_seen_at: row.last_seen_at,
                expires_at: row.expires_at,
                address: row.address,
                user_agent: row.user_agent,
            },
            r#"SELECT id AS "id!: SessionId", user_id AS "user_id!: UserId", created_at AS "created_at!: Timestamp",
            COALESCE(last_seen_at, created_at) AS "last_seen_at!: Timestamp", expires_at AS "expires_at!: Timestamp",
            address AS "address!", user_agent FROM sessions
            WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 ORDER BY id DESC"#,
            user as _,
            now as _,
        )?)
    }
}

impl<C: Connection> Conn<C> {
    /// How many sessions have neither ended nor expired.
    pub async fn count_sessions(&mut self, now: Timestamp) -> Result<i64, Error> {
        Ok(fetch_scalar!(
            self,
            r#"SELECT COUNT(*) AS "count!" FROM sessions WHERE ended_at IS NULL AND expires_at > $1"#,
            now as _,
        )?)
    }
}

impl Tx {
    /// Adds a session, unless another session has its bit in the status list. Returns whether it was added.
    pub async fn insert_session(
        &mut self,
        session: &Session,
        token: TokenHash,
        status: StatusIndex,
    ) -> Result<bool, Error> {
        let idx = i64::from(status.idx);
        let inserted = execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at, address, user_agent, status_list,
            status_idx) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (status_list, status_idx) DO NOTHING",
            session.id as _,
            session.user_id as _,
            token.as_bytes(),
            session.created_at as _,
            session.expires_at as _,
            session.address,
            session.user_agent,
            status.list as _,
            idx,
        )?;
        Ok(inserted == 1)
    }

    /// Ends a session, and with it its opaque token and its JWTs. Returns its user; none when it does not live.
    pub async fn end_session(&mut self, id: SessionId, now: Timestamp) -> Result<Option<UserId>, Error> {
        let ended = end_sessions!(self, Invalidate::CredentialsOf(id.0), now, "id = $2", id as _)?;
        Ok(ended.first().map(|(_, user)| *user))
    }

    /// Ends a session of this user. Returns whether it did: a session that does not live, or is another user's, stays as it
    /// is.
    pub async fn end_own_session(&mut self, user: UserId, id: SessionId, now: Timestamp) -> Result<bool, Error> {
        let what = Invalidate::CredentialsOf(id.0);
        let ended = end_sessions!(self, what, now, "id = $2 AND user_id = $3", id as _, user as _)?;
        Ok(!ended.is_empty())
    }

    /// Ends all sessions of a user, except `but`. Returns which.
    pub async fn end_sessions_of(
        &mut self,
        user: UserId,
        but: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, Error> {
        let (what, but) = (Invalidate::CredentialsOf(user.0), but.unwrap_or_default());
        let ended = end_sessions!(self, what, now, "user_id = $2 AND id <> $3", user as _, but as _)?;
        Ok(ended.into_iter().map(|(id, _)| id).collect())
    }

    /// Ends the oldest sessions of a user, so that besides the new one no more than `others` remain.
    pub async fn end_oldest_sessions(
        &mut self,
        user: UserId,
        new: SessionId,
        others: u32,
        now: Timestamp,
    ) -> Result<(), Error> {
        let others = i64::from(others);
        // The new one is excluded by its id: by the time in it, which another server's clock may have made, it could be the
        // oldest.
        let ended = end_sessions!(
            self,
            // Those that it ends, which is seldom any: a login must not empty the caches of other servers.
            Invalidate::Nothing,
            now,
            "id IN (SELECT id FROM sessions WHERE user_id = $2 AND id <> $3 AND ended_at IS NULL AND expires_at > $1
            ORDER BY id DESC LIMIT 1000000 OFFSET $4)",
            user as _,
            new as _,
            others
        )?;
        ended.into_iter().for_each(|(id, _)| self.invalidate(Invalidate::CredentialsOf(id.0)));
        Ok(())
    }

    /// Ends every session. Returns how many. There may be millions, so none of them is read here.
    pub async fn end_all_sessions(&mut self, now: Timestamp) -> Result<u64, Error> {
        let ended = execute!(
            self,
            Invalidate::Everything,
            "UPDATE sessions SET ended_at = $1 WHERE ended_at IS NULL AND expires_at > $1",
            now as _,
        )?;
        execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO revoked_statuses (list_id, idx, expires_at) SELECT status_list, status_idx, expires_at
            FROM sessions WHERE ended_at = $1 AND status_list IS NOT NULL ON CONFLICT DO NOTHING",
            now as _,
        )?;
        let lists = fetch_all!(
            self,
            |row| row.id,
            r#"SELECT DISTINCT status_list AS "id!: StatusListId" FROM sessions
            WHERE ended_at = $1 AND status_list IS NOT NULL ORDER BY status_list DESC"#,
            now as _,
        )?;
        for list in lists {
            self.advance_status_version(list).await?;
        }
        Ok(ended)
    }

    /// Sets the bits of sessions that were just ended, in the lists that are served next.
    async fn revoke_statuses(&mut self, ended: Vec<Ended>) -> Result<Vec<(SessionId, UserId)>, Error> {
        // The newest list first, as a login does that closes a list: two transactions that change the same lists in opposite
        // orders would deadlock.
        let mut changed = BTreeSet::new();
        for session in &ended {
            if let Some(status) = session.status {
                self.revoke_status(status, session.expires_at).await?;
                changed.insert(status.list);
            }
        }
        for list in changed.into_iter().rev() {
            self.advance_status_version(list).await?;
        }
        Ok(ended.into_iter().map(|session| (session.id, session.user_id)).collect())
    }

    /// Records when sessions were last used, in the order of their ids.
    pub async fn record_sessions_seen(&mut self, uses: &[(SessionId, Timestamp)]) -> Result<(), Error> {
        self.invalidate(Invalidate::Nothing);
        on_each_store!(
            self,
            sqlite: |driver| {
                let uses = json_of_uses(uses.iter().map(|(id, at)| (id.0, *at)));
                sqlx::query!(
                    "/* sqlite */ UPDATE sessions SET last_seen_at = used.at
                    FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS at FROM json_each($1)) AS used
                    WHERE sessions.id = used.id AND COALESCE(last_seen_at, created_at) < used.at",
                    uses
                )
                .execute(driver)
                .await?;
            },
            // One by one, in their order: one statement could lock them in another order than a second server does, and
            // deadlock.
            postgres: |driver| for (id, at) in uses {
                in_time(
                    sqlx::query!(
                        "/* postgres */ UPDATE sessions SET last_seen_at = $1
                        WHERE id = $2 AND COALESCE(last_seen_at, created_at) < $1",
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

    /// Deletes up to `most` sessions that expired before `moment`. Returns how many.
    pub async fn delete_sessions_expired_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        // Expiry is checked at each use, so nothing that is cached becomes wrong.
        Ok(execute!(
            self,
            Invalidate::Nothing,
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }
}

/// Uses of sessions or tokens, as a statement of SQLite reads them: `[["id in hex", milliseconds], …]`.
pub fn json_of_uses(uses: impl Iterator<Item = (uuid::Uuid, Timestamp)>) -> String {
    let uses = uses.map(|(id, at)| serde_json::json!([id.simple().to_string(), at.0]));
    uses.collect::<serde_json::Value>().to_string()
}
