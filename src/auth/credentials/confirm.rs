//! Confirming a caller where the caller acts.
//!
//! Rule: each write of a caller confirms its [`Grant`] in its own transaction. Threat: a request that is held open, by a slow
//! body or a busy database, until after a logout, a change of password or the loss of a role; and a server that has not heard
//! yet of a change that another one made.

use crate::auth::credentials::cache::{Authenticated, Evidence};
use crate::auth::{Actor, Auth, Grant};
use crate::error::Error;
use crate::model::{Scope, Step};
use crate::store::Tx;

impl Authenticated {
    /// Why this caller may act. `scope` is the scope that was required, `completes` the step that the user may have to
    /// complete by this request.
    pub fn grant(&self, scope: Option<Scope>, completes: Option<Step>) -> Grant {
        let password = match &self.evidence {
            Evidence::Password(hash) => Some(hash),
            Evidence::Row | Evidence::Jwt(_) => None,
        };
        Grant::new(self, password, scope, completes)
    }
}

impl Auth {
    /// Checks that a caller who was authorized before still is.
    pub async fn recheck(&self, grant: Grant) -> Result<(), Error> {
        let now = self.clock.now();
        grant.check(self.store.read().await?.holder_of(grant.credential(), now).await?, now)
    }

    /// Begins a write on behalf of `actor`, whose grant is confirmed in the transaction.
    pub(in crate::auth) async fn write_as(&self, actor: Actor) -> Result<Tx, Error> {
        let mut tx = self.store.write().await?;
        self.confirm(&mut tx, actor).await?;
        Ok(tx)
    }

    /// Confirms the grant of `actor` in a transaction. Without a request there is nothing to confirm.
    pub(in crate::auth) async fn confirm(&self, tx: &mut Tx, actor: Actor) -> Result<(), Error> {
        let Actor::User { grant: Some(grant), .. } = actor else { return Ok(()) };
        let now = self.clock.now();
        grant.check(tx.holder_of(grant.credential(), now).await?, now)
    }
}
