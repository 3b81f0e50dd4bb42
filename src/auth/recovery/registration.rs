//! Registration: people who make an account for themselves, where the operator allows it.
//!
//! Rule: whoever wants an account gives an e-mail address and gets the same answer in the same time, whether or not it is
//! known; the rest happens by mail. The link that is sent there asks for a username and a password, and makes the user with
//! that address verified. Threats: an answer that tells who has an account; accounts with the address of somebody else; and
//! a username that is the address of another.

use secrecy::SecretString;
use validator::Validate;

use crate::auth::outbox::{Request, Task};
use crate::auth::passwords::hash_queue::Flow;
use crate::auth::recovery::email::check_address;
use crate::auth::recovery::is_recent;
use crate::auth::{Actor, Auth, random};
use crate::config::Registration;
use crate::error::{Error, FieldError};
use crate::mail::{Message, Subject};
use crate::model::{
    AuditMethod, ClientNetwork, Event, LinkPurpose, LinkSecret, MailId, NewUser, Origin, Roles, Status, User, UserId,
    fold_username,
};

impl Auth {
    /// Takes the wish for an account. What comes of it, a mail says. [`Error::RegistrationClosed`],
    /// [`Error::Invalid`] when the domain of the address is not admitted.
    pub async fn register(&self, email: String, origin: Origin) -> Result<(), Error> {
        let registration = &self.settings.mail.registration;
        if *registration == Registration::Closed {
            return Err(Error::RegistrationClosed);
        }
        self.require_mail()?;
        check_address("email", &email)?;
        if !registration.admits(&fold_username(&email)) {
            let message = "must be in one of the domains that may register";
            return Err(Error::Invalid(vec![FieldError::new("email", "not-allowed", message)]));
        }
        self.limit_request(origin)?;
        self.queue_request(Task::Register(Request::new(email, origin))).await
    }

    /// Whether people can make accounts for themselves.
    pub fn is_registration_open(&self) -> bool {
        self.has_mail() && self.settings.mail.registration != Registration::Closed
    }

    /// Sends the link to the address, or tells a user who has it that they have an account.
    pub(in crate::auth) async fn invite_to_register(&self, id: MailId, request: &Request) -> Result<(), Error> {
        let (now, email) = (self.clock.now(), request.typed.as_str());
        let key = fold_username(email);
        let mut tx = self.store.write().await?;
        if !tx.delete_mail(id).await? {
            return Ok(());
        }
        let purpose = LinkPurpose::Registration;
        match tx.user_by_login("", Some(&key)).await? {
            _ if is_recent(tx.registration_made_at(&key, now).await?, now) => {}
            // The operator may have closed it since.
            _ if !self.settings.mail.registration.admits(&key) => {}
            found => {
                // Somebody who has an account gets no link. That one was made keeps them from being sent many mails.
                let (secret, expires_at) =
                    (LinkSecret::new(random()), now.after(self.settings.recovery.link_ttl(purpose)));
                tx.end_registration(&key, now).await?;
                if !tx.insert_link(purpose, None, secret.hash(), Some(&key), (now, expires_at)).await? {
                    // Another server was first, and sends its link.
                    return tx.commit().await;
                }
                if let Some(user) = found {
                    let to = user.verified_email().filter(|_| user.status == Status::Active);
                    if let Some(to) = to {
                        self.queue_mail(&mut tx, &user, to, Subject::AlreadyRegistered, [], now).await?;
                    }
                    return tx.commit().await;
                }
                let link = self.link(&secret, expires_at);
                let values =
                    link.values().into_iter().chain([("name", email.to_owned()), ("username", email.to_owned())]);
                let values = values.map(|(name, value)| (name.to_owned(), value)).collect();
                let message = Message { to: email.to_owned(), subject: Subject::Registration, values };
                self.queue(&mut tx, None, &Task::Send { message, until: Some(expires_at) }, now).await?;
                tx.record(request.actor().did(Event::LinkCreated, now).to(purpose.as_str()));
            }
        }
        tx.commit().await
    }

    /// Makes the user of a registration, who chooses a username and a password. [`Error::LinkSpent`] when the link is not live;
    /// [`Error::UsernameTaken`], [`Error::EmailTaken`] and [`Error::Invalid`] leave it as it is.
    pub async fn complete_registration(
        &self,
        secret: &SecretString,
        username: &str,
        password: &SecretString,
        origin: Origin,
    ) -> Result<User, Error> {
        let (link, hash) = self.live_link(secret).await?;
        let email = link.email.filter(|email| self.settings.mail.registration.admits(email));
        let (LinkPurpose::Registration, Some(email)) = (link.purpose, email) else { return Err(Error::LinkSpent) };
        let now = self.clock.now();
        let new = NewUser {
            username: fold_username(username),
            name: None,
            email: Some(email.clone()),
            roles: vec![Roles::DEFAULT.to_owned()],
            must_change_password: false,
        };
        let mut fields = FieldError::all(new.validate());
        // It would take the place of the one who logs in with that address.
        if new.username.contains('@') && new.username != email {
            fields.push(FieldError::new("username", "malformed", "must not look like an e-mail address"));
        }
        fields.extend(self.check_policy("password", password, &[Some(&new.username), Some(&email)]));
        if !fields.is_empty() {
            return Err(Error::Invalid(fields));
        }
        let flow =
            Flow { network: Some(ClientNetwork::of(origin.address)), account: self.limiter.account_key(&new.username) };
        let password = self.hash_in(flow, password).await?;
        let id = UserId::new(now, random());
        let user = User {
            email: new.email,
            email_verified: true,
            roles: new.roles.into_iter().collect(),
            ..User::new(id, new.username, now)
        };
        let actor = Actor::User { id, method: AuditMethod::Link, origin, grant: None };
        let auth = self.clone();
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            if !tx.lock_secret(LinkPurpose::Registration.into(), hash, now).await? {
                return Err(Error::LinkSpent);
            }
            if tx.is_email_taken(&email, id).await? {
                return Err(Error::EmailTaken);
            }
            tx.insert_user(&user, &password).await?;
            tx.update_user(&user).await?;
            tx.end_registration(&email, now).await?;
            tx.record(
                actor.did(Event::UserCreated, now).on(id).with_detail(format!("roles: {}; registered", user.roles)),
            );
            tx.commit().await?;
            Ok(user)
        })
        .await
    }
}
