//! Opens a database to examine it, which changes and creates nothing: no file, no migration, no mode.

use crate::error::{Error, StartError};
use crate::model::Timestamp;
use crate::store::query::fetch_scalar;
use crate::store::sqlite::integrity::integrity_error;
use crate::store::{Conn, Connection, Driver, Location, Store, postgres, sqlite};

impl Store {
    /// Whether there is a database. It creates nothing.
    pub async fn exists(location: &Location) -> Result<bool, StartError> {
        match location {
            Location::Sqlite(path) => Ok(path.metadata().is_ok_and(|file| file.len() > 0)),
            Location::Postgres(server) => {
                let store = postgres::open_read_only(server).await?;
                let schema = store.read().await?.schema().await;
                store.close().await;
                Ok(schema?.last.is_some())
            }
        }
    }

    /// Opens a database for reads only. None when it does not exist yet.
    pub async fn open_read_only(location: &Location) -> Result<Option<Self>, StartError> {
        match location {
            Location::Sqlite(path) => sqlite::open_read_only(path).await,
            Location::Postgres(server) => postgres::open_read_only(server).await.map(Some),
        }
    }
}

impl<C: Connection> Conn<C> {
    /// Checks that the database answers from its tables and not from memory.
    pub async fn ping(&mut self) -> Result<(), Error> {
        fetch_scalar!(self, r#"SELECT EXISTS (SELECT 1 FROM audit_head) AS "answers!: bool""#)?;
        Ok(())
    }

    /// The first fault in the database, if any. PostgreSQL checks its files itself, so of it this says only that it answers.
    pub async fn integrity_error(&mut self) -> Result<Option<String>, Error> {
        match self.driver() {
            Driver::Sqlite(conn) => {
                let enforced: bool = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut *conn).await?;
                if !enforced {
                    return Ok(Some("this SQLite does not enforce foreign keys".into()));
                }
                match integrity_error(conn, "quick_check").await {
                    Err(sqlx::Error::Database(fault)) => Ok(Some(fault.message().to_owned())),
                    found => Ok(found?),
                }
            }
            Driver::Postgres(conn) => {
                sqlx::query("SELECT 1").execute(conn).await?;
                Ok(None)
            }
        }
    }

    /// What time it is on the PostgreSQL server; none with SQLite, which runs in this process.
    pub async fn server_time(&mut self) -> Result<Option<Timestamp>, Error> {
        match self.driver() {
            Driver::Sqlite(_) => Ok(None),
            Driver::Postgres(conn) => {
                let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
                Ok(Some(sqlx::query_scalar(sql).fetch_one(conn).await?))
            }
        }
    }

    /// The latest time that the database records of anything.
    pub async fn latest_timestamp(&mut self) -> Result<Option<Timestamp>, Error> {
        Ok(fetch_scalar!(
            self,
            r#"SELECT MAX(at) AS "at: Timestamp" FROM (SELECT MAX(at) AS at FROM audit
            UNION ALL SELECT MAX(updated_at) FROM users UNION ALL SELECT MAX(last_login_at) FROM users
            UNION ALL SELECT MAX(created_at) FROM sessions UNION ALL SELECT MAX(last_seen_at) FROM sessions
            UNION ALL SELECT MAX(created_at) FROM personal_tokens UNION ALL SELECT MAX(last_used_at) FROM personal_tokens
            UNION ALL SELECT MAX(created_at) FROM signing_keys) AS moments"#,
        )?)
    }
}
