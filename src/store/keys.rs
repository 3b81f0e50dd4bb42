//! `signing_keys`: what signs JWTs, one after the other. The one of an algorithm that signs is the newest whose `signs_from`
//! has come; `verifies_until` is set on the others when the next one is made, and then they go.

use super::{Conn, Tx, execute, fetch_all};
use crate::{
    error::Error,
    model::{SealedKey, Timestamp},
};

impl Conn {
    /// Every key that may still verify, the oldest first.
    pub async fn signing_keys(&mut self, now: Timestamp) -> Result<Vec<SealedKey>, Error> {
        Ok(fetch_all!(
            self,
            SealedKey,
            r#"SELECT kid AS "kid!", algorithm AS "algorithm!", generation AS "generation!", public_jwk AS "public_jwk!",
            private_key AS "private_key!", created_at AS "created_at!: Timestamp", signs_from AS "signs_from!: Timestamp",
            verifies_until AS "verifies_until: Timestamp" FROM signing_keys
            WHERE verifies_until IS NULL OR verifies_until > $1 ORDER BY signs_from, kid"#,
            now as _,
        )?)
    }
}

impl Tx {
    /// Adds a key, unless another server was first with this generation. Tells whether it did.
    pub async fn insert_signing_key(&mut self, key: &SealedKey) -> Result<bool, Error> {
        let inserted = execute!(
            &mut **self,
            "INSERT INTO signing_keys (kid, algorithm, generation, public_jwk, private_key, created_at, signs_from)
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (algorithm, generation) DO NOTHING",
            key.kid,
            key.algorithm,
            key.generation,
            key.public_jwk,
            key.private_key,
            key.created_at as _,
            key.signs_from as _,
        )?;
        Ok(inserted == 1)
    }

    /// Says of every key but this one when it goes, unless that was said before.
    pub async fn retire_signing_keys_but(&mut self, kid: &str, verifies_until: Timestamp) -> Result<(), Error> {
        execute!(
            &mut **self,
            "UPDATE signing_keys SET verifies_until = $1 WHERE kid <> $2 AND verifies_until IS NULL",
            verifies_until as _,
            kid,
        )?;
        Ok(())
    }

    /// Forgets the keys whose last token has run out at `moment`.
    pub async fn delete_spent_signing_keys(&mut self, moment: Timestamp) -> Result<u64, Error> {
        Ok(execute!(&mut **self, "DELETE FROM signing_keys WHERE verifies_until <= $1", moment as _)?)
    }
}
