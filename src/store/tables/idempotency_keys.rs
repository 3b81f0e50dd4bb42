//! `idempotency_keys`: the sealed responses to requests that may be retried, by a hash of the caller and their key. A
//! row is valid for a day.

use crate::error::Error;
use crate::model::{Timestamp, TokenHash};
use crate::store::invalidation::Invalidate;
use crate::store::query::{execute, fetch_optional};
use crate::store::{Conn, Connection, Tx};

impl<C: Connection> Conn<C> {
    /// The response stored for this key after `since`.
    pub async fn stored_response(&mut self, key: TokenHash, since: Timestamp) -> Result<Option<Vec<u8>>, Error> {
        Ok(fetch_optional!(
            self,
            |row| row.sealed,
            r#"SELECT sealed AS "sealed!" FROM idempotency_keys WHERE key_hash = $1 AND created_at > $2"#,
            key.as_bytes(),
            since as _,
        )?)
    }
}

impl Tx {
    /// Stores a response, replacing one from before `since`. Returns false if a concurrent request has stored one for
    /// this key.
    pub async fn store_response(
        &mut self,
        key: TokenHash,
        sealed: &[u8],
        since: Timestamp,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let stored = execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO idempotency_keys (key_hash, sealed, created_at) VALUES ($1, $2, $3)
            ON CONFLICT (key_hash) DO UPDATE SET sealed = $2, created_at = $3 WHERE idempotency_keys.created_at <= $4",
            key.as_bytes(),
            sealed,
            now as _,
            since as _,
        )?;
        Ok(stored == 1)
    }

    /// Deletes every stored response.
    pub async fn delete_all_stored_responses(&mut self) -> Result<(), Error> {
        execute!(self, Invalidate::Nothing, "DELETE FROM idempotency_keys")?;
        Ok(())
    }

    /// Deletes up to `most` responses from before `moment`. Returns how many.
    pub async fn delete_stored_responses_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            self,
            Invalidate::Nothing,
            "DELETE FROM idempotency_keys WHERE key_hash IN
            (SELECT key_hash FROM idempotency_keys WHERE created_at < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }
}
