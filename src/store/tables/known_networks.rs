//! `known_networks`: the networks from which each user has logged in, and when a server last noted that.

use crate::error::Error;
use crate::model::{ClientNetwork, Timestamp, UserId};
use crate::store::invalidation::Invalidate;
use crate::store::query::{execute, fetch_scalar};
use crate::store::{Conn, Connection, Tx};

impl<C: Connection> Conn<C> {
    /// Whether the user has logged in from this network. For a user who does not exist it takes as long.
    pub async fn is_known_network(&mut self, user: UserId, network: ClientNetwork) -> Result<bool, Error> {
        let network = network.to_string();
        Ok(fetch_scalar!(
            self,
            r#"SELECT EXISTS (SELECT 1 FROM known_networks WHERE user_id = $1 AND network = $2) AS "is_known!: bool""#,
            user as _,
            network,
        )?)
    }
}

impl Tx {
    /// Whether the user has logged in from any network.
    pub async fn has_known_network(&mut self, user: UserId) -> Result<bool, Error> {
        Ok(fetch_scalar!(
            self,
            r#"SELECT EXISTS (SELECT 1 FROM known_networks WHERE user_id = $1) AS "has_known!: bool""#,
            user as _,
        )?)
    }

    /// Notes that the user has logged in from this network.
    pub async fn add_known_network(
        &mut self,
        user: UserId,
        network: ClientNetwork,
        now: Timestamp,
    ) -> Result<(), Error> {
        let network = network.to_string();
        execute!(
            self,
            Invalidate::Nothing,
            "INSERT INTO known_networks (user_id, network, seen_at) VALUES ($1, $2, $3)
            ON CONFLICT (user_id, network) DO UPDATE SET seen_at = $3",
            user as _,
            network,
            now as _,
        )?;
        Ok(())
    }

    /// Deletes up to `most` networks that were last noted before `moment`. Returns how many.
    pub async fn delete_known_networks_before(&mut self, moment: Timestamp, most: u32) -> Result<u64, Error> {
        let most = i64::from(most);
        Ok(execute!(
            self,
            Invalidate::Nothing,
            "DELETE FROM known_networks WHERE (user_id, network) IN
            (SELECT user_id, network FROM known_networks WHERE seen_at < $1 LIMIT $2)",
            moment as _,
            most,
        )?)
    }
}
