//! `status_lists` and `revoked_statuses`: the ended sessions, as bits in lists for services that verify offline. An
//! index belongs to one session (`sessions.status_list`, `status_idx`); its bit stays set until the session would have
//! expired. A list is open, then closed, then deleted once no unexpired token refers to it.

use crate::error::Error;
use crate::model::{StatusIndex, StatusList, StatusListId, Timestamp};
use crate::store::invalidation::Invalidate;
use crate::store::query::{execute, fetch_all, fetch_optional, fetch_scalar};
use crate::store::{Conn, Connection, Tx};

/// Builds a [`StatusList`] from a row.
macro_rules! status_list {
    ($row:ident) => {
        StatusList { id: $row.id, size: u32::try_from($row.size).unwrap_or(0), version: $row.version }
    };
}

impl<C: Connection> Conn<C> {
    /// The open list, in which new sessions get their indexes.
    pub async fn open_status_list(&mut self) -> Result<Option<StatusList>, Error> {
        Ok(fetch_optional!(
            self,
            |row| status_list!(row),
            r#"SELECT id AS "id!: StatusListId", size AS "size!", version AS "version!" FROM status_lists
            WHERE closed_at IS NULL"#,
        )?)
    }

    /// The list with this id.
    pub async fn status_list(&mut self, id: StatusListId) -> Result<Option<StatusList>, Error> {
        Ok(fetch_optional!(
            self,
            |row| status_list!(row),
            r#"SELECT id AS "id!: StatusListId", size AS "size!", version AS "version!" FROM status_lists WHERE id = $1"#,
            id as _,
        )?)
    }

    /// The highest version that any list has.
    pub async fn highest_status_version(&mut self) -> Result<i64, Error> {
        Ok(fetch_scalar!(self, r#"SELECT COALESCE(MAX(version), 0) AS "version!" FROM status_lists"#)?)
    }

    /// The revoked indexes of a list.
    pub async fn revoked_statuses(&mut self, list: StatusListId) -> Result<Vec<u32>, Error> {
        let indices = fetch_all!(
            self,
            |row| u32::try_from(row.idx).ok(),
            r#"SELECT idx AS "idx!" FROM revoked_statuses WHERE list_id = $1"#,
            list as _,
        )?;
        Ok(indices.into_iter().flatten().collect())
    }
}

impl Tx {
    /// Opens a list, unless another server opened one first.
    pub async fn insert_status_list(&mut self, list: &StatusList, now: Timestamp) -> Result<(), Error> {
        let size = i64::from(list.size);
        execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO status_lists (id, size, version, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            list.id as _,
            size,
            list.version,
            now as _,
        )?;
        Ok(())
    }

    /// Closes a list: no new session gets an index in it.
    pub async fn close_status_list(&mut self, id: StatusListId, now: Timestamp) -> Result<(), Error> {
        execute!(
            self,
            Invalidate::Nothing,
            "UPDATE status_lists SET closed_at = $1 WHERE id = $2 AND closed_at IS NULL",
            now as _,
            id as _,
        )?;
        Ok(())
    }

    /// Whether this index is revoked. It then belonged to an earlier session, and no new session may get it.
    pub async fn is_revoked(&mut self, status: StatusIndex) -> Result<bool, Error> {
        let idx = i64::from(status.idx);
        Ok(fetch_scalar!(
            self,
            r#"SELECT EXISTS (SELECT 1 FROM revoked_statuses WHERE list_id = $1 AND idx = $2) AS "is_revoked!: bool""#,
            status.list as _,
            idx,
        )?)
    }

    /// Marks an index as revoked until `expires_at`.
    pub(in crate::store) async fn revoke_status(
        &mut self,
        status: StatusIndex,
        expires_at: Timestamp,
    ) -> Result<(), Error> {
        let idx = i64::from(status.idx);
        execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO revoked_statuses (list_id, idx, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            status.list as _,
            idx,
            expires_at as _,
        )?;
        Ok(())
    }

    /// Increments the version of a list.
    pub(in crate::store) async fn advance_status_version(&mut self, list: StatusListId) -> Result<(), Error> {
        execute!(self, Invalidate::Nothing, "UPDATE status_lists SET version = version + 1 WHERE id = $1", list as _)?;
        Ok(())
    }

    /// Raises the version of every list above `version`.
    pub async fn pass_status_version(&mut self, version: i64) -> Result<(), Error> {
        execute!(self, Invalidate::Nothing, "UPDATE status_lists SET version = version + $1 + 1", version)?;
        Ok(())
    }

    /// Deletes up to `most` marks of closed lists that expired before `moment`. Returns how many. In the open list
    /// marks stay: a new session could get the index while services use a cached list in which it is revoked.
    pub async fn delete_statuses_expired_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            self,
            Invalidate::Nothing,
            "DELETE FROM revoked_statuses WHERE (list_id, idx) IN
            (SELECT list_id, idx FROM revoked_statuses WHERE expires_at < $1
            AND list_id IN (SELECT id FROM status_lists WHERE closed_at IS NOT NULL) LIMIT $2)",
            moment as _,
            most,
        )?)
    }

    /// Deletes the closed lists that no session and no mark refers to. Returns how many.
    pub async fn delete_spent_status_lists(&mut self) -> Result<u64, Error> {
        Ok(execute!(
            self,
            Invalidate::Nothing,
            "DELETE FROM status_lists WHERE closed_at IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM sessions WHERE status_list = status_lists.id)
            AND NOT EXISTS (SELECT 1 FROM revoked_statuses WHERE list_id = status_lists.id)",
        )?)
    }
}
