//! Backup and restore of a SQLite database. A backup is a SQLite file and can be written while servers write. A restore
//! replaces all rows in one transaction, so a reader sees the old state or the new one. The schema lists the tables.

use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tempfile::{NamedTempFile, TempDir};

use crate::error::{Error, StartError};
use crate::private_file::{self, folder_of};
use crate::store::error::reason;
use crate::store::invalidation::Invalidate;
use crate::store::location::with_suffix;
use crate::store::migrations::{self, fault};
use crate::store::sqlite::integrity::integrity_error;
use crate::store::{Driver, Tx};

/// Writes the current state of the database to a new file with mode 0600. The file appears whole or not at all.
pub async fn back_up(database: &Path, to: &Path) -> Result<(), StartError> {
    let cannot = |error: &dyn Display| StartError(format!("{} cannot be written: {error}", to.display()));
    if to.symlink_metadata().is_ok() {
        return Err(cannot(&"it is there already; name another file"));
    }
    let prefix = with_suffix(Path::new(to.file_name().unwrap_or_default()), ".partial-");
    let copy = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder_of(to)).map_err(|error| cannot(&error))?;
    fill(&copy, database).await.map_err(|error| {
        StartError::setting("DATABASE_URL", format_args!("{} cannot be backed up: {error}", database.display()))
    })?;
    copy.as_file().sync_all().map_err(|error| cannot(&error))?;
    copy.persist_noclobber(to).map_err(|failed| cannot(&failed.error))?;
    private_file::sync_folder_of(to).map_err(|error| {
        let _removed = fs::remove_file(to);
        cannot(&error)
    })?;
    Ok(())
}

/// Copies all committed rows to this empty file, and checks that the copy can be restored.
async fn fill(copy: &NamedTempFile, database: &Path) -> Result<(), String> {
    let mut conn = open_file(database).await?;
    let to = copy.path().to_str().ok_or("the name of the backup is not UTF-8")?;
    let done = sqlx::query("VACUUM INTO $1").bind(to).execute(&mut conn).await;
    drop(conn.close().await);
    done.map_err(|error| reason(&error))?;
    let mut conn = open_file(copy.path()).await?;
    check_intact(&mut conn).await?;
    conn.close().await.map_err(|error| reason(&error))
}

/// A verified copy of a backup, migrated to the schema of this version, in a folder of its own beside the database.
/// Dropping it deletes the folder.
pub struct VerifiedCopy {
    _folder: TempDir,
    path: String,
}

impl VerifiedCopy {
    /// Copies, verifies and migrates a backup. The database itself is not touched.
    pub async fn of(backup: &Path, database: &Path) -> Result<Self, StartError> {
        let refused = |why: &dyn Display| StartError(format!("{} cannot be restored: {why}", backup.display()));
        if fs::metadata(with_suffix(backup, "-wal")).is_ok_and(|log| log.len() > 0) {
            return Err(refused(&"a server has it open, or had; make a backup of it and restore that"));
        }
        let folder = private_folder_beside(database).map_err(|error| {
            StartError::setting("DATABASE_URL", format_args!("cannot copy beside {}: {error}", database.display()))
        })?;
        let path = folder.path().join("copy.db");
        copy_privately(backup, &path).map_err(|error| refused(&error))?;
        let mut conn = open_file(&path).await.map_err(|error| refused(&error))?;
        check_intact(&mut conn).await.map_err(|error| refused(&error))?;
        let migrated = migrations::SQLITE.run(&mut conn).await;
        migrated.map_err(|error| refused(&fault(&error)))?;
        conn.close().await.map_err(|error| refused(&reason(&error)))?;
        let path = path.to_str().ok_or_else(|| refused(&"the name of the database is not UTF-8"))?.to_owned();
        Ok(Self { _folder: folder, path })
    }
}

impl Tx {
    /// Replaces all rows of the database with those of the copy.
    pub async fn replace_all(&mut self, copy: &VerifiedCopy) -> Result<(), StartError> {
        self.invalidate(Invalidate::Everything);
        match self.driver() {
            Driver::Sqlite(conn) => replace_all(conn, copy).await,
            Driver::Postgres(_) => Err(StartError("a SQLite file cannot replace a PostgreSQL database".into())),
        }
    }
}

async fn replace_all(conn: &mut SqliteConnection, copy: &VerifiedCopy) -> Result<(), StartError> {
    let attached = sqlx::query("ATTACH $1 AS copy").bind(&copy.path).execute(&mut *conn).await;
    attached.map_err(Error::from)?;
    let tables = tables(conn, "main").await?;
    if tables != self::tables(conn, "copy").await? {
        return Err(StartError("its tables are not those of the database".into()));
    }
    // Tables are filled in order of name, so a row can precede the row it references. The commit checks the keys.
    run(conn, "PRAGMA defer_foreign_keys = ON".into()).await?;
    for (table, _) in &tables {
        run(conn, format!("DELETE FROM main.{table}")).await?;
    }
    for (table, columns) in &tables {
        run(conn, format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM copy.{table}")).await?;
    }
    Ok(())
}

/// The tables of a file and their columns, quoted for SQL. The table of sqlx is left out: it records how each file got
/// its schema.
async fn tables(conn: &mut SqliteConnection, file: &str) -> Result<Vec<(String, String)>, Error> {
    let sql = format!(
        r#"SELECT format('"%w"', t.name), (SELECT group_concat(format('"%w"', name), ', ' ORDER BY cid)
        FROM pragma_table_info(t.name, '{file}')) FROM {file}.sqlite_schema AS t
        WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\' AND t.name <> $1 ORDER BY t.name"#
    );
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(migrations::TABLE).fetch_all(conn).await?)
}

async fn run(conn: &mut SqliteConnection, sql: String) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(sql)).execute(conn).await?;
    Ok(())
}

/// Opens an existing file. SQLite also reads what a server left in its write-ahead log.
async fn open_file(path: &Path) -> Result<SqliteConnection, String> {
    SqliteConnectOptions::new().filename(path).connect().await.map_err(|error| reason(&error))
}

/// Checks that a file is an intact database of Countersign, of this version or an earlier one.
async fn check_intact(conn: &mut SqliteConnection) -> Result<(), String> {
    let damage = integrity_error(conn, "integrity_check").await;
    if let Some(damage) = damage.unwrap_or_else(|error| Some(reason(&error))) {
        return Err(format!("it is damaged or no SQLite database ({damage})"));
    }
    let schema = migrations::of_sqlite(conn).await.map_err(|error| fault(&error))?;
    schema.last.map(drop).ok_or_else(|| "it is not a database of Countersign".to_owned())
}

fn private_folder_beside(database: &Path) -> io::Result<TempDir> {
    let prefix = with_suffix(Path::new(database.file_name().unwrap_or_default()), ".restore-");
    let mut folder = tempfile::Builder::new();
    #[cfg(unix)]
    folder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    folder.prefix(&prefix).tempdir_in(folder_of(database))
}

fn copy_privately(from: &Path, to: &Path) -> io::Result<()> {
    io::copy(&mut File::open(from)?, &mut private_file::create_new(to)?).map(drop)
}
