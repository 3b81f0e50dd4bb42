//! The macros that queries are written with.
//!
//! Each query is one text for both stores. A macro makes two of it, one for each driver, which differ in a leading comment;
//! sqlx checks both at compile time against what the databases said of them (`sqlx-data.json`, made by
//! `scripts/sqlx-prepare`; see `docs/decisions/0001-one-sql-text-two-stores.md`).
//!
//! Reads are `fetch_optional!`, `fetch_all!` and `fetch_scalar!`. They refuse, at compile time, a text that
//! does not begin with `SELECT`. Writes are `execute!`, `returning_optional!` and `returning_all!`. Their second argument
//! says whose cached credentials the statement makes stale ([`Invalidate`](super::Invalidate)), so that a statement which
//! forgets it does not compile.
//!
//! # Example
//!
//! ```text
//! impl<C: Connection> Conn<C> {
//!     /// The names of the users who were created after a moment.
//!     pub async fn names_since(&mut self, since: Timestamp) -> Result<Vec<String>, Error> {
//!         Ok(fetch_all!(
//!             self,
//!             // How a row becomes a value, by the names of its columns.
//!             |row| row.name,
//!             // `AS "name!"` says that the column is not null; `AS "at: Timestamp"` gives it a type of ours.
//!             r#"SELECT name AS "name!" FROM users WHERE created_at > $1 ORDER BY id"#,
//!             // `as _` hands over a type of ours; plain integers and text need nothing.
//!             since as _,
//!         )?)
//!     }
//! }
//!
//! impl Tx {
//!     /// Renames a user. Returns whether that user exists.
//!     pub async fn rename_user(&mut self, id: UserId, name: &str) -> Result<bool, Error> {
//!         let what = Invalidate::CredentialsOf(id.0);
//!         Ok(execute!(self, what, "UPDATE users SET name = $1 WHERE id = $2", name, id as _)? == 1)
//!     }
//! }
//! ```

use std::io;
use std::time::Duration;

use tokio::time;

/// How long one statement may take. When the network has lost a connection, nothing would ever come, and the kernel gives up
/// after a quarter of an hour. A statement waits for a lock for [`PATIENCE`] at most, and takes far less by itself.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Runs a statement for as long as it may take. After that its connection is good for nothing more.
pub async fn in_time<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let silent = |_| sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "PostgreSQL has not answered in time"));
    time::timeout(STATEMENT_TIMEOUT, statement).await.unwrap_or_else(|elapsed| Err(silent(elapsed)))
}

/// Runs one `sqlx::query…!` on whichever store `$conn` is connected to. `scripts/sqlx-prepare` compiles one store at a time,
/// since sqlx's macros can ask one database only.
macro_rules! on_each_store {
    ($conn:expr, sqlite: |$sqlite:ident| $on_sqlite:expr, postgres: |$postgres:ident| $on_postgres:expr $(,)?) => {
        match $conn.driver() {
            #[cfg(not(sqlx_prepare = "postgres"))]
            $crate::store::Driver::Sqlite($sqlite) => $on_sqlite,
            #[cfg(not(sqlx_prepare = "sqlite"))]
            $crate::store::Driver::Postgres($postgres) => $on_postgres,
            #[cfg(any(sqlx_prepare = "sqlite", sqlx_prepare = "postgres"))]
            _ => loop {},
        }
    };
}

/// Runs a query that gives rows; `$make` turns a row into a value.
macro_rules! fetch {
    ($fetch:ident, $conn:expr, |$row:ident| $make:expr, $sql:tt $(+ $more:tt)* $(, $arg:expr)* $(,)?) => {
        $crate::store::query::on_each_store!(
            $conn,
            sqlite: |driver| sqlx::query!("/* sqlite */ " + $sql $(+ $more)* $(, $arg)*)
                .map(|$row| $make)
                .$fetch(driver)
                .await,
            postgres: |driver| $crate::store::query::in_time(
                sqlx::query!("/* postgres */ " + $sql $(+ $more)* $(, $arg)*).map(|$row| $make).$fetch(driver)
            )
            .await,
        )
    };
}

/// The row, or none: `fetch_optional!(conn, |row| value, "SELECT …", args…)`.
macro_rules! fetch_optional {
    ($conn:expr, |$row:ident| $make:expr, $sql:tt $($rest:tt)*) => {{
        const { assert!($crate::store::query::reads($sql), "this statement writes: use returning_optional!") };
        $crate::store::query::fetch!(fetch_optional, $conn, |$row| $make, $sql $($rest)*)
    }};
}

/// All rows: `fetch_all!(conn, |row| value, "SELECT …", args…)`.
macro_rules! fetch_all {
    ($conn:expr, |$row:ident| $make:expr, $sql:tt $($rest:tt)*) => {{
        const { assert!($crate::store::query::reads($sql), "this statement writes: use returning_all!") };
        $crate::store::query::fetch!(fetch_all, $conn, |$row| $make, $sql $($rest)*)
    }};
}

/// The one value of the one row: `fetch_scalar!(conn, "SELECT …", args…)`.
macro_rules! fetch_scalar {
    ($conn:expr, $sql:tt $(+ $more:tt)* $(, $arg:expr)* $(,)?) => {{
        const { assert!($crate::store::query::reads($sql), "this statement writes") };
        $crate::store::query::on_each_store!(
            $conn,
            sqlite: |driver| sqlx::query_scalar!("/* sqlite */ " + $sql $(+ $more)* $(, $arg)*).fetch_one(driver).await,
            postgres: |driver| $crate::store::query::in_time(
                sqlx::query_scalar!("/* postgres */ " + $sql $(+ $more)* $(, $arg)*).fetch_one(driver)
            )
            .await,
        )
    }};
}

/// Runs a statement and gives the number of rows it wrote: `execute!(tx, Invalidate::…, "UPDATE …", args…)`.
macro_rules! execute {
    ($tx:expr, $what:expr, $sql:tt $(+ $more:tt)* $(, $arg:expr)* $(,)?) => {{
        $tx.invalidate($what);
        $crate::store::query::on_each_store!(
            $tx,
            sqlite: |driver| sqlx::query!("/* sqlite */ " + $sql $(+ $more)* $(, $arg)*)
                .execute(driver)
                .await
                .map(|done| done.rows_affected()),
            postgres: |driver| $crate::store::query::in_time(
                sqlx::query!("/* postgres */ " + $sql $(+ $more)* $(, $arg)*).execute(driver)
            )
            .await
            .map(|done| done.rows_affected()),
        )
    }};
}

/// Runs a statement that gives back the row it wrote, or none: `returning_optional!(tx, Invalidate::…, |row| value, "UPDATE
/// … RETURNING …", args…)`.
macro_rules! returning_optional {
    ($tx:expr, $what:expr, |$row:ident| $make:expr, $($query:tt)*) => {{
        $tx.invalidate($what);
        $crate::store::query::fetch!(fetch_optional, $tx, |$row| $make, $($query)*)
    }};
}

/// Runs a statement that gives back the rows it wrote.
macro_rules! returning_all {
    ($tx:expr, $what:expr, |$row:ident| $make:expr, $($query:tt)*) => {{
        $tx.invalidate($what);
        $crate::store::query::fetch!(fetch_all, $tx, |$row| $make, $($query)*)
    }};
}

pub(in crate::store) use execute;
pub(in crate::store) use fetch;
pub(in crate::store) use fetch_all;
pub(in crate::store) use fetch_optional;
pub(in crate::store) use fetch_scalar;
pub(in crate::store) use on_each_store;
pub(in crate::store) use returning_all;
pub(in crate::store) use returning_optional;

/// Whether a query's text begins with `SELECT`.
pub const fn reads(sql: &str) -> bool {
    matches!(sql.as_bytes(), [b'S', b'E', b'L', b'E', b'C', b'T', ..])
}
