//! Login: exchanges a password for a session with two tokens.
//!
//! Rule: the session is committed before its tokens are returned, and only if the user and the password hash are still
//! those that were checked. Threats: an answer that reveals whether a username exists, and a password that is changed
//! or a user who is disabled while the password is hashed.

use std::time::Duration;

use secrecy::SecretString;

use crate::auth::passwords::hash_replaced;
use crate::auth::sessions::jwt::Jwt;
use crate::auth::sessions::status_lists;
use crate::auth::{Actor, Auth, random};
use crate::error::Error;
use crate::model::{AuditMethod, Client, Event, OpaqueToken, PasswordHash, Session, SessionId, Step, User, UserId};

/// The outcome of a login with the right password.
pub enum LoginOutcome {
    /// A new session.
    Session(Box<Login>),
    /// The user must complete this step first.
    Pending(Step),
}

/// A new session with both its tokens.
pub struct Login {
    /// The JWT.
    pub jwt: Jwt,
    /// The opaque token, which is shown only once.
    pub opaque: OpaqueToken,
    /// The lifetime of the opaque token and of the session.
    pub opaque_expires_in: Duration,
    /// The user who logged in.
    pub user: User,
}

impl Auth {
    /// Checks the password and begins a session. [`Error::InvalidCredentials`] for an unknown username, a wrong
    /// password and a disabled user alike.
    pub async fn login(&self, username: &str, password: &SecretString, client: Client) -> Result<LoginOutcome, Error> {
        // A concurrent login may have upgraded the password hash; the second attempt checks the new hash.
        for _ in 0..2 {
            let attempt = Actor::Unknown { method: AuditMethod::Password, origin: client.origin };
            let (user_id, checked) = self.check_password(attempt, username, password).await?;
            if let Some(outcome) = self.begin_session(user_id, checked, client.clone()).await? {
                return Ok(outcome);
            }
        }
        Err(hash_replaced())
    }

    /// Begins a session. Returns none when the user or the password hash has changed since the check.
    async fn begin_session(
        &self,
        user_id: UserId,
        checked: PasswordHash,
        client: Client,
    ) -> Result<Option<LoginOutcome>, Error> {
        let now = self.clock.now();
        let opaque = OpaqueToken::new(random());
        let session = Session {
            id: SessionId::new(now, random()),
            user_id,
            created_at: now,
            last_seen_at: now,
            expires_at: now.after(self.settings.tokens.token_ttl),
            address: client.origin.address.to_string(),
            user_agent: client.user_agent,
        };
        let (method, origin) = (AuditMethod::Password, client.origin);
        let actor = Actor::User { id: user_id, method, origin, grant: None };
        let auth = self.clone();
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            let Some(user) = tx.record_login(user_id, &checked, now).await? else { return Ok(None) };
            if let Some(step) = user.pending_step() {
                return Ok(Some(LoginOutcome::Pending(step)));
            }
            let status = status_lists::insert_session(&mut tx, &session, opaque.hash(), now).await?;
            let others = auth.settings.limits.sessions_per_user.saturating_sub(1);
            tx.end_oldest_sessions(user_id, session.id, others, now).await?;
            tx.record(actor.did(Event::LoggedIn, now).on(user_id).to(session.id));
            tx.commit().await?;
            auth.logins.inc();
            let jwt = auth.issue_jwt(&user, session.id, Some(status), session.expires_at, now)?;
            let login = Login { jwt, opaque, opaque_expires_in: auth.settings.tokens.token_ttl, user };
            Ok(Some(LoginOutcome::Session(Box::new(login))))
        })
        .await
    }
}
