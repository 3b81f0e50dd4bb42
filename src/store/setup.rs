//! `setup`: the setup token's hash, while no admin exists; one row or none. Creating an admin removes it in the same
//! transaction, so of two who come with the token at once only one makes an admin. A row that a server starting at that
//! very moment lays down after it is dead: it counts only while there is no admin.

use super::{Conn, Tx, execute, fetch_optional};
use crate::{
    error::Error,
    model::{Timestamp, TokenHash},
};

struct SetupRow {
    token_hash: Vec<u8>,
}

impl Conn {
    /// Whether this is the setup token, and may still be used.
    pub async fn is_setup_token(&mut self, hash: TokenHash) -> Result<bool, Error> {
        let row = fetch_optional!(self, SetupRow, r#"SELECT token_hash AS "token_hash!" FROM setup WHERE id = 1"#)?;
        Ok(row.is_some_and(|row| hash.matches(&row.token_hash)) && !self.has_admin().await?)
    }
}

impl Tx {
    /// Lays a setup token down, unless one lies there. Tells whether it did.
    pub async fn add_setup_token(&mut self, hash: TokenHash, now: Timestamp) -> Result<bool, Error> {
        let added = execute!(
            &mut **self,
            "INSERT INTO setup (id, token_hash, created_at) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING",
            hash.as_bytes(),
            now as _,
        )?;
        Ok(added == 1)
    }

    /// Uses the setup token: it must still be there, and nobody else uses it until this transaction ends.
    pub async fn use_setup_token(&mut self, hash: TokenHash, now: Timestamp) -> Result<(), Error> {
        let used = execute!(
            &mut **self,
            "UPDATE setup SET last_used_at = $1 WHERE token_hash = $2",
            now as _,
            hash.as_bytes(),
        )?;
        if used == 1 && !self.has_admin().await? { Ok(()) } else { Err(Error::InvalidToken) }
    }

    /// Takes the setup token away.
    pub async fn delete_setup_token(&mut self) -> Result<(), Error> {
        execute!(&mut **self, "DELETE FROM setup")?;
        Ok(())
    }
}
