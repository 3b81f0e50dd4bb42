//! Whether a SQLite file is intact.

use sqlx::{AssertSqlSafe, SqliteConnection};

/// The first fault that a check finds in a file. `quick_check` is the faster check; `integrity_check` also finds indexes
/// that lack a row.
pub async fn integrity_error(conn: &mut SqliteConnection, check: &str) -> Result<Option<String>, sqlx::Error> {
    let found: String = sqlx::query_scalar(AssertSqlSafe(format!("PRAGMA {check}(1)"))).fetch_one(&mut *conn).await?;
    if found != "ok" {
        // The lines before the last name the file in SQLite's own words.
        return Ok(found.lines().last().map(ToOwned::to_owned));
    }
    let orphans = "SELECT COUNT(*) FROM pragma_foreign_key_check";
    let orphans: i64 = sqlx::query_scalar(orphans).fetch_one(conn).await?;
    Ok((orphans > 0).then(|| format!("{orphans} rows hang on rows that are missing")))
}
