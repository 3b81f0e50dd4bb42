//! Refresh: a new JWT for a session, and if wanted a new opaque token.
//!
//! Rule: an opaque token is exchanged once, by one statement that names it; one that was exchanged is never good again, and
//! whoever presents it ends the session. Threat: a copied token, whose thief and owner would otherwise both go on (RFC
//! 9700, section 4.14.2).

use std::time::Duration;

use crate::{
    auth::{Actor, Auth, random, sessions::jwt::Jwt},
    error::Error,
    model::{Event, Method, OpaqueToken, Origin, Principal, SessionId, User},
};

/// What a refresh gives.
pub struct Refreshed {
    /// The new JWT.
    pub jwt: Jwt,
    /// The new opaque token, if it was exchanged.
    pub opaque: Option<OpaqueToken>,
    /// How long the session and its opaque token still live.
    pub opaque_expires_in: Duration,
    /// Whose session it is.
    pub user: User,
}

impl Auth {
    /// A new JWT for the session of the opaque token that was presented, with the user's roles as they are now; with
    /// `rotate` a new opaque token too. [`Error::OpaqueRequired`] for any other credential.
    pub async fn refresh(&self, principal: &Principal, rotate: bool, origin: Origin) -> Result<Refreshed, Error> {
        let (Some(id), Some(presented)) = (principal.session, principal.opaque) else {
            return Err(Error::OpaqueRequired);
        };
        let (auth, now, actor) = (self.clone(), self.clock.now(), Actor::caller(principal, origin));
        // All that can fail comes before the exchange: once the old token is spent there must be new ones to hand out.
        let live = self.store.read().await?.session_by_id(id, now).await?.ok_or(Error::InvalidToken)?;
        let jwt = self.issue_jwt(&live.user, id, live.status, live.expires_at, now)?;
        let opaque = rotate.then(|| OpaqueToken::new(random()));
        let (new, user) = (opaque.as_ref().map(OpaqueToken::hash), live.user.id);
        let refreshed = self.finish(async move {
            let mut tx = auth.store.write().await?;
            let done = match new {
                Some(new) => tx.rotate_token(id, presented, new, now).await?,
                None => true,
            };
            if done {
                tx.record(actor.did(Event::SessionRefreshed, now).on(user).to(id));
            }
            tx.commit().await?;
            Ok(done)
        });
        if !refreshed.await? {
            // Someone else exchanged it between our check and now, or it was exchanged so often that it is kept as it is.
            if self.store.read().await?.session_by_token(presented, now).await?.is_none() {
                self.end_reused_session(id, origin).await?;
            }
            return Err(Error::InvalidToken);
        }
        let left = live.expires_at.as_unix_seconds() - now.as_unix_seconds();
        let opaque_expires_in = Duration::from_secs(u64::try_from(left).unwrap_or(0));
        Ok(Refreshed { jwt, opaque, opaque_expires_in, user: live.user })
    }

    /// Ends the session whose exchanged token was presented again: there is a copy of it, and nobody can tell which of the
    /// two is the owner's.
    pub(in crate::auth) async fn end_reused_session(&self, id: SessionId, origin: Origin) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        let ended = self.finish(async move {
            let mut tx = auth.store.write().await?;
            let ended = tx.end_session(id, now).await?;
            if let Some(user) = ended {
                let actor = Actor::Unknown { method: Method::Opaque.into(), origin };
                tx.record(actor.did(Event::TokenReused, now).on(user).to(id).refused());
            }
            tx.commit().await?;
            Ok(ended)
        });
        if let Some(user) = ended.await? {
            tracing::warn!(%user, session = %id, "an exchanged token was presented again; its session was ended");
        }
        Ok(())
    }
}
