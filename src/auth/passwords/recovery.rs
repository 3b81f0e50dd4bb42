//! One-time links: how people choose a password without knowing one.
//!
//! Rule: a link is 256 random bits, stored as a hash, for one user and one purpose, and works once and for a limited time.
//! To open it uses nothing up, only to choose a password does. A newer link ends the older; so does a change of the password
//! or the e-mail address, and disabling the user. Threats: a link in an old mail, a log or a stolen database; two people with
//! one link; and a mail scanner that opens links before their owner does.

use secrecy::{ExposeSecret, SecretString};

use crate::auth::passwords::hash_queue::Flow;
use crate::auth::{Actor, Auth, random};
use crate::error::Error;
use crate::model::{
    AuditMethod, ClientNetwork, Event, LinkPurpose, LinkSecret, Origin, PasswordHash, Status, Timestamp, User, UserId,
};
use crate::store::Tx;

/// A new one-time link. It is shown once: the address contains the secret.
#[derive(Clone, Debug)]
pub struct Link {
    /// The address.
    pub url: SecretString,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// What a live link allows, and whom.
#[derive(Debug)]
pub struct OpenedLink {
    /// What it is for.
    pub purpose: LinkPurpose,
    /// The user.
    pub user: User,
}

impl Auth {
    /// Makes a link with which the user chooses a password; the one they had ends. [`Error::NotFound`] when there is no such
    /// user, [`Error::UserDisabled`] when they may not log in.
    pub async fn create_link(&self, actor: Actor, id: UserId, purpose: LinkPurpose) -> Result<Link, Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            if tx.lock_user(id).await?.ok_or(Error::NotFound)? != Status::Active {
                return Err(Error::UserDisabled);
            }
            let link = auth.insert_link(&mut tx, id, purpose, now).await?;
            tx.record(actor.did(Event::LinkCreated, now).on(id).to(purpose.as_str()));
            tx.commit().await?;
            Ok(link)
        })
        .await
    }

    /// Adds a link for a user who is locked or new.
    pub(in crate::auth) async fn insert_link(
        &self,
        tx: &mut Tx,
        user: UserId,
        purpose: LinkPurpose,
        now: Timestamp,
    ) -> Result<Link, Error> {
        let (secret, expires_at) = (LinkSecret::new(random()), now.after(self.settings.recovery.link_ttl(purpose)));
        for ended in LinkPurpose::OF_PASSWORDS {
            tx.use_up_secret(ended.into(), Some(user), now).await?;
        }
        tx.insert_secret(purpose.into(), Some(user), secret.hash(), now, Some(expires_at)).await?;
        let address = self.settings.tokens.public_url().trim_end_matches('/');
        Ok(Link { url: format!("{address}/link/{}", secret.reveal()).into(), expires_at })
    }

    /// Whether a user has a password. [`Error::NotFound`] when there is no such user.
    pub async fn has_password(&self, id: UserId) -> Result<bool, Error> {
        let mut conn = self.store.read().await?;
        conn.user(id).await?.ok_or(Error::NotFound)?;
        Ok(!conn.has_password_hash(id, &PasswordHash::none()).await?)
    }

    /// What the link with this secret allows. It uses nothing up. [`Error::LinkSpent`] when the link is not live.
    pub async fn open_link(&self, secret: &SecretString) -> Result<OpenedLink, Error> {
        let hash = LinkSecret::parse(secret.expose_secret()).ok_or(Error::LinkSpent)?.hash();
        let mut conn = self.store.read().await?;
        let (purpose, id) = conn.live_link(hash, self.clock.now()).await?.ok_or(Error::LinkSpent)?;
        let user = conn.user(id).await?.filter(|user| user.status == Status::Active).ok_or(Error::LinkSpent)?;
        Ok(OpenedLink { purpose, user })
    }

    /// Sets the password of the user of a link, which uses it up and revokes all their sessions and tokens. Returns the user.
    /// [`Error::LinkSpent`] when the link is not live.
    pub async fn reset_password(
        &self,
        secret: &SecretString,
        new: &SecretString,
        origin: Origin,
    ) -> Result<User, Error> {
        let OpenedLink { purpose, user } = self.open_link(secret).await?;
        let link = LinkSecret::parse(secret.expose_secret()).ok_or(Error::LinkSpent)?.hash();
        if let Some(error) = self.check_policy("new_password", new, &user.names()) {
            return Err(Error::Invalid(vec![error]));
        }
        let (id, network) = (user.id, ClientNetwork::of(origin.address));
        let flow = Flow { network: Some(network), account: self.limiter.account_key(&user.username) };
        let hash = self.hash_in(flow, new).await?;
        let actor = Actor::User { id, method: AuditMethod::Link, origin, grant: None };
        let (auth, now) = (self.clone(), self.clock.now());
        let user = self
            .finish(async move {
                let mut tx = auth.store.write().await?;
                // The user first, as wherever links are made and ended: two transactions that locked the two in different orders
                // could wait for each other.
                if tx.lock_user(id).await? != Some(Status::Active) || !tx.lock_secret(purpose.into(), link, now).await?
                {
                    return Err(Error::LinkSpent);
                }
                let user = tx.locked_user(id, None).await?;
                tx.set_password(id, &hash, false, user.next_version(now)).await?;
                tx.end_all_of(id, now).await?;
                tx.record(actor.did(Event::PasswordSet, now).on(id).to(purpose.as_str()));
                tx.commit().await?;
                Ok(user)
            })
            .await?;
        // Whoever forgot a password has tried several, and is to get in with the new one.
        self.limiter.admit_again(flow);
        self.new_networks.add(id, network);
        Ok(user)
    }
}
