//! Copies everything from one database to another, of either kind, by the names of tables and columns, which are the same in both.
//!
//! Rule: what is copied is one moment of the source, and the target gets all of it in one transaction, or nothing. Threats: a copy
//! that lacks rows, and one that mixes two sets of users.

mod line;
mod tables;

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::AssertSqlSafe;

use crate::store::Location;
use crate::store::copying::line::{Columns, Line, values_of_postgres, values_of_sqlite};
use crate::store::copying::tables::TABLES;

/// The tables in which a new database has a row already: where the audit trail begins and ends.
const ENDS: [&str; 2] = ["audit_start", "audit_head"];

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
