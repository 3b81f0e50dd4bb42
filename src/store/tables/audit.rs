//! `audit`: what happened, in order, each row with a hash over itself and the row before. `audit_head` is the end of the
//! chain; whoever appends holds it until their transaction ends, so that rows come one after the other. `audit_start` is
//! where it begins: after the last record that was forgotten.

use uuid::Uuid;

use crate::error::Error;
use crate::model::{AuditFilter, AuditHead, AuditRecord, AuditRow, ChainKey, Event, LoginCount, Timestamp, UserId};
use crate::store::invalidation::Invalidate;
use crate::store::query::{execute, fetch, fetch_all, fetch_optional, in_time, on_each_store};
use crate::store::tables::changes::Mark;
use crate::store::{Conn, Connection, Driver, KnownLater, Tx};

/// Every column of a record.
macro_rules! fetch_records {
    ($conn:expr, $rest:tt, $($arg:expr),*) => {
        fetch_all!(
            $conn,
            |row| AuditRow {
                seq: row.seq,
                at: row.at,
                event: row.event,
                outcome: row.outcome,
                actor: row.actor,
                subject: row.subject,
                target: row.target,
                detail: row.detail,
                method: row.method,
                address: row.address,
                request_id: row.request_id,
                hash: row.hash,
            },
            r#"SELECT seq AS "seq!", at AS "at!: Timestamp", event AS "event!", outcome AS "outcome!",
            actor_id AS "actor: UserId", subject_id AS "subject: UserId", target, detail, method, address, request_id,
            hash AS "hash!" FROM audit "# + $rest,
            $($arg),*
        )
    };
}

impl<C: Connection> Conn<C> {
    /// Records that the filter lets through, the newest first, from the one before `before`.
    pub async fn audit_records(
        &mut self,
        filter: &AuditFilter,
        before: i64,
        limit: u32,
    ) -> Result<Vec<AuditRow>, Error> {
        // Where the time begins is looked up first, so that the search ends there.
        let first = match filter.since {
            Some(since) => self.first_audit_record_since(since).await?,
            None => Some(i64::MIN),
        };
        let Some(first) = first else { return Ok(Vec::new()) };
        let (limit, event) = (i64::from(limit), filter.event.map_or("", Event::as_str));
        Ok(match filter.user {
            Some(user) => fetch_records!(
                self,
                "WHERE seq IN (SELECT seq FROM (SELECT seq FROM audit WHERE actor_id = $1 AND ($2 = '' OR event = $2)
                        AND seq < $3 AND seq >= $4 ORDER BY seq DESC LIMIT $5) AS acted
                    UNION SELECT seq FROM (SELECT seq FROM audit WHERE subject_id = $1 AND ($2 = '' OR event = $2)
                        AND seq < $3 AND seq >= $4 ORDER BY seq DESC LIMIT $5) AS concerned)
                ORDER BY seq DESC LIMIT $5",
                user as _,
                event,
                before,
                first,
                limit
            )?,
            None => fetch_records!(
                self,
                "WHERE ($1 = '' OR event = $1) AND seq < $2 AND seq >= $3 ORDER BY seq DESC LIMIT $4",
                event,
                before,
                first,
                limit
            )?,
        })
    }

    /// How many records of logins there are for each hour, event and detail, of those after number `after` and since a time;
    /// and the last number that was counted.
    pub async fn count_logins(&mut self, after: i64, since: Timestamp) -> Result<Vec<(LoginCount, i64)>, Error> {
        // Where the time begins is looked up first: an index of events has no times, and would be read from its beginning.
        let Some(first) = self.first_audit_record_since(since).await? else { return Ok(Vec::new()) };
        let after = after.max(first - 1);
        Ok(fetch_all!(
            self,
            |row| (LoginCount { hour: row.hour, event: row.event, detail: row.detail, records: row.records }, row.last),
            r#"SELECT at / 3600000 AS "hour!: i64", event AS "event!", detail, COUNT(*) AS "records!: i64",
            MAX(seq) AS "last!: i64" FROM audit
            WHERE seq > $1 AND event IN ('login.succeeded', 'login.failed', 'login.limited')
            GROUP BY at / 3600000, event, detail"#,
            after,
        )?)
    }

    /// The last user of this name who was deleted.
    pub async fn deleted_user_named(&mut self, username: &str) -> Result<Option<UserId>, Error> {
        Ok(fetch_optional!(
            self,
            |row| row.id,
            r#"SELECT subject_id AS "id!: UserId" FROM audit
            WHERE event = 'user.deleted' AND target = $1 AND subject_id IS NOT NULL ORDER BY seq DESC LIMIT 1"#,
            username
        )?)
    }

    async fn first_audit_record_since(&mut self, since: Timestamp) -> Result<Option<i64>, Error> {
        Ok(fetch_optional!(
            self,
            |row| row.seq,
            r#"SELECT seq AS "seq!" FROM audit WHERE at >= $1 ORDER BY at, seq LIMIT 1"#,
            since as _,
        )?)
    }

    /// Records in their order, from the one after `after`.
    pub async fn audit_chain(&mut self, after: i64, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let limit = i64::from(limit);
        Ok(fetch_records!(self, "WHERE seq > $1 ORDER BY seq LIMIT $2", after, limit)?)
    }

    /// The number and the hash of the last record that was forgotten; 0 and zeros when none was.
    pub async fn audit_start(&mut self) -> Result<(i64, Vec<u8>), Error> {
        let start = fetch_optional!(
            self,
            |row| (row.seq, row.hash),
            r#"SELECT seq AS "seq!", hash AS "hash!" FROM audit_start WHERE id = 1"#
        )?;
        start.ok_or_else(no_end)
    }

    /// The end of the chain.
    pub async fn audit_head(&mut self) -> Result<AuditHead, Error> {
        let head = fetch_optional!(
            self,
            |row| AuditHead { seq: row.seq, hash: row.hash, seal: row.seal },
            r#"SELECT seq AS "seq!", hash AS "hash!", seal FROM audit_head WHERE id = 1"#
        )?;
        head.ok_or_else(no_end)
    }

    /// The end of the chain, and the highest number that any record has, of the same moment.
    pub async fn audit_end(&mut self) -> Result<(AuditHead, i64), Error> {
        let end = fetch_optional!(
            self,
            |row| (AuditHead { seq: row.seq, hash: row.hash, seal: row.seal }, row.last),
            r#"SELECT seq AS "seq!", hash AS "hash!", seal, (SELECT COALESCE(MAX(seq), 0) FROM audit) AS "last!: i64"
            FROM audit_head WHERE id = 1"#
        )?;
        end.ok_or_else(no_end)
    }
}

/// Appends records, at least one, to the chain; and on PostgreSQL with them, in the log of changes, what the transaction made
/// stale: these ids, or everything. Returns which change that is. Let it be the last of a transaction: it locks the end of the
/// chain, so from here on every other transaction that records something waits.
///
/// An end whose seal does not fit was changed by something else. Writes go on, and a record says so before any other: a new
/// seal on such an end would hide what was done to it.
pub async fn append(
    driver: &mut Driver<'_>,
    key: &KnownLater<ChainKey>,
    mut records: Vec<AuditRecord>,
    changed: Option<Option<&[Uuid]>>,
) -> Result<Option<Mark>, sqlx::Error> {
    let Some(first) = records.first() else { return Ok(None) };
    let (first, at) = (first.event, first.at);
    let key = key.get().ok_or_else(|| sqlx::Error::InvalidArgument("the key of the audit trail is not set".into()))?;
    // Written at once, for the lock.
    let mut head = fetch!(
        fetch_one,
        driver,
        |row| AuditHead { seq: row.seq, hash: row.hash, seal: row.seal },
        r#"UPDATE audit_head SET seq = seq WHERE id = 1 RETURNING seq AS "seq!", hash AS "hash!", seal"#
    )?;
    let seals = |event| matches!(event, Event::AuditSealed | Event::AuditBroken);
    if key.fits(&head) {
        // Another process was first to seal it.
        records.drain(..usize::from(seals(first)));
    } else {
        head = actual_end(driver, head).await?;
        if !seals(first) {
            tracing::error!(after = head.seq, "something else than Countersign has changed the end of the audit trail");
            records.insert(0, AuditRecord::by_system(Event::AuditBroken, at));
        }
    }
    let rows = (head.seq + 1..)
        .zip(records)
        .map(|(seq, record)| {
            let row = AuditRow::new(record, seq, &head.hash, key)?;
            (head.seq, head.hash) = (seq, row.hash.clone());
            Ok(row)
        })
        .collect::<Result<Vec<_>, serde_json::Error>>()
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    store(driver, &rows, &head, &key.seal(head.seq, &head.hash), changed).await
}

/// Where to append when `head` cannot be trusted: after the last record that is there, so that no number is used twice.
async fn actual_end(driver: &mut Driver<'_>, head: AuditHead) -> Result<AuditHead, sqlx::Error> {
    let last = fetch!(
        fetch_optional,
        driver,
        |row| AuditHead { seq: row.seq, hash: row.hash, seal: None },
        r#"SELECT seq AS "seq!", hash AS "hash!" FROM audit ORDER BY seq DESC LIMIT 1"#
    )?;
    Ok(last.filter(|last| last.seq > head.seq).unwrap_or(head))
}

/// Adds rows and a change, and sets the end of the chain.
async fn store(
    driver: &mut Driver<'_>,
    rows: &[AuditRow],
    head: &AuditHead,
    seal: &[u8],
    changed: Option<Option<&[Uuid]>>,
) -> Result<Option<Mark>, sqlx::Error> {
    let id = |id: Option<UserId>| id.map(|id| id.0.simple());
    let rows = rows.iter().map(|row| {
        let (actor, subject, hash) = (id(row.actor), id(row.subject), hex::encode(&row.hash));
        let (what, how) = ((&row.event, &row.outcome), (&row.method, &row.address, &row.request_id));
        (row.seq, row.at.0, what, actor, subject, &row.target, how, hash, &row.detail)
    });
    let rows = serde_json::to_string(&rows.collect::<Vec<_>>()).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let AuditHead { seq, hash, .. } = head;
    on_each_store!(
        driver,
        sqlite: |driver| {
            sqlx::query!(
                "/* sqlite */ INSERT INTO audit (seq, at, event, outcome, actor_id, subject_id, target, method, address,
                request_id, hash, detail)
                SELECT value ->> 0, value ->> 1, value ->> '$[2][0]', value ->> '$[2][1]', unhex(value ->> 3),
                unhex(value ->> 4), value ->> 5, value ->> '$[6][0]', value ->> '$[6][1]', value ->> '$[6][2]',
                unhex(value ->> 7), value ->> 8
                FROM json_each($1)",
                rows
            )
            .execute(&mut *driver)
            .await?;
            sqlx::query!(
                "/* sqlite */ UPDATE audit_head SET seq = $1, hash = $2, seal = $3 WHERE id = 1", seq, hash, seal
            )
            .execute(driver)
            .await
            .map(|_| None)
        },
        // One statement, since others wait for these rows.
        postgres: |driver| in_time(
            sqlx::query!(
                r#"/* postgres */ WITH rows AS (
                    INSERT INTO audit (seq, at, event, outcome, actor_id, subject_id, target, method, address, request_id,
                    hash, detail)
                    SELECT (value ->> 0)::BIGINT, (value ->> 1)::BIGINT, value -> 2 ->> 0, value -> 2 ->> 1,
                    (value ->> 3)::UUID, (value ->> 4)::UUID, value ->> 5, value -> 6 ->> 0, value -> 6 ->> 1,
                    value -> 6 ->> 2, decode(value ->> 7, 'hex'), value ->> 8
                    FROM json_array_elements($1::TEXT::JSON)
                ), number AS (
                    UPDATE change_head SET seq = seq + 1 WHERE id = 1 AND $5 RETURNING seq
                ), change AS (
                    -- As in `changes.rs`, for transactions without a record.
                    INSERT INTO changes (seq, ids) SELECT seq, $6 FROM number
                    ON CONFLICT (seq) DO UPDATE SET ids = EXCLUDED.ids, tag = EXCLUDED.tag RETURNING seq, tag
                ) UPDATE audit_head SET seq = $2, hash = $3, seal = $4 WHERE id = 1
                RETURNING (SELECT seq FROM change) AS "seq?", (SELECT tag FROM change) AS "tag?""#,
                rows,
                seq,
                hash,
                seal,
                changed.is_some(),
                changed.flatten() as _
            )
            .map(|row| row.seq.map(|seq| Mark { seq, tag: row.tag }))
            .fetch_one(driver),
        )
        .await,
    )
}

/// The migrations that made the tables put the one row in.
fn no_end() -> Error {
    Error::Internal("the audit trail has no beginning or no end".into())
}

impl Tx {
    /// Notes what is done here. It is appended with the commit, in the same transaction.
    pub fn record(&mut self, record: AuditRecord) {
        self.records.push(record);
    }

    /// Writes what is there already, to see whether the database takes it.
    pub async fn write_nothing(&mut self) -> Result<(), Error> {
        execute!(self, Invalidate::Nothing, "UPDATE audit_head SET seq = seq WHERE id = 1")?;
        Ok(())
    }

    /// Forgets the records from after `start` to `last`, whose hash this is, and says that the trail begins there. Tells
    /// whether it did: another server may have moved the beginning meanwhile.
    pub async fn forget_audit(&mut self, start: i64, last: i64, hash: &[u8]) -> Result<bool, Error> {
        let moved = execute!(
            self,
            Invalidate::Nothing,
            "UPDATE audit_start SET seq = $1, hash = $2 WHERE id = 1 AND seq = $3",
            last,
            hash,
            start
        )?;
        if moved == 1 {
            execute!(self, Invalidate::Nothing, "DELETE FROM audit WHERE seq <= $1", last)?;
        }
        Ok(moved == 1)
    }
}
