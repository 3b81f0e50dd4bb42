//! `setup`: the setup token's hash, while no admin exists; one row or none. Creating an admin removes it in the same
//! transaction, so of two who come with the token at once only one makes an admin. A row that a server starting at that
//! very moment lays down after it is dead: it counts only while there is no admin.

use crate::{
    error::Error,
    model::{Timestamp, TokenHash},
    store::{
        Conn, Connection, Tx,
        invalidation::Invalidate,
        query::{execute, fetch_optional},
    },
};

impl<C: Connection> Conn<C> {
    /// Whether this is the setup token, and may still be used.
    pub async fn is_setup_token(&mut self, hash: TokenHash) -> Result<bool, Error> {
        let stored = fetch_optional!(
            self,
            |row| row.token_hash,
            r#"SELECT token_hash AS "token_hash!" FROM setup WHERE id = 1"#
        )?;
        Ok(stored.is_some_and(|stored| hash.matches(&stored)) && !self.has_admin().await?)
    }
}

impl Tx {
    /// Lays a setup token down, unless one lies there. Tells whether it did.
    pub async fn add_setup_token(&mut self, hash: TokenHash, now: Timestamp) -> Result<bool, Error> {
        let added = execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO setup (id, token_hash, created_at) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING",
            hash.as_bytes(),
            now as _,
        )?;
        Ok(added == 1)
    }

    /// Uses the setup token: it must still be there, and nobody else uses it until this transaction ends.
    pub async fn use_setup_token(&mut self, hash: TokenHash, now: Timestamp) -> Result<(), Error> {
        let used = execute!(
            self,
            Invalidate::Nothing,
            "UPDATE setup SET last_used_at = $1 WHERE token_hash = $2",
            now as _,
            hash.as_bytes(),
        )?;
        if used == 1 && !self.has_admin().await? { Ok(()) } else { Err(Error::InvalidToken) }
    }

    /// Takes the setup token away.
    pub async fn delete_setup_token(&mut self) -> Result<(), Error> {
        execute!(self, Invalidate::Nothing, "DELETE FROM setup")?;
        Ok(())
    }
}
