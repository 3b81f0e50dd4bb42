//! `_sqlx_migrations`: which migrations made the schema of this database. sqlx writes it; here it is only read.

#[cfg(feature = "postgres")]
use sqlx::PgConnection;
#[cfg(feature = "sqlite")]
use sqlx::SqliteConnection;
use sqlx::migrate::{Migrate, MigrateError, Migrator};

use super::{Conn, open};
use crate::error::StartError;

/// Where sqlx notes them.
pub(super) const TABLE: &str = "_sqlx_migrations";

/// How far a schema has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The last migration it has; none when it is nobody's schema yet.
    pub last: Option<i64>,
    /// Those that this version has besides, the oldest first.
    pub pending: Vec<i64>,
}

impl Conn {
    /// How far the schema has come. It is refused by name when it is newer than this version, or was changed.
    pub async fn schema(&mut self) -> Result<Schema, StartError> {
        let schema = match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(conn) => of_sqlite(conn).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => of_postgres(conn).await,
        };
        schema.map_err(|error| StartError(fault(&error)))
    }
}

#[cfg(feature = "sqlite")]
pub(super) async fn of_sqlite(conn: &mut SqliteConnection) -> Result<Schema, MigrateError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1)";
    let is_there = sqlx::query_scalar(sql).bind(TABLE).fetch_one(&mut *conn).await?;
    schema(conn, is_there, &open::SQLITE_MIGRATIONS).await
}

#[cfg(feature = "postgres")]
async fn of_postgres(conn: &mut PgConnection) -> Result<Schema, MigrateError> {
    let is_there = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(TABLE).fetch_one(&mut *conn).await?;
    schema(conn, is_there, &open::POSTGRES_MIGRATIONS).await
}

async fn schema(conn: &mut impl Migrate, is_there: bool, known: &Migrator) -> Result<Schema, MigrateError> {
    let mut applied = Vec::new();
    if is_there {
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

/// Why a schema is not taken, or cannot be brought up to date.
pub(super) fn fault(error: &MigrateError) -> String {
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
