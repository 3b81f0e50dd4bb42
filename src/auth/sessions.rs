//! Sessions: how they end.
//!
//! Rule: a session ends for both its tokens at once, and the next request with either is refused. Threat: a token that
//! outlives the logout of its owner.

use std::time::Duration;

use super::{Auth, Jwks};
use crate::{
    error::Error,
    model::{Principal, SessionId},
};

/// Sessions that are forgotten in one transaction, some milliseconds of the one writer.
const SWEEP_STEP: u32 = 500;
/// How long others have the writer between two steps.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

impl Auth {
    /// Ends the session of the credential that was presented. [`Error::NoSession`] with HTTP Basic, which has none.
    pub async fn logout(&self, principal: &Principal) -> Result<(), Error> {
        let session = principal.session.ok_or(Error::NoSession)?;
        self.end_session(session).await
    }

    async fn end_session(&self, session: SessionId) -> Result<(), Error> {
        let auth = self.clone();
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            tx.end_session(session, auth.clock.now()).await?;
            tx.commit().await
        })
        .await
    }

    /// Forgets sessions that have run out, so that the table holds those that could still be asked for. Gives how many. It
    /// goes by small steps, between which others write.
    pub async fn sweep_sessions(&self) -> Result<u64, Error> {
        let mut gone = 0;
        loop {
            let auth = self.clone();
            let step = self.finish(async move {
                let mut tx = auth.store.write().await?;
                let gone = tx.delete_sessions_expired_before(auth.clock.now(), SWEEP_STEP).await?;
                tx.commit().await?;
                Ok(gone)
            });
            let step = step.await?;
            gone += step;
            if step < u64::from(SWEEP_STEP) {
                return Ok(gone);
            }
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
    }

    /// The public keys that JWTs are checked with.
    pub fn jwks(&self) -> &Jwks {
        self.keys.jwks()
    }
}
