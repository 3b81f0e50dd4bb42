//! `signing_keys`: the keys that sign JWTs. For each algorithm, the newest key whose `signs_from` has passed signs.
//! When a key is added, the others get a `verifies_until`; they are deleted at that time.

use crate::error::Error;
use crate::model::{SealedKey, Timestamp};
use crate::store::invalidation::Invalidate;
use crate::store::query::{execute, fetch_all};
use crate::store::{Conn, Connection, Tx};

impl<C: Connection> Conn<C> {
    /// The keys that may still verify tokens, oldest first.
    pub async fn signing_keys(&mut self, now: Timestamp) -> Result<Vec<SealedKey>, Error> {
        Ok(fetch_all!(
            self,
            |row| SealedKey {
                kid: row.kid,
                algorithm: row.algorithm,
                generation: row.generation,
                public_jwk: row.public_jwk,
                private_key: row.private_key,
                created_at: row.created_at,
                signs_from: row.signs_from,
                longest_jwt_ttl: row.longest_jwt_ttl,
                verifies_until: row.verifies_until,
            },
            r#"SELECT kid AS "kid!", algorithm AS "algorithm!", generation AS "generation!", public_jwk AS "public_jwk!",
            private_key AS "private_key!", created_at AS "created_at!: Timestamp", signs_from AS "signs_from!: Timestamp",
            longest_jwt_ttl AS "longest_jwt_ttl!", verifies_until AS "verifies_until: Timestamp" FROM signing_keys
            WHERE verifies_until IS NULL OR verifies_until > $1 ORDER BY signs_from, kid"#,
            now as _,
        )?)
    }
}

impl Tx {
    /// Adds a key, unless another server has added one of this generation. Returns whether it was added.
    pub async fn insert_signing_key(&mut self, key: &SealedKey) -> Result<bool, Error> {
        let inserted = execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO signing_keys (kid, algorithm, generation, public_jwk, private_key, created_at, signs_from,
            longest_jwt_ttl) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (algorithm, generation) DO NOTHING",
            key.kid,
            key.algorithm,
            key.generation,
            key.public_jwk,
            key.private_key,
            key.created_at as _,
            key.signs_from as _,
            key.longest_jwt_ttl,
        )?;
        Ok(inserted == 1)
    }

    /// Sets `verifies_until` of every other key that has none: the time when the longest-lived token that it may have
    /// signed by `last_signature` has expired.
    pub async fn retire_signing_keys_but(&mut self, kid: &str, last_signature: Timestamp) -> Result<(), Error> {
        execute!(
            self,
            Invalidate::Nothing,
            "UPDATE signing_keys SET verifies_until = longest_jwt_ttl + $1 WHERE kid <> $2 AND verifies_until IS NULL",
            last_signature as _,
            kid,
        )?;
        Ok(())
    }

    /// Raises the longest lifetime of the tokens that unretired keys may sign to `ttl` milliseconds.
    pub async fn raise_longest_jwt_ttl(&mut self, ttl: i64) -> Result<(), Error> {
        execute!(
            self,
            Invalidate::Nothing,
            "UPDATE signing_keys SET longest_jwt_ttl = $1 WHERE longest_jwt_ttl < $1 AND verifies_until IS NULL",
            ttl,
        )?;
        Ok(())
    }

    /// Deletes every key, which invalidates every token they signed.
    pub async fn delete_all_signing_keys(&mut self) -> Result<(), Error> {
        execute!(self, Invalidate::Nothing, "DELETE FROM signing_keys")?;
        Ok(())
    }

    /// Deletes the keys whose last token has expired at `moment`. Returns how many.
    pub async fn delete_spent_signing_keys(&mut self, moment: Timestamp) -> Result<u64, Error> {
        Ok(execute!(self, Invalidate::Nothing, "DELETE FROM signing_keys WHERE verifies_until <= $1", moment as _)?)
    }
}
