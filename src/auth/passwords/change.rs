//! Passwords given and changed.
//!
//! Rule: another password ends every session and token but the one it was changed with; whoever changes their own shows the
//! current one. Threat: a thief who stays in after the owner has changed the password, or changes it himself with a session
//! he found open.

use secrecy::{ExposeSecret, SecretString};

use crate::{
    auth::{Actor, Auth},
    error::{Error, FieldError},
    model::{Event, Principal, UserId},
};

impl Auth {
    /// Gives a user another password and ends every session and token of theirs. [`Error::NotFound`] when there is no such
    /// user.
    pub async fn set_password(
        &self,
        actor: Actor,
        id: UserId,
        password: &SecretString,
        must_change: bool,
    ) -> Result<(), Error> {
        let user = self.user(id).await?;
        if let Some(fault) = self.password_rule("password", password, &user.names()) {
            return Err(Error::Invalid(vec![fault]));
        }
        let hash = self.hash_password(password).await?;
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            let user = tx.locked_user(id, None).await?;
            tx.set_password(id, &hash, must_change, user.next_version(now)).await?;
            tx.end_all_of(id, now).await?;
            tx.record(actor.did(Event::PasswordSet, now).on(id));
            tx.commit().await
        })
        .await
    }

    /// Changes the caller's own password, which ends every other session and token of theirs. [`Error::InvalidCredentials`]
    /// when the current one is not right.
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
        let unchanged = (current.expose_secret() == new.expose_secret())
            .then(|| FieldError::new("new_password", "unchanged", "must be another than the current one"));
        if let Some(fault) = self.password_rule("new_password", new, &principal.user.names()).or(unchanged) {
            return Err(Error::Invalid(vec![fault]));
        }
        let hash = self.hash_password(new).await?;
        let (auth, now, session, token) = (self.clone(), self.clock.now(), principal.session, principal.token);
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            let user = tx.locked_user(id, None).await?;
            // Someone else may have changed it while the hashes ran.
            if !tx.has_password_hash(id, &checked).await? {
                return Err(Error::InvalidCredentials);
            }
            tx.set_password(id, &hash, false, user.next_version(now)).await?;
            tx.end_sessions_of(id, session, now).await?;
            tx.delete_personal_tokens_of(id, token).await?;
            tx.record(actor.did(Event::PasswordSet, now).on(id));
            tx.commit().await
        })
        .await
    }
}
