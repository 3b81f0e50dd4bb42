//! The outbox: mails on their way, and requests that end in a mail.
//!
//! Rule: a mail is a row written in the transaction of what it tells of, sealed with the secret key, and gone once it is sent.
//! A request that must not reveal whether there is a user is such a row too, written alike whoever is asked for, and answered
//! before anybody looks. Of any number of servers one sends each mail; after a crash it is sent again. Threats: a mail that is
//! lost, or tells of what never happened; links in a stolen database; and the time of an answer that tells who has an account.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time;

use crate::auth::{Actor, Auth, random};
use crate::error::Error;
use crate::mail::{MailError, Message, Subject};
use crate::model::{AuditMethod, Event, MailId, Origin, QueuedMail, Timestamp, User, UserId};
use crate::store::Tx;

/// How often the outbox is looked into.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many mails are sent at a time.
const AT_ONCE: u32 = 4;
/// How long a server has a mail for itself. It is longer than any attempt.
const CLAIM: Duration = Duration::from_secs(300);
/// After this time a mail is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// The waits between attempts; the last one is repeated.
const BACK_OFF: [u64; 7] = [5, 15, 60, 5 * 60, 10 * 60, 30 * 60, 60 * 60];

/// What a row of the outbox asks for.
#[derive(Serialize, Deserialize)]
pub enum Task {
    /// Send this mail, unless its link has expired by then.
    Send {
        /// The mail.
        message: Message,
        /// When its link expires, if it has one.
        until: Option<Timestamp>,
    },
    /// Somebody has forgotten the password of the user with this username or address.
    Recover(Request),
    /// Somebody wants an account, with this address.
    Register(Request),
}

/// What somebody typed, and the request that brought it.
#[derive(Serialize, Deserialize)]
pub struct Request {
    /// A username or an e-mail address.
    pub typed: String,
    address: std::net::IpAddr,
    id: uuid::Uuid,
}

impl Request {
    /// What somebody typed into this request.
    pub fn new(typed: String, origin: Origin) -> Self {
        Self { typed, address: origin.address, id: origin.request_id }
    }

    /// The request, for the audit trail.
    pub fn actor(&self) -> Actor {
        let origin = Origin { address: self.address, request_id: self.id };
        Actor::Unknown { method: AuditMethod::Link, origin }
    }
}

/// Counts mails.
#[derive(Clone, Default)]
pub struct MailMetrics {
    sent: Counter,
    delayed: Counter,
    failed: Counter,
}

impl MailMetrics {
    /// Nothing was sent yet.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("mails_sent", "Mails that the mail server took", metrics.sent.clone());
        registry.register("mails_delayed", "Attempts to send a mail that are repeated later", metrics.delayed.clone());
        registry.register("mails_failed", "Mails that were given up", metrics.failed.clone());
        metrics
    }
}

impl Auth {
    /// Whether mail can be sent at all.
    pub fn has_mail(&self) -> bool {
        self.mailer.is_some()
    }

    /// [`Error::MailUnavailable`] when no mail can be sent.
    pub(in crate::auth) fn require_mail(&self) -> Result<(), Error> {
        if self.has_mail() { Ok(()) } else { Err(Error::MailUnavailable) }
    }

    /// Adds a task, of this user if it concerns one. It is done after the commit.
    pub(in crate::auth) async fn queue(
        &self,
        tx: &mut Tx,
        user: Option<UserId>,
        task: &Task,
        now: Timestamp,
    ) -> Result<(), Error> {
        let id = MailId::new(now, random());
        let text = serde_json::to_vec(task).map_err(|error| Error::Internal(error.into()))?;
        let sealed = self.secret.seal(&id.to_string(), &text)?;
        // Invitations come by the thousand, and nobody waits for one as for a way back in.
        let is_bulk = matches!(task, Task::Send { message, .. } if message.subject == Subject::Invitation);
        tx.insert_mail(id, user, &sealed, is_bulk, now).await
    }

    /// Adds a mail to a user at this address, whose text names them and these values.
    pub(in crate::auth) async fn queue_mail(
        &self,
        tx: &mut Tx,
        user: &User,
        to: &str,
        subject: Subject,
        values: impl IntoIterator<Item = (&str, String)>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let message = message_to(user, to, subject, values);
        self.queue(tx, Some(user.id), &Task::Send { message, until: None }, now).await
    }

    /// Tells a user what was done to their account, if notices are on and their address is verified.
    pub(in crate::auth) async fn notify(
        &self,
        tx: &mut Tx,
        user: &User,
        actor: Actor,
        subject: Subject,
        values: impl IntoIterator<Item = (&str, String)>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let to = user.verified_email().filter(|_| self.has_mail() && self.settings.mail.mail_notices);
        let Some(to) = to else { return Ok(()) };
        let by = match actor {
            Actor::User { id, origin, .. } if id == user.id => format!("from the address {}", origin.address),
            Actor::Unknown { origin, .. } => format!("from the address {}", origin.address),
            Actor::User { .. } | Actor::Operator | Actor::System => "by an administrator".to_owned(),
        };
        let about = [("at", for_people(now)), ("by", by)];
        self.queue_mail(tx, user, to, subject, about.into_iter().chain(values), now).await
    }

    /// Sends mails as they come, and never returns.
    pub async fn run_outbox(&self) {
        if !self.has_mail() {
            return;
        }
        loop {
            match self.send_due_mails().await {
                Ok(0) => time::sleep(INTERVAL).await,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the outbox could not be read");
                    time::sleep(INTERVAL).await;
                }
            }
        }
    }

    /// Does what the outbox asks for, up to a few tasks at once. Returns how many were tried.
    pub async fn send_due_mails(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let due = self.store.read().await?.due_mails(now, AT_ONCE).await?;
        let mut ours = Vec::new();
        for mail in due {
            let mut tx = self.store.write().await?;
            if tx.claim_mail(mail.id, mail.due_at, now.after(CLAIM)).await? {
                ours.push(mail);
            }
            tx.commit().await?;
        }
        let mut tasks = JoinSet::new();
        for mail in ours {
            let auth = self.clone();
            tasks.spawn(async move { auth.attempt(&mail).await });
        }
        let mut tried = 0;
        // All of them, whatever comes of one: to return earlier would cut the others off in the middle of a mail.
        while let Some(done) = tasks.join_next().await {
            tried += 1;
            if let Err(error) = done.unwrap_or_else(|error| Err(Error::Internal(error.into()))) {
                tracing::warn!(%error, "a task of the outbox failed, and will be tried again");
            }
        }
        Ok(tried)
    }

    async fn attempt(&self, mail: &QueuedMail) -> Result<(), Error> {
        // Nobody waits for what is a day old, and a row that always fails must not stay for ever.
        if mail.created_at.after(GIVEN_UP_AFTER) <= self.clock.now() {
            return self.give_up(mail, "it is a day old").await;
        }
        let opened = self.secret.open(&mail.id.to_string(), &mail.sealed);
        let task = opened.and_then(|text| serde_json::from_slice(&text).ok());
        match task {
            Some(Task::Send { until: Some(until), .. }) if until <= self.clock.now() => {
                self.give_up(mail, "its link has expired").await
            }
            Some(Task::Send { message, .. }) => self.send(mail, &message).await,
            Some(Task::Recover(request)) => self.recover(mail.id, &request).await,
            Some(Task::Register(request)) => self.invite_to_register(mail.id, &request).await,
            None => self.give_up(mail, "it was sealed under another secret key").await,
        }
    }

    async fn send(&self, mail: &QueuedMail, message: &Message) -> Result<(), Error> {
        let Some(mailer) = &self.mailer else { return Ok(()) };
        match mailer.send(mail.id.0, message).await {
            Ok(()) => {
                self.mail_metrics.sent.inc();
                let mut tx = self.store.write().await?;
                tx.delete_mail(mail.id).await?;
                tx.commit().await
            }
            Err(MailError::Refused(reason)) => self.give_up(mail, &reason).await,
            Err(MailError::Failed(reason)) => {
                let (now, attempts) = (self.clock.now(), usize::try_from(mail.attempts).unwrap_or(0));
                let wait = BACK_OFF.get(attempts).or(BACK_OFF.last()).copied().unwrap_or(60);
                let next = now.after(Duration::from_secs(wait));
                if next > mail.created_at.after(GIVEN_UP_AFTER) {
                    return self.give_up(mail, &reason).await;
                }
                self.mail_metrics.delayed.inc();
                tracing::warn!(mail = %mail.id, reason, wait, "a mail was not sent, and will be tried again");
                let mut tx = self.store.write().await?;
                tx.postpone_mail(mail.id, next).await?;
                tx.commit().await
            }
        }
    }

    /// Deletes a mail that cannot be sent, and records that.
    async fn give_up(&self, mail: &QueuedMail, reason: &str) -> Result<(), Error> {
        self.mail_metrics.failed.inc();
        tracing::warn!(mail = %mail.id, reason, "a mail was given up");
        let mut tx = self.store.write().await?;
        if tx.delete_mail(mail.id).await? {
            let record = Actor::System.did(Event::MailFailed, self.clock.now()).to(mail.id).refused();
            tx.record(match mail.user {
                Some(user) => record.on(user),
                None => record,
            });
        }
        tx.commit().await
    }

    /// Sends a mail now, past the outbox, so that an operator sees what the server says of it. [`Error::MailUnavailable`] when
    /// no mail can be sent.
    pub async fn test_mail(&self, address: &str) -> Result<Result<(), MailError>, Error> {
        let mailer = self.mailer.as_ref().ok_or(Error::MailUnavailable)?;
        let values = BTreeMap::from([("email".to_owned(), address.to_owned())]);
        let message = Message { to: address.to_owned(), subject: Subject::Test, values };
        Ok(mailer.send(MailId::new(self.clock.now(), random()).0, &message).await)
    }
}

/// A mail to a user, whose text names them and these values.
pub fn message_to<'a>(
    user: &User,
    to: &str,
    subject: Subject,
    values: impl IntoIterator<Item = (&'a str, String)>,
) -> Message {
    let own = [("name", user.display_name().to_owned()), ("username", user.username.clone())];
    let values = own.into_iter().chain(values).map(|(name, value)| (name.to_owned(), value)).collect();
    Message { to: to.to_owned(), subject, values }
}

/// A time as people read it, to the minute: `2026-01-31 12:00 UTC`.
pub fn for_people(at: Timestamp) -> String {
    let text = at.to_string().replacen('T', " ", 1);
    format!("{} UTC", text.get(..16).unwrap_or(&text))
}
