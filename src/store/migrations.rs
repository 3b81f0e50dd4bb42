//! `_sqlx_migrations`: which migrations made the schema of a database. sqlx writes that table; here it is only read.

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::{PgConnection, SqliteConnection};

use crate::error::StartError;
use crate::store::{Conn, Connection, Driver};

pub static SQLITE: Migrator = sqlx::migrate!("./migrations");
pub static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

/// The table that sqlx records migrations in.
pub const TABLE: &str = "_sqlx_migrations";

/// Which migrations a database has and lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The last migration that was applied; none when the database has no schema yet.
    pub last: Option<i64>,
    /// The migrations that this version of Countersign knows and the database lacks, the oldest first.
    pub pending: Vec<i64>,
}

impl Schema {
    /// Whether nothing is to be done.
    pub fn is_up_to_date(&self) -> bool {
        self.last.is_some() && self.pending.is_empty()
    }
}

impl<C: Connection> Conn<C> {
    /// Which migrations this database has and lacks. A schema that is newer than this version of Countersign, or was
    /// changed, is an error that names the migration.
    pub async fn schema(&mut self) -> Result<Schema, StartError> {
        let schema = match self.driver() {
            Driver::Sqlite(conn) => of_sqlite(conn).await,
            Driver::Postgres(conn) => of_postgres(conn).await,
        };
        schema.map_err(|error| StartError(fault(&error)))
    }
}

pub async fn of_sqlite(conn: &mut SqliteConnection) -> Result<Schema, MigrateError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1)";
    let exists = sqlx::query_scalar(sql).bind(TABLE).fetch_one(&mut *conn).await?;
    schema(conn, exists, &SQLITE).await
}

pub async fn of_postgres(conn: &mut PgConnection) -> Result<Schema, MigrateError> {
    let exists = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(TABLE).fetch_one(&mut *conn).await?;
    schema(conn, exists, &POSTGRES).await
}

async fn schema(conn: &mut impl Migrate, table_exists: bool, known: &Migrator) -> Result<Schema, MigrateError> {
    let mut applied = Vec::new();
    if table_exists {
        if let Some(version) = conn.dirty_version(TABLE).await? {
            return Err(MigrateError::Dirty(version));
        }
        applied = conn.list_applied_migrations(TABLE).await?;
    }
    for migration in &applied {
        match known.iter().find(|known| known.version == migration.version) {
            None => return Err(MigrateError::VersionMissing(migration.version)),
            Some(known) if known.checksum != migration.checksum => {
                return Err(MigrateError::VersionMismatch(migration.version));
            }
            Some(_) => {}
        }
    }
    let is_applied = |version| applied.iter().any(|applied| applied.version == version);
    Ok(Schema {
        last: applied.iter().map(|applied| applied.version).max(),
        pending: known.iter().map(|known| known.version).filter(|version| !is_applied(*version)).collect(),
    })
}

/// Why the server does not start on this schema.
pub fn outdated(error: &MigrateError) -> StartError {
    StartError::setting("DATABASE_URL", fault(error))
}

/// Why a schema is refused, or cannot be brought up to date.
pub fn fault(error: &MigrateError) -> String {
    match error {
        MigrateError::VersionMissing(version) => format!(
            "migration {version} of this database is not known to this version of Countersign; run the newer version that \
             made it"
        ),
        MigrateError::VersionMismatch(version) => format!(
            "migration {version} of this database is not the one this version of Countersign has; run the version that \
             made it, or restore a backup"
        ),
        other => format!("the schema could not be brought up to date ({other}); mend that and start again"),
    }
}
