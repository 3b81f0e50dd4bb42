//! `changes`: what commits on PostgreSQL make stale in the caches of other servers, by a number that has no gaps and becomes
//! visible in the order of the commits, because the row of `change_head` that gives it out is held to the commit. A crash, or a
//! fail-over, can take a number back and give it out again, so each change has a random tag as well. On SQLite the file itself
//! says that it has changed, and there is no such table.

use uuid::Uuid;

use crate::error::Error;
use crate::store::query::{in_time, on_each_store};
use crate::store::{Driver, Tx};

/// How many of the last changes are kept for servers that were away. One that missed more drops all that it has cached.
const KEPT: i64 = 10_000;

/// What a server has not heard of yet.
#[derive(Debug, Default)]
pub struct News {
    /// The number of the last change.
    pub head: i64,
    /// The changes from the number that was asked for, in their order. They are fewer than there were when some are not kept any
    /// more.
    pub changes: Vec<Change>,
}

/// Which change it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its number; 0 before the first.
    pub seq: i64,
    /// What tells it from another one that had this number; none before the first, and where it was not kept.
    pub tag: Option<Uuid>,
}

/// What a transaction has made stale.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which one it is.
    pub mark: Mark,
    /// Which ids, or all. That of the number that was asked for has none here.
    pub ids: Option<Vec<Uuid>>,
}

/// Adds what a transaction without an audit record made stale: these ids, or everything. With a record, `audit::append` does. Call
/// it at the end of the transaction: from here to its commit, others wait.
pub async fn append(driver: &mut Driver<'_>, ids: Option<&[Uuid]>) -> Result<Mark, sqlx::Error> {
    on_each_store!(
        driver,
        sqlite: |_driver| Ok(Mark::default()),
        postgres: |driver| in_time(
            sqlx::query!(
                "/* postgres */ WITH head AS (UPDATE change_head SET seq = seq + 1 WHERE id = 1 RETURNING seq)
                INSERT INTO changes (seq, ids) SELECT seq, $1 FROM head
                -- Should somebody have set the head back: whoever sees that drops everything.
                ON CONFLICT (seq) DO UPDATE SET ids = EXCLUDED.ids, tag = EXCLUDED.tag RETURNING seq, tag",
                ids as _
            )
            .map(|row| Mark { seq: row.seq, tag: Some(row.tag) })
            .fetch_one(driver)
        )
        .await,
    )
}

/// Reads the changes from a number on, or the last one alone if it has not come to that number. It fails on a standby.
pub async fn read_from(driver: &mut Driver<'_>, first: i64) -> Result<News, sqlx::Error> {
    on_each_store!(
        driver,
        sqlite: |_driver| Ok(News::default()),
        postgres: |driver| {
            let rows = sqlx::query!(
                r#"/* postgres */ SELECT change_head.seq AS "head!", changes.seq AS "seq?", changes.tag AS "tag?",
                CASE WHEN changes.seq > $1 THEN changes.ids END AS "ids?"
                FROM change_head LEFT JOIN changes ON changes.seq >= LEAST($1, change_head.seq)
                AND changes.seq > change_head.seq - $2
                -- A standby does not know yet what its primary does.
                WHERE change_head.id = 1 AND NOT pg_is_in_recovery() ORDER BY changes.seq"#,
                first,
                KEPT
            )
            .fetch_all(driver)
            .await?;
            let head = rows.first().ok_or(sqlx::Error::RowNotFound)?.head;
            let change = |seq: Option<_>, tag, ids| seq.map(|seq| Change { mark: Mark { seq, tag }, ids });
            let changes = rows.into_iter().filter_map(|row| change(row.seq, row.tag, row.ids)).collect();
            Ok(News { head, changes })
        },
    )
}

/// Whether a standby has this change. What is read on the same connection afterwards is no older.
pub async fn is_on_standby(driver: &mut Driver<'_>, mark: Mark) -> Result<bool, sqlx::Error> {
    let Mark { seq, tag } = mark;
    on_each_store!(
        driver,
        sqlite: |_driver| {
            let _never = (seq, tag);
            Ok(false)
        },
        postgres: |driver| {
            let change = sqlx::query_scalar!(
                r#"/* postgres */ SELECT EXISTS (SELECT 1 FROM changes WHERE seq = $1 AND tag = $2) AS "is_there!""#, seq, tag
            );
            change.fetch_one(driver).await
        },
    )
}

impl Tx {
    /// Deletes the oldest of the changes that are not kept, so many at most. Returns how many it deleted.
    pub async fn delete_old_changes(&mut self, most: u32) -> Result<u64, Error> {
        let deleted: Result<u64, sqlx::Error> = on_each_store!(
            self,
            sqlite: |_driver| Ok(0),
            postgres: |driver| in_time(
                sqlx::query!(
                    "/* postgres */ DELETE FROM changes WHERE seq <= (SELECT seq FROM change_head) - $1
                    AND seq < (SELECT MIN(seq) FROM changes) + $2",
                    KEPT,
                    i64::from(most)
                )
                .execute(driver)
            )
            .await
            .map(|done| done.rows_affected()),
        );
        Ok(deleted?)
    }
}
