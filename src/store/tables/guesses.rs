//! `guesses`: how much of the limit on guessing the servers on one PostgreSQL have used up together. On SQLite there is one server
//! and no such table.

use std::time::Duration;

use uuid::Uuid;

use crate::error::Error;
use crate::model::{BlockId, Timestamp};
use crate::store::query::{in_time, on_each_store};
use crate::store::{Conn, Connection, Tx};

impl<C: Connection> Conn<C> {
    /// When all slots of these buckets will have come back. Those that have all are left out.
    pub async fn guesses(&mut self, buckets: &[BlockId], now: Timestamp) -> Result<Vec<(BlockId, Timestamp)>, Error> {
        let buckets: Vec<Uuid> = buckets.iter().map(|bucket| bucket.0).collect();
        let guesses: Result<_, sqlx::Error> = on_each_store!(
            self,
            sqlite: |_driver| {
                let _none = (buckets, now);
                Ok(Vec::new())
            },
            postgres: |driver| in_time(
                sqlx::query!(
                    "/* postgres */ SELECT bucket, all_free_at FROM guesses WHERE bucket = ANY($1) AND all_free_at > $2",
                    &buckets,
                    now as _
                )
                .map(|row| (BlockId(row.bucket), Timestamp(row.all_free_at)))
                .fetch_all(driver),
            )
            .await,
        );
        Ok(guesses?)
    }
}

impl Tx {
    /// Notes that slots of a bucket were used up, which take so long to come back; all of it takes `longest` at most. With
    /// `is_cleared`, all slots had come back before. Returns when all will have come back.
    pub async fn note_guesses(
        &mut self,
        bucket: BlockId,
        is_cleared: bool,
        used: Duration,
        longest: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, Error> {
        let (free_at, longest_at) = (now.after(used), now.after(longest));
        let noted: Result<_, sqlx::Error> = on_each_store!(
            self,
            sqlite: |_driver| {
                let _nothing = (bucket, is_cleared, longest_at);
                Ok(free_at)
            },
            postgres: |driver| in_time(
                sqlx::query_scalar!(
                    "/* postgres */ INSERT INTO guesses (bucket, all_free_at) VALUES ($1, $2)
                    ON CONFLICT (bucket) DO UPDATE SET all_free_at = CASE WHEN $3 THEN $2
                        ELSE LEAST($2 + GREATEST(guesses.all_free_at - $4, 0), $5) END
                    RETURNING all_free_at",
                    bucket as _,
                    free_at as _,
                    is_cleared,
                    now as _,
                    longest_at as _
                )
                .fetch_one(driver),
            )
            .await
            .map(Timestamp),
        );
        Ok(noted?)
    }

    /// Forgets what was used up of these buckets.
    pub async fn delete_guesses(&mut self, buckets: &[BlockId]) -> Result<(), Error> {
        let buckets: Vec<Uuid> = buckets.iter().map(|bucket| bucket.0).collect();
        let deleted: Result<(), sqlx::Error> = on_each_store!(
            self,
            sqlite: |_driver| {
                let _none = buckets;
                Ok(())
            },
            postgres: |driver| in_time(
                sqlx::query!(
                    "/* postgres */ DELETE FROM guesses WHERE bucket IN
                    (SELECT bucket FROM guesses WHERE bucket = ANY($1) ORDER BY bucket FOR UPDATE)",
                    &buckets
                )
                .execute(driver)
            )
            .await
            .map(drop),
        );
        Ok(deleted?)
    }

    /// Deletes up to `most` buckets of which all slots had come back before `moment`. Returns how many.
    pub async fn delete_full_guesses(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let deleted: Result<u64, sqlx::Error> = on_each_store!(
            self,
            sqlite: |_driver| {
                let _none = (moment, most);
                Ok(0)
            },
            postgres: |driver| in_time(
                sqlx::query!(
                    "/* postgres */ DELETE FROM guesses WHERE bucket IN
                    (SELECT bucket FROM guesses WHERE all_free_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
                    moment as _,
                    i64::from(most)
                )
                .execute(driver),
            )
            .await
            .map(|done| done.rows_affected()),
        );
        Ok(deleted?)
    }
}
