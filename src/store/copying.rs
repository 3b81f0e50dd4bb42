//! Copies everything from one database to another, of either kind, by the names of tables and columns, which are the same in both.
//!
//! Rule: what is copied is one moment of the source, and the target gets all of it in one transaction, or nothing. Threats: a copy
//! that lacks rows, and one that mixes two sets of users.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::postgres::{PgCopyIn, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, SqliteConnection};
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};

use crate::store::migrations::TABLE as MIGRATIONS;
use crate::store::{Location, postgres};

/// Each table after those that its rows refer to.
const TABLES: [&str; 15] = [
    "users",
    "status_lists",
    "sessions",
    "revoked_statuses",
    "rotated_tokens",
    "personal_tokens",
    "signing_keys",
    "one_time_secrets",
    "idempotency_keys",
    "known_networks",
    "blocks",
    "outbox",
    "audit",
    "audit_start",
    "audit_head",
];
/// How a database got its schema, and what servers tell each other, are its own.
const NOT_COPIED: [&str; 5] = [MIGRATIONS, "changes", "change_head", "servers", "guesses"];
/// The tables in which a new database has a row already: where the audit trail begins and ends.
const ENDS: [&str; 2] = ["audit_start", "audit_head"];

/// How many bytes go to PostgreSQL at a time.
const CHUNK: usize = 64 * 1024;

/// Why a copy was not made; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source cannot be read.
    #[error("the source cannot be read: {0}")]
    Source(sqlx::Error),
    /// The target cannot be written.
    #[error("the target cannot be written: {0}")]
    Target(sqlx::Error),
    /// There is something in the target.
    #[error("the target is not empty: its table {0} has rows; name a new database")]
    NotEmpty(&'static str),
    /// The schemas do not agree, which is a fault of ours.
    #[error("the tables of the two databases differ: {0}")]
    Unlike(String),
    /// The target has another number of rows than were read, which is a fault of ours.
    #[error("{table} had {read} rows, and {written} arrived")]
    Count {
        /// Of which.
        table: &'static str,
        /// How many were read.
        read: u64,
        /// How many are there.
        written: u64,
    },
}

/// A value of any column, as both kinds of databases have it: PostgreSQL's UUIDs are bytes, its truth values 0 and 1.
enum Value {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A connection of its own, so that no timeout of a request applies.
enum Line {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Copies all rows into a database that has the schema and nothing else. `progress` hears how many rows of a table were read so
/// far. Returns the number of rows of each table.
pub async fn copy(
    from: &Location,
    to: &Location,
    mut progress: impl FnMut(&'static str, u64),
) -> Result<Vec<(&'static str, u64)>, CopyError> {
    let mut source = Line::to(from).await.map_err(CopyError::Source)?;
    let mut target = Line::to(to).await.map_err(CopyError::Target)?;
    source.run(source.begin_to_read()).await.map_err(CopyError::Source)?;
    target.run(&target.begin_to_write()).await.map_err(CopyError::Target)?;
    let columns = source.columns().await.map_err(CopyError::Source)?;
    let same = target.columns().await.map_err(CopyError::Target)?;
    check_tables(&columns, &same)?;
    for table in TABLES {
        if !ENDS.contains(&table) && target.number(count_of(table)).await.map_err(CopyError::Target)? != 0 {
            return Err(CopyError::NotEmpty(table));
        }
    }
    for table in ENDS {
        target.run(&format!("DELETE FROM {table}")).await.map_err(CopyError::Target)?;
    }
    let mut counts = Vec::new();
    for table in TABLES {
        let names: Vec<_> = columns.get(table).into_iter().flatten().map(String::as_str).collect();
        let read = copy_table(&mut source, &mut target, table, &names, &mut progress).await?;
        let written = target.number(count_of(table)).await.map_err(CopyError::Target)?;
        if read != written {
            return Err(CopyError::Count { table, read, written });
        }
        counts.push((table, read));
    }
    target.run("COMMIT").await.map_err(CopyError::Target)?;
    target.close().await.map_err(CopyError::Target)?;
    Ok(counts)
}

fn count_of(table: &str) -> String {
    format!("SELECT COUNT(*) FROM {table}")
}

/// Checks that both databases have the tables that we know, and the same columns in them.
fn check_tables(source: &Columns, target: &Columns) -> Result<(), CopyError> {
    let known: BTreeSet<_> = TABLES.into_iter().collect();
    for (columns, others) in [(source, target), (target, source)] {
        if let Some(table) = columns.keys().find(|table| !known.contains(table.as_str())) {
            return Err(CopyError::Unlike(format!("{table} is not known")));
        }
        for table in TABLES {
            if columns.get(table).is_none_or(|names| Some(names) != others.get(table)) {
                return Err(CopyError::Unlike(table.to_owned()));
            }
        }
    }
    Ok(())
}

async fn copy_table(
    source: &mut Line,
    target: &mut Line,
    table: &'static str,
    columns: &[&str],
    progress: &mut impl FnMut(&'static str, u64),
) -> Result<u64, CopyError> {
    let mut sink = target.sink(table, columns).await.map_err(CopyError::Target)?;
    let rows = AssertSqlSafe(format!("SELECT {} FROM {table}", columns.join(", ")));
    let mut rows = match source {
        Line::Sqlite(conn) => sqlx::query(rows).fetch(conn).map(|row| values_of_sqlite(&row?)).left_stream(),
        Line::Postgres(conn) => sqlx::query(rows).fetch(conn).map(|row| values_of_postgres(&row?)).right_stream(),
    };
    let mut read = 0;
    while let Some(row) = rows.try_next().await.map_err(CopyError::Source)? {
        sink.add(row).await.map_err(CopyError::Target)?;
        read += 1;
        if read % 1000 == 0 {
            progress(table, read);
        }
    }
    sink.end().await.map_err(CopyError::Target)?;
    progress(table, read);
    Ok(read)
}

fn values_of_sqlite(row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
    let value = |i| {
        let value = row.try_get_raw(i)?;
        Ok(match value.type_info().name() {
            _ if value.is_null() => Value::Null,
            "INTEGER" => Value::Integer(row.try_get_unchecked(i)?),
            "TEXT" => Value::Text(row.try_get_unchecked(i)?),
            _ => Value::Bytes(row.try_get_unchecked(i)?),
        })
    };
    (0..row.len()).map(value).collect()
}

fn values_of_postgres(row: &PgRow) -> Result<Vec<Value>, sqlx::Error> {
    let value = |i| {
        let value = row.try_get_raw(i)?;
        Ok(match value.type_info().name() {
            _ if value.is_null() => Value::Null,
            "INT8" => Value::Integer(row.try_get(i)?),
            "INT4" => Value::Integer(row.try_get::<i32, _>(i)?.into()),
            "BOOL" => Value::Integer(row.try_get::<bool, _>(i)?.into()),
            "UUID" => Value::Bytes(row.try_get::<uuid::Uuid, _>(i)?.into_bytes().into()),
            "BYTEA" => Value::Bytes(row.try_get(i)?),
            _ => Value::Text(row.try_get(i)?),
        })
    };
    (0..row.len()).map(value).collect()
}

/// The columns of each table that is copied, in the order of their names.
type Columns = BTreeMap<String, Vec<String>>;

impl Line {
    async fn to(location: &Location) -> Result<Self, sqlx::Error> {
        Ok(match location {
            Location::Sqlite(path) => {
                Self::Sqlite(SqliteConnectOptions::new().filename(path).foreign_keys(true).connect().await?)
            }
            Location::Postgres(server) => Self::Postgres(postgres::connect_to_primary(&server.hosts).await?.0),
        })
    }

    /// From here to the end, all that is read is of one moment.
    fn begin_to_read(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "BEGIN",
            Self::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// From here to the end, nobody else writes. A token can precede the one that it was made from.
    fn begin_to_write(&self) -> String {
        match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON".to_owned(),
            Self::Postgres(_) => format!("BEGIN; LOCK TABLE {} IN EXCLUSIVE MODE", TABLES.join(", ")),
        }
    }

    async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Sqlite(conn) => conn.execute(sql).await.map(drop),
            Self::Postgres(conn) => conn.execute(sql).await.map(drop),
        }
    }

    async fn number(&mut self, sql: String) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(sql);
        let number: i64 = match self {
            Self::Sqlite(conn) => sqlx::query_scalar(sql).fetch_one(conn).await?,
            Self::Postgres(conn) => sqlx::query_scalar(sql).fetch_one(conn).await?,
        };
        Ok(number.unsigned_abs())
    }

    async fn columns(&mut self) -> Result<Columns, sqlx::Error> {
        let all: Vec<(String, String)> = match self {
            Self::Sqlite(conn) => {
                let sql = r"SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
                    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY c.name";
                sqlx::query_as(sql).fetch_all(conn).await?
            }
            Self::Postgres(conn) => {
                // Without the views that extensions bring.
                let sql = "SELECT table_name::TEXT, column_name::TEXT FROM information_schema.columns
                    JOIN information_schema.tables USING (table_schema, table_name)
                    WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY column_name COLLATE \"C\"";
                sqlx::query_as(sql).fetch_all(conn).await?
            }
        };
        let mut columns = Columns::new();
        for (table, column) in all {
            if !NOT_COPIED.contains(&table.as_str()) {
                columns.entry(table).or_default().push(column);
            }
        }
        Ok(columns)
    }

    /// Where the rows of a table go.
    async fn sink(&mut self, table: &str, columns: &[&str]) -> Result<Sink<'_>, sqlx::Error> {
        let names = columns.join(", ");
        Ok(match self {
            Self::Sqlite(conn) => {
                let places: Vec<_> = (1..=columns.len()).map(|i| format!("${i}")).collect();
                let sql = format!("INSERT INTO {table} ({names}) VALUES ({})", places.join(", "));
                Sink::Sqlite { conn, insert: sql.into() }
            }
            Self::Postgres(conn) => {
                let sql = "SELECT column_name::TEXT FROM information_schema.columns
                    WHERE table_schema = current_schema() AND table_name = $1 AND data_type = 'uuid'";
                let ids: Vec<String> = sqlx::query_scalar(sql).bind(table).fetch_all(&mut *conn).await?;
                let is_id = columns.iter().map(|column| ids.iter().any(|id| id == column)).collect();
                let copy = conn.copy_in_raw(&format!("COPY {table} ({names}) FROM STDIN")).await?;
                Sink::Postgres { copy, is_id, lines: String::new() }
            }
        })
    }

    async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Postgres(conn) => conn.close().await,
        }
    }
}

enum Sink<'c> {
    Sqlite {
        conn: &'c mut SqliteConnection,
        insert: Arc<str>,
    },
    /// `is_id` says which columns are UUIDs: they are written in another way than other bytes.
    Postgres {
        copy: PgCopyIn<&'c mut PgConnection>,
        is_id: Vec<bool>,
        lines: String,
    },
}

impl Sink<'_> {
    async fn add(&mut self, row: Vec<Value>) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite { conn, insert } => {
                let mut query = sqlx::query(AssertSqlSafe(Arc::clone(insert)));
                for value in row {
                    query = match value {
                        Value::Null => query.bind(None::<i64>),
                        Value::Integer(number) => query.bind(number),
                        Value::Text(text) => query.bind(text),
                        Value::Bytes(bytes) => query.bind(bytes),
                    };
                }
                query.execute(&mut **conn).await.map(drop)
            }
            Self::Postgres { copy, is_id, lines } => {
                write_line(lines, &row, is_id);
                if lines.len() >= CHUNK {
                    copy.send(lines.as_bytes()).await?;
                    lines.clear();
                }
                Ok(())
            }
        }
    }

    async fn end(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite { .. } => Ok(()),
            Self::Postgres { mut copy, lines, .. } => {
                copy.send(lines.as_bytes()).await?;
                copy.finish().await.map(drop)
            }
        }
    }
}

/// Writes a row in the text format of PostgreSQL's `COPY`.
fn write_line(lines: &mut String, row: &[Value], is_id: &[bool]) {
    for (i, (value, is_id)) in row.iter().zip(is_id).enumerate() {
        if i > 0 {
            lines.push('\t');
        }
        let _infallible = match value {
            Value::Null => lines.write_str("\\N"),
            Value::Integer(number) => write!(lines, "{number}"),
            Value::Text(text) => text.chars().try_for_each(|char| match char {
                '\\' => lines.write_str("\\\\"),
                '\n' => lines.write_str("\\n"),
                '\r' => lines.write_str("\\r"),
                '\t' => lines.write_str("\\t"),
                char => lines.write_char(char),
            }),
            Value::Bytes(bytes) if *is_id => lines.write_str(&hex::encode(bytes)),
            Value::Bytes(bytes) => write!(lines, "\\\\x{}", hex::encode(bytes)),
        };
    }
    lines.push('\n');
}
