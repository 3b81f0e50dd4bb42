//! E-mail addresses that count.
//!
//! Rule: an address counts once its user has followed a link that was sent to it; only then do people log in and recover with
//! it, and of such an address there is one user. The address before is told. Threats: an account that is recovered with a
//! mistyped address, and a thief who quietly moves an account to an address of theirs.

use secrecy::SecretString;

use crate::auth::{Actor, Auth};
use crate::error::{Error, FieldError};
use crate::mail::Subject;
use crate::model::{
    AuditMethod, Event, LinkPurpose, Origin, Principal, Timestamp, User, fold_username, is_deliverable, is_valid_email,
};
use crate::store::Tx;

impl Auth {
    /// Sends a link to this address, with which the caller confirms it. The password is asked for once more: whoever reads the
    /// mail of a verified address can choose another. Whether the address is another user's, only its owner is told.
    /// [`Error::InvalidCredentials`] when the password is wrong, [`Error::MailUnavailable`] when no mail can be sent.
    pub async fn verify_address(
        &self,
        principal: &Principal,
        actor: Actor,
        email: String,
        password: &SecretString,
    ) -> Result<(), Error> {
        self.require_mail()?;
        check_address("email", &email)?;
        let user = principal.user.id;
        let (id, _) = self.check_password(actor, &principal.user.username, password).await?;
        if id != user {
            return Err(Error::InvalidCredentials);
        }
        if let Some(origin) = actor.origin() {
            self.limit_request(origin)?;
        }
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            let user = tx.locked_user(user, None).await?;
            let link = auth.insert_link(&mut tx, user.id, LinkPurpose::EmailVerification, Some(&email), now).await?;
            auth.queue_link(&mut tx, &user, &email, Subject::EmailVerification, &link, now).await?;
            tx.record(actor.did(Event::LinkCreated, now).on(user.id).to(LinkPurpose::EmailVerification.as_str()));
            tx.commit().await
        })
        .await
    }

    /// Makes the address of a link that of its user. The old address is told. Returns the user. [`Error::LinkSpent`] when the
    /// link is not live, [`Error::EmailTaken`] when the address is another user's.
    pub async fn confirm_address(&self, secret: &SecretString, origin: Origin) -> Result<User, Error> {
        let (link, hash) = self.live_link(secret).await?;
        let (LinkPurpose::EmailVerification, Some(id), Some(email)) = (link.purpose, link.user, link.email) else {
            return Err(Error::LinkSpent);
        };
        let actor = Actor::User { id, method: AuditMethod::Link, origin, grant: None };
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            let user = auth.lock_link(&mut tx, id, (LinkPurpose::EmailVerification, hash), now).await?;
            if tx.is_email_taken(&fold_username(&email), id).await? {
                return Err(Error::EmailTaken);
            }
            let changed =
                User { email: Some(email), email_verified: true, updated_at: user.next_version(now), ..user.clone() };
            tx.update_user(&changed).await?;
            tx.end_links_of(id, now).await?;
            if user.email != changed.email {
                auth.notify(&mut tx, &user, actor, Subject::EmailChanged, [], now).await?;
            }
            tx.record(actor.did(Event::UserChanged, now).on(id).with_detail("email: verified".to_owned()));
            tx.commit().await?;
            Ok(changed)
        })
        .await
    }
}

/// Marks the address of a user as verified, if a link that was sent to it was used, and it is nobody else's. They are locked.
pub(in crate::auth) async fn mark_verified(
    tx: &mut Tx,
    user: User,
    sent_to: Option<&str>,
    now: Timestamp,
) -> Result<User, Error> {
    let Some(email) =
        user.email.as_deref().filter(|email| sent_to == Some(email) && !user.email_verified && is_deliverable(email))
    else {
        return Ok(user);
    };
    if tx.is_email_taken(&fold_username(email), user.id).await? {
        return Ok(user);
    }
    let verified = User { email_verified: true, updated_at: user.next_version(now), ..user };
    tx.update_user(&verified).await?;
    Ok(verified)
}

/// Checks that mail can be sent to an address that somebody typed.
pub(in crate::auth) fn check_address(field: &str, email: &str) -> Result<(), Error> {
    let error = match () {
        () if is_deliverable(email) => return Ok(()),
        () if is_valid_email(email) => {
            ("not-ascii", "must be in ASCII, with a domain as xn--… if it has other letters")
        }
        () => ("malformed", "must be an e-mail address"),
    };
    Err(Error::Invalid(vec![FieldError::new(field, error.0, error.1)]))
}
