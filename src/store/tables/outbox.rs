//! `outbox`: mails that are to be sent. A server that sends one first moves its `due_at` into the future, which only one of any
//! number of servers can do; if it dies then, another sends the mail when that time comes.

use crate::error::Error;
use crate::model::{MailId, QueuedMail, Timestamp, UserId};
use crate::store::invalidation::Invalidate;
use crate::store::query::{execute, fetch_all, fetch_scalar};
use crate::store::{Conn, Connection, Tx};

impl<C: Connection> Conn<C> {
    /// How many mails there are.
    pub async fn count_mails(&mut self) -> Result<i64, Error> {
        Ok(fetch_scalar!(self, r#"SELECT COUNT(*) AS "mails!: i64" FROM outbox"#)?)
    }

    /// Up to `most` mails that are due, bulk last, and of the others those that have waited longest first.
    pub async fn due_mails(&mut self, now: Timestamp, most: u32) -> Result<Vec<QueuedMail>, Error> {
        let most = i64::from(most);
        Ok(fetch_all!(
            self,
            |row| QueuedMail {
                id: row.id,
                user: row.user_id,
                sealed: row.sealed,
                created_at: row.created_at,
                due_at: row.due_at,
                attempts: row.attempts,
            },
            r#"SELECT id AS "id!: MailId", user_id AS "user_id: UserId", sealed AS "sealed!", attempts AS "attempts!: i32",
            created_at AS "created_at!: Timestamp", due_at AS "due_at!: Timestamp" FROM outbox
            WHERE due_at <= $1 ORDER BY bulk, due_at LIMIT $2"#,
            now as _,
            most,
        )?)
    }
}

impl Tx {
    /// Adds a mail, which is due at once.
    pub async fn insert_mail(
        &mut self,
        id: MailId,
        user: Option<UserId>,
        sealed: &[u8],
        is_bulk: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO outbox (id, user_id, sealed, created_at, due_at, attempts, bulk) VALUES ($1, $2, $3, $4, $4, 0, $5)",
            id as _,
            user as _,
            sealed,
            now as _,
            is_bulk,
        )?;
        Ok(())
    }

    /// Takes a mail for an attempt: it is due again at `until`. Returns whether no other server was first.
    pub async fn claim_mail(&mut self, id: MailId, due_at: Timestamp, until: Timestamp) -> Result<bool, Error> {
        let claimed = execute!(
            self,
            Invalidate::Nothing,
            "UPDATE outbox SET due_at = $1, attempts = attempts + 1 WHERE id = $2 AND due_at = $3",
            until as _,
            id as _,
            due_at as _,
        )?;
        Ok(claimed == 1)
    }

    /// Sets when a mail is to be tried again.
    pub async fn postpone_mail(&mut self, id: MailId, due_at: Timestamp) -> Result<(), Error> {
        execute!(self, Invalidate::Nothing, "UPDATE outbox SET due_at = $1 WHERE id = $2", due_at as _, id as _)?;
        Ok(())
    }

    /// Deletes a mail that was sent or given up. Returns whether it was there.
    pub async fn delete_mail(&mut self, id: MailId) -> Result<bool, Error> {
        Ok(execute!(self, Invalidate::Nothing, "DELETE FROM outbox WHERE id = $1", id as _)? == 1)
    }

    /// Deletes up to `most` mails that were written before `moment`. Returns how many.
    pub async fn delete_mails_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            self,
            Invalidate::Nothing,
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE created_at < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }

    /// Deletes all mails.
    pub async fn delete_all_mails(&mut self) -> Result<(), Error> {
        execute!(self, Invalidate::Nothing, "DELETE FROM outbox")?;
        Ok(())
    }
}
