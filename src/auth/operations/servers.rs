//! Servers that run together on one PostgreSQL.
//!
//! Rule: a server does not start beside one that signs or verifies in another way. Threat: users who are let in by one server and
//! thrown out by the next, and a secret that was changed on one server alone.

use std::time::Duration;

use uuid::Uuid;

use crate::auth::Auth;
use crate::error::{Error, StartError};
use crate::model::Algorithm;
use crate::store::Agreement;

/// How long a server that says nothing counts as one that runs. It says that it is there every five seconds.
const SILENCE: Duration = Duration::from_secs(15);
/// How long it is remembered.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

impl Auth {
    /// Joins the servers that run on this database. Fails when one of them goes by other settings.
    pub(in crate::auth) async fn join_servers(&self) -> Result<(), StartError> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let id = *self.server_id.get_or_init(Uuid::new_v4);
        let joined = async {
            let (mut tx, now) = (self.store.write().await?, self.clock.now());
            let others = tx.agreements_of_others(id, now.before(SILENCE)).await?;
            if let Some(refusal) = others.iter().find_map(|other| self.disagreement(other)) {
                return Ok(Err(refusal));
            }
            tx.note_server(id, &self.agreement(), now).await?;
            tx.commit().await?;
            Ok(Ok(()))
        };
        match joined.await {
            Ok(joined) => joined,
            // A database that cannot be written now. It is said again every few seconds.
            Err(Error::Unavailable(error)) => {
                tracing::warn!(%error, "whether other servers have the same settings is not known");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Says that this server is there. Call this every few seconds.
    pub(in crate::auth) async fn stay_among_servers(&self) -> Result<(), Error> {
        let Some(id) = self.server_id.get() else { return Ok(()) };
        let (mut tx, now) = (self.store.write().await?, self.clock.now());
        let others = tx.agreements_of_others(*id, now.before(SILENCE)).await?;
        tx.note_server(*id, &self.agreement(), now).await?;
        tx.commit().await?;
        // One of the two started while the database could not say.
        if let Some(StartError(why)) = others.iter().find_map(|other| self.disagreement(other)) {
            tracing::error!(why, "this server and another one refuse each other's tokens");
        }
        Ok(())
    }

    /// Says that this server is gone.
    pub(in crate::auth) async fn leave_servers(&self) -> Result<(), Error> {
        let Some(id) = self.server_id.get() else { return Ok(()) };
        let mut tx = self.store.write().await?;
        tx.forget_servers(*id, self.clock.now().before(REMEMBERED)).await?;
        tx.commit().await
    }

    fn agreement(&self) -> Agreement {
        let keys = &self.settings.keys;
        let is_shared = keys.jwt_algorithm == Algorithm::Hs256;
        Agreement {
            issuer: self.issuer().to_owned(),
            audience: self.audience().to_owned(),
            secret_tag: is_shared.then(|| self.secret.tag(keys.shared_secret())),
        }
    }

    /// Why we cannot run beside a server that goes by this.
    fn disagreement(&self, other: &Agreement) -> Option<StartError> {
        let ours = self.agreement();
        let (name, what) = match () {
            () if ours.issuer != other.issuer => {
                let what = format!("its JWTs are issued by {}, and ours would be by {}", other.issuer, ours.issuer);
                ("COUNTERSIGN_PUBLIC_URL", what)
            }
            () if ours.audience != other.audience => {
                let what = format!("its JWTs are for {}, and ours would be for {}", other.audience, ours.audience);
                ("COUNTERSIGN_AUDIENCE", what)
            }
            () if ours.secret_tag != other.secret_tag => {
                ("COUNTERSIGN_JWT_SECRET", "it has another one, or another COUNTERSIGN_JWT_ALGORITHM".to_owned())
            }
            () => return None,
        };
        let mend = "give all servers of one database the same, or stop the others first";
        Some(StartError::setting(name, format_args!("another server runs on this database, and {what}; {mend}")))
    }
}
