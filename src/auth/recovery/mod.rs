//! One-time links: how people choose a password without knowing one.
//!
//! Rule: a link is 256 random bits, stored as a hash, for one user and one purpose, and works once and for a limited time.
//! To open it uses nothing up, only to choose a password does. A newer link ends the older; so does a change of the password
//! or the e-mail address, and disabling the user. Threats: a link in an old mail, a log or a stolen database; two people with
//! one link; a mail scanner that opens links before their owner does; and a stranger who has a user's links replaced faster
//! than the user can follow them.

mod email;
mod registration;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::auth::outbox::{Request, Task, for_people, message_to};
use crate::auth::passwords::hash_queue::Flow;
use crate::auth::recovery::email::{check_address, mark_verified};
use crate::auth::{Actor, Auth, IdempotentRequest, random};
use crate::error::{Error, FieldError};
use crate::mail::Subject;
use crate::model::{
    AuditMethod, ClientNetwork, Event, LinkPurpose, LinkSecret, LiveLink, MailId, Origin, PasswordHash, Roles,
    SecretPurpose, Status, Timestamp, TokenHash, User, UserId, fold_username, is_valid_email, is_valid_username,
};
use crate::store::Tx;

/// A link that was asked for without logging in is not replaced for so long, however often it is asked for.
const REPLACED_AFTER: Duration = Duration::from_secs(10 * 60);

/// The most bytes of a username or an address that somebody has forgotten the password of.
const MAX_TYPED: usize = 320;

/// A new one-time link. It is shown once: the address contains the secret.
#[derive(Clone, Debug)]
pub struct Link {
    /// The address; none when it was sent to its user.
    pub url: Option<SecretString>,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Link {
    /// What the text of a mail says of it.
    pub(in crate::auth) fn values(&self) -> [(&'static str, String); 2] {
        let url = self.url.as_ref().map(|url| url.expose_secret().to_owned());
        [("url", url.unwrap_or_default()), ("until", for_people(self.expires_at))]
    }
}

/// What a live link allows, and whom.
#[derive(Debug)]
pub struct OpenedLink {
    /// What it is for.
    pub purpose: LinkPurpose,
    /// The user; none yet of a registration.
    pub user: Option<User>,
    /// The address that it was sent to, or that it verifies.
    pub email: Option<String>,
}

impl Auth {
    /// Makes a link with which the user chooses a password; the one they had ends. With `deliver` it is sent to them, and not
    /// returned. The same request gets the same link. [`Error::NotFound`] when there is no such user, [`Error::UserDisabled`] when they may not log in,
    /// [`Error::MailUnavailable`] and [`Error::Invalid`] when no mail can be sent, or none to them.
    pub async fn create_link(
        &self,
        actor: Actor,
        id: UserId,
        purpose: LinkPurpose,
        deliver: bool,
        once: Option<IdempotentRequest>,
    ) -> Result<Link, Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            if let Some((url, expires_at)) = auth.stored_response(&mut tx, actor, once.as_ref(), now).await? {
                tx.commit().await?;
                return Ok(Link { url: Option::<String>::map(url, Into::into), expires_at });
            }
            let user = tx.locked_user(id, None).await?;
            if user.status != Status::Active {
                return Err(Error::UserDisabled);
            }
            let link = auth.issue_link(&mut tx, &user, purpose, deliver, now).await?;
            let url = link.url.as_ref().map(|url| url.expose_secret().to_owned());
            auth.store_response(&mut tx, actor, once.as_ref(), &(url, link.expires_at), now).await?;
            tx.record(actor.did(Event::LinkCreated, now).on(id).to(purpose.as_str()));
            tx.commit().await?;
            Ok(link)
        })
        .await
    }

    /// Adds a link for a user who is locked or new, and sends it if it is to be delivered.
    pub(in crate::auth) async fn issue_link(
        &self,
        tx: &mut Tx,
        user: &User,
        purpose: LinkPurpose,
        deliver: bool,
        now: Timestamp,
    ) -> Result<Link, Error> {
        if !deliver {
            return self.insert_link(tx, user.id, purpose, None, now).await;
        }
        self.require_mail()?;
        let Some(email) = &user.email else {
            let message = "needs the user to have an e-mail address";
            return Err(Error::Invalid(vec![FieldError::new("deliver", "no-address", message)]));
        };
        check_address("email", email)?;
        let link = self.insert_link(tx, user.id, purpose, Some(email), now).await?;
        let subject = match purpose {
            LinkPurpose::Invitation => Subject::Invitation,
            _ => Subject::PasswordReset,
        };
        self.queue_link(tx, user, email, subject, &link, now).await?;
        Ok(Link { url: None, ..link })
    }

    /// Adds a link for a user who is locked or new; the older ones of its kind end. `email` is the address it is sent to.
    pub(in crate::auth) async fn insert_link(
        &self,
        tx: &mut Tx,
        user: UserId,
        purpose: LinkPurpose,
        email: Option<&str>,
        now: Timestamp,
    ) -> Result<Link, Error> {
        let ended = match LinkPurpose::OF_PASSWORDS.contains(&purpose) {
            true => &LinkPurpose::OF_PASSWORDS[..],
            false => &[purpose],
        };
        self.replace_links(tx, user, (purpose, ended), email, now).await
    }

    /// Adds a link, and ends those of these purposes.
    async fn replace_links(
        &self,
        tx: &mut Tx,
        user: UserId,
        (purpose, ended): (LinkPurpose, &[LinkPurpose]),
        email: Option<&str>,
        now: Timestamp,
    ) -> Result<Link, Error> {
        let (secret, expires_at) = (LinkSecret::new(random()), now.after(self.settings.recovery.link_ttl(purpose)));
        for ended in ended {
            tx.use_up_secret((*ended).into(), Some(user), now).await?;
        }
        tx.insert_link(purpose, Some(user), secret.hash(), email, (now, expires_at)).await?;
        Ok(self.link(&secret, expires_at))
    }

    /// Adds a mail with a link to a user at this address.
    pub(in crate::auth) async fn queue_link(
        &self,
        tx: &mut Tx,
        user: &User,
        to: &str,
        subject: Subject,
        link: &Link,
        now: Timestamp,
    ) -> Result<(), Error> {
        let message = message_to(user, to, subject, link.values());
        self.queue(tx, Some(user.id), &Task::Send { message, until: Some(link.expires_at) }, now).await
    }

    /// The link with this secret.
    pub(in crate::auth) fn link(&self, secret: &LinkSecret, expires_at: Timestamp) -> Link {
        let address = self.settings.tokens.public_url().trim_end_matches('/');
        Link { url: Some(format!("{address}/link/{}", secret.reveal()).into()), expires_at }
    }

    /// Whether a user has a password. [`Error::NotFound`] when there is no such user.
    pub async fn has_password(&self, id: UserId) -> Result<bool, Error> {
        let mut conn = self.store.read().await?;
        conn.user(id).await?.ok_or(Error::NotFound)?;
        Ok(!conn.has_password_hash(id, &PasswordHash::none()).await?)
    }

    /// The live link with this secret, and its hash. [`Error::LinkSpent`] when the link is not live.
    pub(in crate::auth) async fn live_link(&self, secret: &SecretString) -> Result<(LiveLink, TokenHash), Error> {
        let hash = LinkSecret::parse(secret.expose_secret()).ok_or(Error::LinkSpent)?.hash();
        let link = self.store.read().await?.live_link(hash, self.clock.now()).await?;
        Ok((link.ok_or(Error::LinkSpent)?, hash))
    }

    /// The active user of a live link, both locked. The user comes first, as wherever links are made and ended: two transactions
    /// that locked the two in different orders could wait for each other. [`Error::LinkSpent`] when either is no more.
    pub(in crate::auth) async fn lock_link(
        &self,
        tx: &mut Tx,
        id: UserId,
        (purpose, link): (LinkPurpose, TokenHash),
        now: Timestamp,
    ) -> Result<User, Error> {
        let user = match tx.locked_user(id, None).await {
            Err(Error::NotFound) => return Err(Error::LinkSpent),
            found => found?,
        };
        let is_live = user.status == Status::Active && tx.lock_secret(purpose.into(), link, now).await?;
        if is_live { Ok(user) } else { Err(Error::LinkSpent) }
    }

    /// What the link with this secret allows. It uses nothing up. [`Error::LinkSpent`] when the link is not live.
    pub async fn open_link(&self, secret: &SecretString) -> Result<OpenedLink, Error> {
        let (LiveLink { purpose, user, email, .. }, _) = self.live_link(secret).await?;
        let user = match user {
            Some(id) => {
                let user = self.store.read().await?.user(id).await?;
                Some(user.filter(|user| user.status == Status::Active).ok_or(Error::LinkSpent)?)
            }
            None => None,
        };
        Ok(OpenedLink { purpose, user, email })
    }

    /// Sets the password of the user of a link, which uses it up and revokes all their sessions and tokens. Returns the user.
    /// [`Error::LinkSpent`] when the link is not live.
    pub async fn reset_password(
        &self,
        secret: &SecretString,
        new: &SecretString,
        origin: Origin,
    ) -> Result<User, Error> {
        let (LiveLink { purpose, user, email, .. }, hash) = self.live_link(secret).await?;
        let (Some(id), true) = (user, LinkPurpose::OF_PASSWORDS.contains(&purpose)) else {
            return Err(Error::LinkSpent);
        };
        let user = self.store.read().await?.user(id).await?.ok_or(Error::LinkSpent)?;
        if let Some(error) = self.check_policy("new_password", new, &user.names()) {
            return Err(Error::Invalid(vec![error]));
        }
        let network = ClientNetwork::of(origin.address);
        let flow = Flow { network: Some(network), account: self.limiter.account_key(&user.username) };
        let password = self.hash_in(flow, new).await?;
        let actor = Actor::User { id, method: AuditMethod::Link, origin, grant: None };
        let (auth, now) = (self.clone(), self.clock.now());
        let user = self
            .finish(async move {
                let mut tx = auth.store.write().await?;
                let user = auth.lock_link(&mut tx, id, (purpose, hash), now).await?;
                let user = mark_verified(&mut tx, user, email.as_deref(), now).await?;
                // The first password of all is no news to anybody.
                if !tx.has_password_hash(id, &PasswordHash::none()).await? {
                    auth.notify(&mut tx, &user, actor, Subject::PasswordChanged, [], now).await?;
                }
                tx.set_password(id, &password, false, user.next_version(now)).await?;
                tx.end_all_of(id, now).await?;
                if user.roles.contains(Roles::ADMIN) {
                    tx.use_up_secret(SecretPurpose::Setup, None, now).await?;
                }
                tx.record(actor.did(Event::PasswordSet, now).on(id).to(purpose.as_str()));
                tx.commit().await?;
                Ok(user)
            })
            .await?;
        // Whoever forgot a password has tried several, and is to get in with the new one.
        for name in [Some(user.username.as_str()), user.email.as_deref()].into_iter().flatten() {
            self.limiter.admit_again(Flow { account: self.limiter.account_key(&fold_username(name)), ..flow });
        }
        self.tell_others().await;
        self.new_networks.add(id, network);
        Ok(user)
    }

    /// Takes the request of somebody who has forgotten a password, and gives the username or the address. Whether there is such
    /// a user nobody looks here: the answer is the same, and as fast. [`Error::MailUnavailable`] when no mail can be sent.
    pub async fn forgot_password(&self, typed: &str, origin: Origin) -> Result<(), Error> {
        self.require_mail()?;
        self.limit_request(origin)?;
        // Longer than any username or address.
        let typed = typed.get(..MAX_TYPED.min(typed.len())).unwrap_or_default().to_owned();
        self.queue_request(Task::Recover(Request::new(typed, origin))).await
    }

    /// Adds a request that ends in a mail.
    pub(in crate::auth) async fn queue_request(&self, task: Task) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            auth.queue(&mut tx, None, &task, now).await?;
            tx.commit().await
        })
        .await
    }

    /// Counts a request that ends in a mail. [`Error::TooManyAttempts`] when there were too many from this network.
    pub(in crate::auth) fn limit_request(&self, origin: Origin) -> Result<(), Error> {
        let now = self.clock.now();
        match self.limiter.count_request(ClientNetwork::of(origin.address), now) {
            None => Ok(()),
            Some(until) => {
                let wait = u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0);
                Err(Error::TooManyAttempts { retry_after: Duration::from_millis(wait) })
            }
        }
    }

    /// Sends a link to whoever has forgotten a password, if there is such a user, and their address is verified.
    pub(in crate::auth) async fn recover(&self, id: MailId, request: &Request) -> Result<(), Error> {
        let (now, purpose) = (self.clock.now(), LinkPurpose::PasswordReset);
        // By the address also where it does not log in.
        let username = fold_username(&request.typed);
        let email = is_valid_email(&request.typed).then(|| username.clone());
        let login = (email.is_some() || is_valid_username(&username)).then_some((username, email));
        let mut tx = self.store.write().await?;
        // Another server may have been faster.
        if !tx.delete_mail(id).await? {
            return Ok(());
        }
        let found = match &login {
            Some((username, email)) => tx.user_by_login(username, email.as_deref()).await?,
            None => None,
        };
        if let Some(found) = found {
            let user = tx.locked_user(found.id, None).await?;
            let to = user.verified_email().filter(|_| user.status == Status::Active).map(ToOwned::to_owned);
            if let Some(to) = to
                && !is_recent(tx.link_made_at(purpose, user.id, now).await?, now)
            {
                // An invitation stays: a stranger who types the name cannot end it.
                let link = self.replace_links(&mut tx, user.id, (purpose, &[purpose]), Some(&to), now).await?;
                self.queue_link(&mut tx, &user, &to, Subject::PasswordReset, &link, now).await?;
                tx.record(request.actor().did(Event::LinkCreated, now).on(user.id).to(purpose.as_str()));
            }
        }
        tx.commit().await
    }
}

/// Whether a link was made so lately that it is not to be replaced.
fn is_recent(made_at: Option<Timestamp>, now: Timestamp) -> bool {
    // A clock that was set back makes nothing recent for longer.
    made_at.is_some_and(|at| at <= now && now < at.after(REPLACED_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_recent_for_ten_minutes_and_by_a_clock_that_was_set_back_it_is_not() {
        let made_at = Timestamp(1_767_225_600_000);
        let recent = [-1, 0, 599_999, 600_000].map(|later| is_recent(Some(made_at), Timestamp(made_at.0 + later)));
        assert_eq!(recent, [false, true, true, false]);
        assert!(!is_recent(None, made_at));
    }
}
