//! Refresh: a new JWT for a session, and on request a new opaque token (rotation).
//!
//! Rule: an opaque token is rotated once, by one conditional statement. A rotated token is never valid again;
//! presenting it ends the session. Threat: a stolen token, which thief and owner could otherwise both keep refreshing
//! (RFC 9700, section 4.14.2).

use std::time::Duration;

use crate::auth::sessions::jwt::Jwt;
use crate::auth::{Actor, Auth, random};
use crate::error::Error;
use crate::model::{Event, Method, OpaqueToken, Origin, Principal, SessionId, TokenHash, User, UserId};

/// The result of a refresh.
pub struct Refreshed {
    /// The new JWT.
    pub jwt: Jwt,
    /// The new opaque token, if the old one was rotated.
    pub opaque: Option<OpaqueToken>,
    /// The remaining lifetime of the session and its opaque token.
    pub opaque_expires_in: Duration,
    /// The user of the session.
    pub user: User,
}

impl Auth {
    /// Issues a new JWT for the session of the caller's opaque token, with the current roles of the user; with
    /// `rotate`, a new opaque token, too. [`Error::OpaqueRequired`] for any other credential. Without `rotate` nothing
    /// changes, so nothing is written or recorded: a client may do it as often as it likes.
    pub async fn refresh(&self, principal: &Principal, actor: Actor, rotate: bool) -> Result<Refreshed, Error> {
        let (Some(id), Some(presented)) = (principal.session, principal.opaque) else {
            return Err(Error::OpaqueRequired);
        };
        let now = self.clock.now();
        // Everything that can fail comes before the rotation: once it is committed, the client needs the new tokens.
        let live = self.store.read().await?.session_by_id(id, now).await?.ok_or(Error::InvalidToken)?;
        let jwt = self.issue_jwt(&live.user, id, live.status, live.expires_at, now)?;
        let opaque = rotate.then(|| OpaqueToken::new(random()));
        if let Some(new) = &opaque {
            self.rotate(actor, live.user.id, id, presented, new.hash()).await?;
        }
        let left = live.expires_at.as_unix_seconds() - now.as_unix_seconds();
        let opaque_expires_in = Duration::from_secs(u64::try_from(left).unwrap_or(0));
        Ok(Refreshed { jwt, opaque, opaque_expires_in, user: live.user })
    }

    /// Exchanges the opaque token of a session for a new one. The statement itself says whether the session and the token
    /// still live.
    async fn rotate(
        &self,
        actor: Actor,
        user: UserId,
        id: SessionId,
        presented: TokenHash,
        new: TokenHash,
    ) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        let rotated = self.finish(async move {
            let mut tx = auth.store.write().await?;
            let rotated = tx.rotate_token(id, presented, new, now).await?;
            if rotated {
                tx.record(actor.did(Event::SessionRefreshed, now).on(user).to(id));
            }
            tx.commit().await?;
            Ok(rotated)
        });
        if rotated.await? {
            return Ok(());
        }
        // If the token is still valid, the session was only rotated too often. Otherwise another request rotated it.
        if self.store.read().await?.session_by_token(presented, now).await?.is_none()
            && let Some(origin) = actor.origin()
        {
            self.end_reused_session(id, origin).await?;
        }
        Err(Error::InvalidToken)
    }

    /// Ends a session whose rotated token was presented again: a copy of the token exists, and the service cannot tell
    /// the thief from the owner.
    pub(in crate::auth) async fn end_reused_session(&self, id: SessionId, origin: Origin) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        let ended = self.finish(async move {
            let mut tx = auth.store.write().await?;
            let ended = tx.end_session(id, now).await?;
            if let Some(user) = ended {
                let actor = Actor::Unknown { method: Method::Opaque.into(), origin };
                tx.record(actor.did(Event::TokenReused, now).on(user).to(id).refused());
                // Whoever has the copy may have made tokens with it.
                let tokens = tx.delete_personal_tokens_made_in(id, user).await?;
                if !tokens.is_empty() {
                    tx.record(actor.did(Event::TokenRevoked, now).on(user).concerning(&tokens));
                }
            }
            tx.commit().await?;
            Ok(ended)
        });
        if let Some(user) = ended.await? {
            self.copies.inc();
            tracing::warn!(%user, session = %id, "an exchanged token was presented again; its session was ended");
        }
        Ok(())
    }
}
