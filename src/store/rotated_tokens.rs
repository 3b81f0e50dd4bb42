//! `rotated_tokens`: the hashes that the opaque tokens of sessions had before they were exchanged. Whoever presents one has
//! a copy. A trigger on `sessions` writes them down, and they go with their sessions.

use super::{Conn, Tx, execute, fetch_optional};
use crate::{
    error::Error,
    model::{SessionId, Timestamp, TokenHash},
};

/// How often the token of one session can be exchanged, each of which leaves a row: every half minute for a month.
const MAX_ROTATIONS: i64 = 100_000;

struct RotatedRow {
    session_id: SessionId,
}

impl Conn {
    /// The live session whose opaque token was exchanged for another and had this hash before.
    pub async fn session_by_rotated_token(
        &mut self,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<Option<SessionId>, Error> {
        let row = fetch_optional!(
            self,
            RotatedRow,
            r#"SELECT s.id AS "session_id!: SessionId" FROM rotated_tokens r JOIN sessions s ON s.id = r.session_id
            WHERE r.token_hash = $1 AND s.ended_at IS NULL AND s.expires_at > $2"#,
            hash.as_bytes(),
            now as _,
        )?;
        Ok(row.map(|row| row.session_id))
    }
}

impl Tx {
    /// Exchanges a live session's opaque token for another, if it is still this one and was not exchanged too often: of any
    /// number who try at once, one does. Tells whether it did.
    pub async fn rotate_token(
        &mut self,
        id: SessionId,
        old: TokenHash,
        new: TokenHash,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.touch(id.0);
        let rotated = execute!(
            &mut **self,
            "UPDATE sessions SET token_hash = $1, rotations = rotations + 1
            WHERE id = $2 AND token_hash = $3 AND ended_at IS NULL AND expires_at > $4 AND rotations < $5",
            new.as_bytes(),
            id as _,
            old.as_bytes(),
            now as _,
            MAX_ROTATIONS,
        )?;
        Ok(rotated == 1)
    }

    /// Forgets up to `most` exchanged tokens of sessions that ran out before `moment`. Tells how many. They go before their
    /// sessions do, which would otherwise take any number of them along in one step.
    pub async fn delete_rotated_tokens_expired_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            &mut **self,
            "DELETE FROM rotated_tokens WHERE token_hash IN (SELECT r.token_hash FROM sessions s
            JOIN rotated_tokens r ON r.session_id = s.id WHERE s.expires_at < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }
}
