//! `one_time_secrets`: secrets that are good for one use, such as those of links. Only the hash of a secret is stored. A secret is live from its
//! creation until `expires_at` or `used_at`; of one purpose each user, or nobody in particular, has at most one unused secret.

use crate::error::Error;
use crate::model::{LinkPurpose, LiveLink, SecretPurpose, Timestamp, TokenHash, UserId};
use crate::store::invalidation::Invalidate;
use crate::store::query::{execute, fetch_optional, fetch_scalar};
use crate::store::{Conn, Connection, Tx};

impl<C: Connection> Conn<C> {
    /// Whether this is the hash of a live secret. It uses nothing up.
    pub async fn is_live_secret(
        &mut self,
        purpose: SecretPurpose,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let purpose = purpose.as_str();
        Ok(fetch_scalar!(
            self,
            r#"SELECT EXISTS (SELECT 1 FROM one_time_secrets WHERE secret_hash = $1 AND purpose = $2
            AND used_at IS NULL AND (expires_at IS NULL OR expires_at > $3)) AS "is_live!: bool""#,
            hash.as_bytes(),
            purpose,
            now as _,
        )?)
    }

    /// The live link with this hash. It uses nothing up.
    pub async fn live_link(&mut self, hash: TokenHash, now: Timestamp) -> Result<Option<LiveLink>, Error> {
        Ok(fetch_optional!(
            self,
            |row| LiveLink { purpose: row.purpose, user: row.user_id, email: row.email, created_at: row.created_at },
            r#"SELECT purpose AS "purpose!: LinkPurpose", user_id AS "user_id: UserId", email,
            created_at AS "created_at!: Timestamp" FROM one_time_secrets
            WHERE secret_hash = $1 AND purpose <> 'setup' AND used_at IS NULL AND expires_at > $2"#,
            hash.as_bytes(),
            now as _,
        )?)
    }
}

impl Tx {
    /// When the live link of this purpose for this user was made, if there is one.
    pub async fn link_made_at(
        &mut self,
        purpose: LinkPurpose,
        user: UserId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        let purpose = purpose.as_str();
        Ok(fetch_optional!(
            self,
            |row| row.created_at,
            r#"SELECT created_at AS "created_at!: Timestamp" FROM one_time_secrets
            WHERE user_id = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3"#,
            user as _,
            purpose,
            now as _,
        )?)
    }

    /// When the live registration of this address, in its folded form, was made, if there is one.
    pub async fn registration_made_at(&mut self, email: &str, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        Ok(fetch_optional!(
            self,
            |row| row.created_at,
            r#"SELECT created_at AS "created_at!: Timestamp" FROM one_time_secrets
            WHERE email = $1 AND purpose = 'registration' AND used_at IS NULL AND expires_at > $2"#,
            email,
            now as _,
        )?)
    }

    /// Marks the unused registration of this address as used, if there is one.
    pub async fn end_registration(&mut self, email: &str, now: Timestamp) -> Result<(), Error> {
        execute!(
            self,
            Invalidate::Nothing,
            "UPDATE one_time_secrets SET used_at = $1 WHERE email = $2 AND purpose = 'registration' AND used_at IS NULL",
            now as _,
            email,
        )?;
        Ok(())
    }

    /// Adds a link, unless there is an unused one of this purpose for this user, or of a registration for this address. Returns
    /// whether it was added. `email` is the address that it is sent to.
    pub async fn insert_link(
        &mut self,
        purpose: LinkPurpose,
        user: Option<UserId>,
        hash: TokenHash,
        email: Option<&str>,
        (now, expires_at): (Timestamp, Timestamp),
    ) -> Result<bool, Error> {
        let purpose = purpose.as_str();
        let inserted = execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO one_time_secrets (secret_hash, purpose, user_id, email, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            hash.as_bytes(),
            purpose,
            user as _,
            email,
            now as _,
            expires_at as _,
        )?;
        Ok(inserted == 1)
    }

    /// Adds a secret, unless there is an unused one of this purpose for this user. Returns whether it was added.
    pub async fn insert_secret(
        &mut self,
        purpose: SecretPurpose,
        user: Option<UserId>,
        hash: TokenHash,
        now: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Result<bool, Error> {
        let purpose = purpose.as_str();
        let inserted = execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO one_time_secrets (secret_hash, purpose, user_id, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            hash.as_bytes(),
            purpose,
            user as _,
            now as _,
            expires_at as _,
        )?;
        Ok(inserted == 1)
    }

    /// Locks a live secret until this transaction ends, so that of any number of requests that use it at once the others wait
    /// and then find it used. Returns whether it is live.
    pub async fn lock_secret(
        &mut self,
        purpose: SecretPurpose,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let purpose = purpose.as_str();
        let locked = execute!(
            self,
            Invalidate::Nothing,
            "UPDATE one_time_secrets SET used_at = NULL WHERE secret_hash = $1 AND purpose = $2 AND used_at IS NULL
            AND (expires_at IS NULL OR expires_at > $3)",
            hash.as_bytes(),
            purpose,
            now as _,
        )?;
        Ok(locked == 1)
    }

    /// Marks the unused secret of this purpose for this user as used, if there is one.
    pub async fn use_up_secret(
        &mut self,
        purpose: SecretPurpose,
        user: Option<UserId>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let purpose = purpose.as_str();
        execute!(
            self,
            Invalidate::Nothing,
            "UPDATE one_time_secrets SET used_at = $1
            WHERE purpose = $2 AND used_at IS NULL AND user_id IS NOT DISTINCT FROM $3",
            now as _,
            purpose,
            user as _,
        )?;
        Ok(())
    }

    /// Marks every unused link of a user as used.
    pub async fn end_links_of(&mut self, user: UserId, now: Timestamp) -> Result<(), Error> {
        execute!(
            self,
            Invalidate::Nothing,
            "UPDATE one_time_secrets SET used_at = $1 WHERE user_id = $2 AND used_at IS NULL",
            now as _,
            user as _,
        )?;
        Ok(())
    }

    /// Deletes the secrets of this purpose for this user, used or not.
    pub async fn delete_secrets(&mut self, purpose: SecretPurpose, user: Option<UserId>) -> Result<(), Error> {
        let purpose = purpose.as_str();
        execute!(
            self,
            Invalidate::Nothing,
            "DELETE FROM one_time_secrets WHERE purpose = $1 AND user_id IS NOT DISTINCT FROM $2",
            purpose,
            user as _,
        )?;
        Ok(())
    }

    /// Deletes every secret.
    pub async fn delete_all_secrets(&mut self) -> Result<(), Error> {
        execute!(self, Invalidate::Nothing, "DELETE FROM one_time_secrets")?;
        Ok(())
    }

    /// Deletes up to `most` secrets that were used or expired before `moment`. Returns how many.
    pub async fn delete_spent_secrets_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            self,
            Invalidate::Nothing,
            "DELETE FROM one_time_secrets WHERE secret_hash IN
            (SELECT secret_hash FROM one_time_secrets WHERE used_at < $1 OR expires_at < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }
}
