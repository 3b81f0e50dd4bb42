//! Sessions: how users and admins list and end them.
//!
//! Rule: ending a session revokes both its tokens at once; the next request with either is refused. Threat: a token
//! that outlives the logout of its user.

pub mod jwt;
pub mod login;
pub mod refresh;
pub mod status_lists;

use crate::auth::audit::EVERYONE;
use crate::auth::{Actor, Auth};
use crate::error::Error;
use crate::model::{Event, Principal, Session, SessionId, UserId};

impl Auth {
    /// Ends the session of the caller. [`Error::NoSession`] with HTTP Basic and personal tokens, which have none.
    pub async fn logout(&self, principal: &Principal, actor: Actor) -> Result<(), Error> {
        let session = principal.session.ok_or(Error::NoSession)?;
        // A concurrent request may have ended it since the check.
        // To end one's own session takes no right that could have been lost.
        self.end_session(actor.unconfirmed(), None, session).await.or_else(|error| match error {
            Error::NotFound => Ok(()),
            error => Err(error),
        })
    }

    /// The live sessions of a user, the newest first. [`Error::NotFound`] when there is no such user.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<Session>, Error> {
        let now = self.clock.now();
        let mut conn = self.store.read().await?;
        conn.user(user).await?.ok_or(Error::NotFound)?;
        let mut sessions = conn.sessions_of(user, now).await?;
        for session in &mut sessions {
            session.last_seen_at = self.activity.sessions.last_use(session.id, session.last_seen_at);
        }
        sessions.retain(|session| !self.is_idle_since(session.last_seen_at, now));
        Ok(sessions)
    }

    /// Ends a session. [`Error::NotFound`] when it is not live, or its user is not `owner`; without `owner` it may be
    /// any user's.
    pub async fn end_session(&self, actor: Actor, owner: Option<UserId>, id: SessionId) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            let user = match owner {
                Some(owner) => tx.end_own_session(owner, id, now).await?.then_some(owner),
                None => tx.end_session(id, now).await?,
            };
            if let Some(user) = user {
                tx.record(actor.did(Event::SessionEnded, now).on(user).to(id));
            }
            tx.commit().await?;
            user.map(drop).ok_or(Error::NotFound)
        })
        .await
    }

    /// Ends all sessions of a user except `but`. Returns how many. [`Error::NotFound`] when there is no such user.
    pub async fn end_sessions(&self, actor: Actor, user: UserId, but: Option<SessionId>) -> Result<usize, Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            tx.lock_user(user).await?.ok_or(Error::NotFound)?;
            let ended = tx.end_sessions_of(user, but, now).await?;
            if !ended.is_empty() {
                tx.record(actor.did(Event::SessionEnded, now).on(user).concerning(&ended));
            }
            tx.commit().await?;
            Ok(ended.len())
        })
        .await
    }

    /// Ends the sessions of all users. Returns how many.
    pub async fn end_all_sessions(&self, actor: Actor) -> Result<u64, Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            let ended = tx.end_all_sessions(now).await?;
            if ended > 0 {
                tx.record(actor.did(Event::SessionEnded, now).to(EVERYONE));
            }
            tx.commit().await?;
            Ok(ended)
        })
        .await
    }
}
