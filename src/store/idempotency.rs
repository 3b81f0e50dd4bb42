//! `idempotency_keys`: requests that may come again, by the hash of who sent them and the key they chose, and what they were
//! answered. A row counts for a day.

use super::{Conn, Tx, execute, fetch_optional};
use crate::{
    error::Error,
    model::{Timestamp, TokenHash},
};

struct SealedRow {
    sealed: Vec<u8>,
}

impl Conn {
    /// What the request with this key was answered, if that was after `since`.
    pub async fn answered(&mut self, key: TokenHash, since: Timestamp) -> Result<Option<Vec<u8>>, Error> {
        let row = fetch_optional!(
            self,
            SealedRow,
            r#"SELECT sealed AS "sealed!" FROM idempotency_keys WHERE key_hash = $1 AND created_at > $2"#,
            key.as_bytes(),
            since as _,
        )?;
        Ok(row.map(|row| row.sealed))
    }
}

impl Tx {
    /// Notes what a request was answered, in place of what was noted before `since`. Tells whether it did: another may have
    /// come with the key meanwhile.
    pub async fn note_answer(
        &mut self,
        key: TokenHash,
        sealed: &[u8],
        since: Timestamp,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let noted = execute!(
            &mut **self,
            "INSERT INTO idempotency_keys (key_hash, sealed, created_at) VALUES ($1, $2, $3)
            ON CONFLICT (key_hash) DO UPDATE SET sealed = $2, created_at = $3 WHERE idempotency_keys.created_at <= $4",
            key.as_bytes(),
            sealed,
            now as _,
            since as _,
        )?;
        Ok(noted == 1)
    }

    /// Forgets every answer.
    pub async fn delete_all_answers(&mut self) -> Result<(), Error> {
        execute!(&mut **self, "DELETE FROM idempotency_keys")?;
        Ok(())
    }

    /// Forgets up to `most` answers from before `moment`. Tells how many.
    pub async fn delete_answers_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            &mut **self,
            "DELETE FROM idempotency_keys WHERE key_hash IN
            (SELECT key_hash FROM idempotency_keys WHERE created_at < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }
}
