//! `rotated_tokens`: the hashes of opaque tokens that a refresh has replaced. Whoever presents such a token has a copy of it.
//! The rows are deleted with their sessions.

use crate::error::Error;
use crate::model::{SessionId, Timestamp, TokenHash};
use crate::store::invalidation::Invalidate;
use crate::store::query::{execute, fetch_optional};
use crate::store::{Conn, Connection, Tx};

/// How often the token of one session can be rotated, each of which leaves a row: every half minute for a month.
const MAX_ROTATIONS: i64 = 100_000;

impl<C: Connection> Conn<C> {
    /// The live session that had this opaque token before a rotation.
    pub async fn session_by_rotated_token(
        &mut self,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<Option<SessionId>, Error> {
        Ok(fetch_optional!(
            self,
            |row| row.session_id,
            r#"SELECT s.id AS "session_id!: SessionId" FROM rotated_tokens r JOIN sessions s ON s.id = r.session_id
            WHERE r.token_hash = $1 AND s.ended_at IS NULL AND s.expires_at > $2"#,
            hash.as_bytes(),
            now as _,
        )?)
    }
}

impl Tx {
    /// Replaces the opaque token of a live session, if it is still `old` and was not rotated too often: of any number of
    /// requests that try at once, one succeeds. Returns whether it did.
    pub async fn rotate_token(
        &mut self,
        id: SessionId,
        old: TokenHash,
        new: TokenHash,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let rotated = execute!(
            self,
            Invalidate::CredentialsOf(id.0),
            "UPDATE sessions SET token_hash = $1, rotations = rotations + 1
            WHERE id = $2 AND token_hash = $3 AND ended_at IS NULL AND expires_at > $4 AND rotations < $5",
            new.as_bytes(),
            id as _,
            old.as_bytes(),
            now as _,
            MAX_ROTATIONS,
        )?;
        if rotated == 0 {
            return Ok(false);
        }
        execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO rotated_tokens (token_hash, session_id, rotation)
            SELECT $1, id, rotations FROM sessions WHERE id = $2",
            old.as_bytes(),
            id as _,
        )?;
        Ok(true)
    }

    /// Deletes up to `most` rotated tokens of sessions that expired before `moment`. Returns how many. They go before their
    /// sessions, whose deletion would otherwise delete any number of them in one step.
    pub async fn delete_rotated_tokens_expired_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            self,
            Invalidate::Nothing,
            "DELETE FROM rotated_tokens WHERE token_hash IN (SELECT r.token_hash FROM sessions s
            JOIN rotated_tokens r ON r.session_id = s.id WHERE s.expires_at < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }
}
