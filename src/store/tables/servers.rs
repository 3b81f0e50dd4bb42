//! `servers`: the servers that run on one PostgreSQL, and what they have to agree on. On SQLite there is no such table, and
//! nothing is noted.

use uuid::Uuid;

use crate::error::Error;
use crate::model::Timestamp;
use crate::store::Tx;
use crate::store::query::{in_time, on_each_store};

/// What servers have to agree on, to accept each other's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The `iss` of their JWTs.
    pub issuer: String,
    /// The `aud` of their JWTs.
    pub audience: String,
    /// An HMAC of the secret of HS256; none with another algorithm.
    pub secret_tag: Option<Vec<u8>>,
}

impl Tx {
    /// What other servers that were seen since then go by. Until this transaction ends, none can join or say that it is there.
    pub async fn agreements_of_others(&mut self, id: Uuid, since: Timestamp) -> Result<Vec<Agreement>, Error> {
        let agreements: Result<Vec<Agreement>, sqlx::Error> = on_each_store!(
            self,
            sqlite: |_driver| Ok(Vec::new()),
            postgres: |driver| {
                let lock = sqlx::query("LOCK TABLE servers IN SHARE ROW EXCLUSIVE MODE");
                in_time(lock.execute(&mut *driver)).await?;
                in_time(
                    sqlx::query!(
                        "/* postgres */ SELECT issuer, audience, secret_tag FROM servers WHERE id <> $1 AND seen_at >= $2",
                        id,
                        since as _
                    )
                    .map(|row| Agreement { issuer: row.issuer, audience: row.audience, secret_tag: row.secret_tag })
                    .fetch_all(driver),
                )
                .await
            },
        );
        Ok(agreements?)
    }

    /// Notes that a server is there, and what it goes by.
    pub async fn note_server(&mut self, id: Uuid, agreement: &Agreement, now: Timestamp) -> Result<(), Error> {
        let noted: Result<(), sqlx::Error> = on_each_store!(
            self,
            sqlite: |_driver| Ok(()),
            postgres: |driver| in_time(
                sqlx::query!(
                    "/* postgres */ INSERT INTO servers (id, issuer, audience, secret_tag, seen_at) VALUES ($1, $2, $3, $4, $5)
                    ON CONFLICT (id) DO UPDATE SET seen_at = EXCLUDED.seen_at",
                    id,
                    agreement.issuer,
                    agreement.audience,
                    agreement.secret_tag,
                    now as _
                )
                .execute(driver)
            )
            .await
            .map(drop),
        );
        Ok(noted?)
    }

    /// Forgets a server, and those that have not been seen since then.
    pub async fn forget_servers(&mut self, id: Uuid, since: Timestamp) -> Result<(), Error> {
        let forgotten: Result<(), sqlx::Error> = on_each_store!(
            self,
            sqlite: |_driver| Ok(()),
            postgres: |driver| in_time(
                sqlx::query!("/* postgres */ DELETE FROM servers WHERE id = $1 OR seen_at < $2", id, since as _)
                    .execute(driver)
            )
            .await
            .map(drop),
        );
        Ok(forgotten?)
    }
}
