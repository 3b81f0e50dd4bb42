//! `_sqlx_migrations`: which migrations made the schema of this database. sqlx writes it; here it is only read.

use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migrator};

use super::{Conn, open};
use crate::error::{Error, StartError};

/// Where sqlx notes them.
const TABLE: &str = "_sqlx_migrations";

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
        let known = match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => &open::SQLITE_MIGRATIONS,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => &open::POSTGRES_MIGRATIONS,
        };
        let applied = if self.has_migrations().await? {
            let applied = match self {
                #[cfg(feature = "sqlite")]
                Self::Sqlite(conn) => applied(&mut **conn, known).await,
                #[cfg(feature = "postgres")]
                Self::Postgres(conn) => applied(&mut **conn, known).await,
            };
            applied.map_err(|error| open::schema(&error))?
        } else {
            Vec::new()
        };
        let is_applied = |version| applied.iter().any(|applied| applied.version == version);
        Ok(Schema {
            last: applied.iter().map(|applied| applied.version).max(),
            pending: known.iter().map(|known| known.version).filter(|version| !is_applied(*version)).collect(),
        })
    }

    async fn has_migrations(&mut self) -> Result<bool, Error> {
        Ok(match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(conn) => {
                let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1)";
                sqlx::query_scalar(sql).bind(TABLE).fetch_one(&mut **conn).await?
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => {
                sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(TABLE).fetch_one(&mut **conn).await?
            }
        })
    }
}

/// The migrations a database has, each of which must be one of those that are known.
async fn applied(conn: &mut impl Migrate, known: &Migrator) -> Result<Vec<AppliedMigration>, MigrateError> {
    if let Some(version) = conn.dirty_version(TABLE).await? {
        return Err(MigrateError::Dirty(version));
    }
    let applied = conn.list_applied_migrations(TABLE).await?;
    for migration in &applied {
        match known.iter().find(|known| known.version == migration.version) {
            None => return Err(MigrateError::VersionMissing(migration.version)),
            Some(known) if known.checksum != migration.checksum => {
                return Err(MigrateError::VersionMismatch(migration.version));
            }
            Some(_) => {}
        }
    }
    Ok(applied)
}
