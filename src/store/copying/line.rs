//! The two ends of a copy: how rows are read from and written to each kind of database.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::postgres::{PgCopyIn, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, SqliteConnection};
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};

use crate::store::copying::tables::{NOT_COPIED, TABLES};
use crate::store::{Location, postgres};

/// How many bytes go to PostgreSQL at a time.
const CHUNK: usize = 64 * 1024;

/// A value of any column, as both kinds of databases have it: PostgreSQL's UUIDs are bytes, its truth values 0 and 1.
pub(super) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A connection of its own, so that no timeout of a request applies.
pub(super) enum Line {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

pub(super) fn values_of_sqlite(row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
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

pub(super) fn values_of_postgres(row: &PgRow) -> Result<Vec<Value>, sqlx::Error> {
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
pub(super) type Columns = BTreeMap<String, Vec<String>>;

impl Line {
    pub(super) async fn to(location: &Location) -> Result<Self, sqlx::Error> {
        Ok(match location {
            Location::Sqlite(path) => {
                Self::Sqlite(SqliteConnectOptions::new().filename(path).foreign_keys(true).connect().await?)
            }
            Location::Postgres(server) => Self::Postgres(postgres::connect_to_primary(&server.hosts).await?.0),
        })
    }

    /// From here to the end, all that is read is of one moment.
    pub(super) fn begin_to_read(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "BEGIN",
            Self::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// From here to the end, nobody else writes. A token can precede the one that it was made from.
    pub(super) fn begin_to_write(&self) -> String {
        match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON".to_owned(),
            Self::Postgres(_) => format!("BEGIN; LOCK TABLE {} IN EXCLUSIVE MODE", TABLES.join(", ")),
        }
    }

    pub(super) async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Sqlite(conn) => conn.execute(sql).await.map(drop),
            Self::Postgres(conn) => conn.execute(sql).await.map(drop),
        }
    }

    pub(super) async fn number(&mut self, sql: String) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(sql);
        let number: i64 = match self {
            Self::Sqlite(conn) => sqlx::query_scalar(sql).fetch_one(conn).await?,
            Self::Postgres(conn) => sqlx::query_scalar(sql).fetch_one(conn).await?,
        };
        Ok(number.unsigned_abs())
    }

    pub(super) async fn columns(&mut self) -> Result<Columns, sqlx::Error> {
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
    pub(super) async fn sink(&mut self, table: &str, columns: &[&str]) -> Result<Sink<'_>, sqlx::Error> {
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

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Postgres(conn) => conn.close().await,
        }
    }
}

pub(super) enum Sink<'c> {
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
    pub(super) async fn add(&mut self, row: Vec<Value>) -> Result<(), sqlx::Error> {
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

    pub(super) async fn end(self) -> Result<(), sqlx::Error> {
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
