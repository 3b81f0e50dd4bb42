//! Setting and changing passwords.
//!
//! Rule: a new password revokes all sessions, tokens and links of the user but the one that changed it; users must present
//! their current password to change it. Threats: an attacker who stays logged in after the owner has changed the
//! password, or who changes it from a session left open.

use secrecy::SecretString;

use crate::auth::passwords::hash_replaced;
use crate::auth::passwords::policy::normalize;
use crate::auth::{Actor, Auth};
use crate::error::{Error, FieldError};
use crate::mail::Subject;
use crate::model::{
    AuditMethod, Event, Origin, PasswordHash, Principal, SessionId, Status, Step, TokenId, User, UserId,
};

impl Auth {
    /// Sets the password of a user and revokes all their sessions and tokens. [`Error::NotFound`] for an unknown id.
    pub async fn set_password(
        &self,
        actor: Actor,
        id: UserId,
        password: &SecretString,
        must_change: bool,
    ) -> Result<(), Error> {
        let user = self.user(id).await?;
        if let Some(error) = self.check_policy("password", password, &user.names()) {
            return Err(Error::Invalid(vec![error]));
        }
        let hash = self.hash_password(actor, password).await?;
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            let user = tx.locked_user(id, None).await?;
            tx.set_password(id, &hash, must_change, user.next_version(now)).await?;
            tx.end_all_of(id, now).await?;
            auth.notify(&mut tx, &user, actor, Subject::PasswordChanged, [], now).await?;
            tx.record(actor.did(Event::PasswordSet, now).on(id));
            tx.commit().await
        })
        .await
    }

    /// Changes the caller's own password and revokes all their other sessions and tokens. Returns
    /// [`Error::InvalidCredentials`] when `current` is wrong.
    pub async fn change_password(
        &self,
        principal: &Principal,
        actor: Actor,
        current: &SecretString,
        new: &SecretString,
    ) -> Result<(), Error> {
        let (id, checked) = self.check_password(actor, &principal.user.username, current).await?;
        if id != principal.user.id {
            return Err(Error::InvalidCredentials);
        }
        let kept = (principal.session, principal.token);
        self.replace_password(actor, &principal.user, (current, checked), new, kept).await
    }

    /// Changes the password of a user who must do that before anything else, and so has no credential yet. Returns
    /// [`Error::InvalidCredentials`] when `current` is wrong, and [`Error::Invalid`] also when nothing has to be changed.
    pub async fn change_expired_password(
        &self,
        username: &str,
        current: &SecretString,
        new: &SecretString,
        origin: Origin,
    ) -> Result<(), Error> {
        let attempt = Actor::Unknown { method: AuditMethod::Password, origin };
        let (id, checked) = self.check_password(attempt, username, current).await?;
        let user = self.user(id).await?;
        if user.pending_step() != Some(Step::ChangePassword) {
            let message = "need not be chosen any more; sign in with the password that you have";
            return Err(Error::Invalid(vec![FieldError::new("new_password", "not-required", message)]));
        }
        let actor = Actor::User { id, method: AuditMethod::Password, origin, grant: None };
        self.replace_password(actor, &user, (current, checked), new, (None, None)).await
    }

    /// Replaces a password that was checked just now, and ends all sessions and tokens but those that are kept.
    async fn replace_password(
        &self,
        actor: Actor,
        user: &User,
        (current, checked): (&SecretString, PasswordHash),
        new: &SecretString,
        (session, token): (Option<SessionId>, Option<TokenId>),
    ) -> Result<(), Error> {
        let unchanged = (normalize(current) == normalize(new))
            .then(|| FieldError::new("new_password", "unchanged", "must differ from the current password"));
        if let Some(error) = self.check_policy("new_password", new, &user.names()).or(unchanged) {
            return Err(Error::Invalid(vec![error]));
        }
        let hash = self.hash_password(actor, new).await?;
        let (auth, now, id) = (self.clone(), self.clock.now(), user.id);
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            let user = tx.locked_user(id, None).await?;
            if user.status != Status::Active {
                return Err(Error::InvalidCredentials);
            }
            // Another request may have changed the password while the hashes ran, or a login upgraded its hash.
            if !tx.has_password_hash(id, &checked).await? {
                return Err(hash_replaced());
            }
            tx.set_password(id, &hash, false, user.next_version(now)).await?;
            tx.end_sessions_of(id, session, now).await?;
            tx.delete_personal_tokens_of(id, token).await?;
            tx.end_links_of(id, now).await?;
            auth.notify(&mut tx, &user, actor, Subject::PasswordChanged, [], now).await?;
            tx.record(actor.did(Event::PasswordSet, now).on(id));
            tx.commit().await
        })
        .await
    }
}
