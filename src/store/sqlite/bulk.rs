//! How SQLite is set while an import writes many rows.

use sqlx::Executor;

use crate::error::Error;
use crate::store::{Driver, Tx};

impl Tx {
    /// Makes room for many rows, until [`Tx::end_bulk`]: with SQLite, pages stay in memory and the log grows to half a
    /// gigabyte before a checkpoint, because rows in random order touch every page of an index again and again.
    pub async fn begin_bulk(&mut self) -> Result<(), Error> {
        let room = "PRAGMA cache_size = -131072; PRAGMA wal_autocheckpoint = 131072; PRAGMA journal_size_limit = -1";
        self.pragma(room).await
    }

    /// Releases most of the memory of the page cache, which would otherwise grow with the file.
    pub async fn shrink_page_cache(&mut self) -> Result<(), Error> {
        self.pragma("PRAGMA cache_size = -32768").await
    }

    /// Lets the next commit make a checkpoint, and puts the usual settings back.
    pub async fn end_bulk(&mut self) -> Result<(), Error> {
        let usual = "PRAGMA cache_size = -2000; PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864";
        self.pragma(usual).await
    }

    /// Sets something on the connection to SQLite. PostgreSQL needs none of it.
    async fn pragma(&mut self, text: &'static str) -> Result<(), Error> {
        match self.driver() {
            Driver::Sqlite(conn) => conn.execute(sqlx::raw_sql(text)).await.map(drop)?,
            Driver::Postgres(_) => {}
        }
        Ok(())
    }
}
