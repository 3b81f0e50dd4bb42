//! `signing_keys`: what signs JWTs. At most one key for an algorithm is not retired, whoever made it first.

use super::{Conn, Tx, execute, fetch_all};
use crate::{
    error::Error,
    model::{SealedKey, Timestamp},
};

impl Conn {
    /// Every key that is not retired.
    pub async fn signing_keys(&mut self) -> Result<Vec<SealedKey>, Error> {
        Ok(fetch_all!(
            self,
            SealedKey,
            r#"SELECT kid AS "kid!", algorithm AS "algorithm!", public_jwk AS "public_jwk!", private_key AS "private_key!",
            created_at AS "created_at!: Timestamp" FROM signing_keys WHERE retired_at IS NULL ORDER BY created_at"#,
        )?)
    }
}

impl Tx {
    /// Adds a key, unless another server added one for the algorithm first.
    pub async fn insert_signing_key(&mut self, key: &SealedKey) -> Result<(), Error> {
        execute!(
            &mut **self,
            "INSERT INTO signing_keys (kid, algorithm, public_jwk, private_key, created_at) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT DO NOTHING",
            key.kid,
            key.algorithm,
            key.public_jwk,
            key.private_key,
            key.created_at as _,
        )?;
        Ok(())
    }
}
