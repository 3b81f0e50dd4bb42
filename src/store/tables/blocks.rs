//! `blocks`: networks that may try no more passwords until `until`. A row with `of_account` is about one account, that of
//! `user_id`, or of a username that does not exist; the others are about every account. The counters behind a row are in the
//! memory of the servers, and in `guesses`. To lift a block, both are deleted.

use crate::error::Error;
use crate::model::{Block, BlockId, Reach, Timestamp, UserId};
use crate::store::invalidation::Invalidate;
use crate::store::query::{execute, fetch_all, fetch_scalar, returning_optional};
use crate::store::{Conn, Connection, Tx};

impl<C: Connection> Conn<C> {
    /// The blocks that last at `now`, the newest first; at most a thousand.
    pub async fn blocks(&mut self, now: Timestamp) -> Result<Vec<Block>, Error> {
        Ok(fetch_all!(
            self,
            |row| Block {
                id: row.id,
                network: row.network,
                reach: if row.of_account { Reach::Account(row.user_id) } else { Reach::Any },
                since: row.since,
                until: row.until,
            },
            r#"SELECT id AS "id!: BlockId", network AS "network!", of_account AS "of_account!: bool",
            user_id AS "user_id: UserId", since AS "since!: Timestamp", until AS "until!: Timestamp"
            FROM blocks WHERE until > $1 ORDER BY since DESC, id LIMIT 1000"#,
            now as _,
        )?)
    }

    /// Whether the block is there.
    pub async fn has_block(&mut self, id: BlockId) -> Result<bool, Error> {
        Ok(fetch_scalar!(self, r#"SELECT EXISTS (SELECT 1 FROM blocks WHERE id = $1) AS "exists!: bool""#, id as _)?)
    }
}

impl Tx {
    /// Adds a block, or sets until when it lasts. One that has ended begins anew.
    pub async fn upsert_block(&mut self, block: &Block) -> Result<(), Error> {
        let (of_account, user) = match block.reach {
            Reach::Any => (false, None),
            Reach::Account(user) => (true, user),
        };
        execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO blocks (id, network, of_account, user_id, since, until) VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (id) DO UPDATE SET until = $6, since = CASE WHEN blocks.until < $5 THEN $5 ELSE blocks.since END",
            block.id as _,
            block.network,
            of_account,
            user as _,
            block.since as _,
            block.until as _,
        )?;
        Ok(())
    }

    /// Deletes a block. Returns its network and the user that it was about, or none when there is no such block.
    pub async fn delete_block(&mut self, id: BlockId) -> Result<Option<(String, Option<UserId>)>, Error> {
        Ok(returning_optional!(
            self,
            Invalidate::Nothing,
            |row| (row.network, row.user_id),
            r#"DELETE FROM blocks WHERE id = $1 RETURNING network AS "network!", user_id AS "user_id: UserId""#,
            id as _,
        )?)
    }

    /// Deletes up to `most` blocks that ended before `moment`. Returns how many.
    pub async fn delete_blocks_ended_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            self,
            Invalidate::Nothing,
            "DELETE FROM blocks WHERE id IN (SELECT id FROM blocks WHERE until < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }
}
