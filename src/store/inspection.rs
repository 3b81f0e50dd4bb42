//! A look at a database that changes nothing and makes nothing: no file, no migration, no mode.

#[cfg(feature = "sqlite")]
use std::path::Path;

#[cfg(feature = "sqlite")]
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};

#[cfg(feature = "postgres")]
use super::PATIENCE;
#[cfg(feature = "sqlite")]
use super::writer::Writer;
use super::{Changes, Conn, Location, Pools, Store, fetch_scalar, open};
use crate::{
    error::{Error, StartError},
    model::Timestamp,
};

impl Store {
    /// Opens a database to look at it. None when it has not been made.
    pub async fn open_to_look(location: &Location) -> Result<Option<Self>, StartError> {
        match location {
            #[cfg(feature = "sqlite")]
            Location::Sqlite(path) => look_at_sqlite(path).await,
            #[cfg(feature = "postgres")]
            Location::Postgres(options) => {
                use sqlx::Connection;
                drop(open::connect_postgres(options).await?.close().await);
                let options = options.clone().options([("default_transaction_read_only", "on")]);
                let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE);
                let pool = pool.connect_lazy_with(options);
                let pools = Pools::Postgres { write: pool.clone(), read: pool };
                Ok(Some(Self { pools, changes: Changes::of_server() }))
            }
        }
    }
}

#[cfg(feature = "sqlite")]
async fn look_at_sqlite(path: &Path) -> Result<Option<Store>, StartError> {
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open::cannot_open(path, &error)),
        // What `touch` makes, and a server that stopped just there.
        Ok(file) if file.len() == 0 => return Ok(None),
        Ok(_) => {}
    }
    // Without a log nobody has it open, and SQLite would make one.
    let is_closed = !open::with_suffix(path, "-wal").exists();
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(is_closed);
    let reader = options.connect().await.map_err(|error| open::cannot_open(path, &open::plain(&error)))?;
    let pools = Pools::Sqlite { write: Writer::none(), read: [reader].into(), path: path.to_owned() };
    Ok(Some(Store { pools, changes: Changes::of_file() }))
}

impl Conn {
    /// What is amiss in the database. PostgreSQL looks after its files by itself; of it this tells that it answers.
    pub async fn damage(&mut self) -> Result<Option<String>, Error> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(conn) => {
                let enforced: bool = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut **conn).await?;
                if !enforced {
                    return Ok(Some("this SQLite does not enforce foreign keys".into()));
                }
                match damage(conn, "quick_check").await {
                    Err(sqlx::Error::Database(fault)) => Ok(Some(fault.message().to_owned())),
                    damage => Ok(damage?),
                }
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => {
                sqlx::query("SELECT 1").execute(&mut **conn).await?;
                Ok(None)
            }
        }
    }

    /// What time it is where PostgreSQL runs. SQLite runs here.
    pub async fn clock_of_server(&mut self) -> Result<Option<Timestamp>, Error> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Ok(None),
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => {
                let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
                Ok(Some(sqlx::query_scalar(sql).fetch_one(&mut **conn).await?))
            }
        }
    }

    /// The latest moment at which something is said to have happened.
    pub async fn latest_moment(&mut self) -> Result<Option<Timestamp>, Error> {
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

/// What is amiss in a file, the first of it: `integrity_check` finds what `quick_check` does, and indexes that lack a row.
#[cfg(feature = "sqlite")]
pub(super) async fn damage(conn: &mut SqliteConnection, check: &str) -> Result<Option<String>, sqlx::Error> {
    let found: String = sqlx::query_scalar(AssertSqlSafe(format!("PRAGMA {check}(1)"))).fetch_one(&mut *conn).await?;
    if found != "ok" {
        // What comes before it names the file in SQLite's own words.
        return Ok(found.lines().last().map(ToOwned::to_owned));
    }
    let orphans = "SELECT COUNT(*) FROM pragma_foreign_key_check";
    let orphans: i64 = sqlx::query_scalar(orphans).fetch_one(conn).await?;
    Ok((orphans > 0).then(|| format!("{orphans} rows hang on rows that are missing")))
}
