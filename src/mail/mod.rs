//! Mail: what it says ([`Message`], `templates.rs`), and how it gets to the SMTP server (`smtp.rs`).
//!
//! This module knows neither who reads a mail nor where it waits: `auth/outbox.rs` writes mails in the transaction of what they
//! tell of, and sends them later.

mod smtp;
mod templates;

use std::collections::BTreeMap;
use std::fmt;

use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::smtp::Smtp;
use self::templates::Templates;
use crate::config::{MailSettings, Settings};
use crate::error::StartError;

/// What a mail tells of. The words name the sections of the file of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// An account was made, whose user chooses a password.
    Invitation,
    /// A user has forgotten the password.
    PasswordReset,
    /// An address is to be verified.
    EmailVerification,
    /// A password was changed.
    PasswordChanged,
    /// The e-mail address was changed. It goes to the old one.
    EmailChanged,
    /// A personal access token was created.
    TokenCreated,
    /// Somebody logged in from an address that is new for the user.
    NewAddress,
    /// Somebody wanted to register with the address of a user.
    AlreadyRegistered,
    /// An address is to be used for a new account.
    Registration,
    /// The operator tries whether mail arrives.
    Test,
}

impl Subject {
    /// Every subject.
    pub const ALL: [Self; 10] = [
        Self::Invitation,
        Self::PasswordReset,
        Self::EmailVerification,
        Self::PasswordChanged,
        Self::EmailChanged,
        Self::TokenCreated,
        Self::NewAddress,
        Self::AlreadyRegistered,
        Self::Registration,
        Self::Test,
    ];

    /// The name of its section.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::PasswordReset => "password-reset",
            Self::EmailVerification => "email-verification",
            Self::PasswordChanged => "password-changed",
            Self::EmailChanged => "email-changed",
            Self::TokenCreated => "token-created",
            Self::NewAddress => "new-address",
            Self::AlreadyRegistered => "already-registered",
            Self::Registration => "registration",
            Self::Test => "test",
        }
    }
}

/// A mail: to whom, what it tells of, and the values that its text names. `Debug` hides the values, among them links.
#[derive(Clone, Serialize, Deserialize)]
pub struct Message {
    /// The address.
    pub to: String,
    /// What it tells of.
    pub subject: Subject,
    /// The values, by the names in the text.
    pub values: BTreeMap<String, String>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The server, or the form of the address, refuses this mail for good.
    #[error("the mail was refused: {0}")]
    Refused(String),
    /// The server cannot be reached, or does not take mail now.
    #[error("no mail can be handed to the mail server: {0}")]
    Failed(String),
}

/// Writes mails and hands them to the SMTP server.
pub struct Mailer {
    smtp: Smtp,
    templates: Templates,
    from: Mailbox,
}

impl Mailer {
    /// The mailer of these settings; none without a mail server.
    pub fn new(settings: &Settings) -> Result<Option<Self>, StartError> {
        let MailSettings { smtp_url: Some(url), mail_from, mail_templates, mail_language, .. } = &settings.mail else {
            return Ok(None);
        };
        let missing = |setting: &str, mend: &str| {
            StartError::setting(setting, format_args!("is missing, though COUNTERSIGN_SMTP_URL is set; {mend}"))
        };
        let from = mail_from.as_deref().filter(|from| !from.is_empty());
        let from =
            from.ok_or_else(|| missing("COUNTERSIGN_MAIL_FROM", "name the sender, such as Acme <auth@example.com>"))?;
        let from: Mailbox = from.parse().map_err(|_| {
            StartError::setting("COUNTERSIGN_MAIL_FROM", "must be an address, such as Acme <auth@example.com>")
        })?;
        let public_url = settings.tokens.public_url.as_deref();
        let public_url = public_url.ok_or_else(|| {
            missing(
                "COUNTERSIGN_PUBLIC_URL",
                "mails have links to it, so name the address of this service as people know it",
            )
        })?;
        let templates = Templates::new(&settings.pages.service_name, mail_language, mail_templates.as_deref())?;
        Ok(Some(Self { smtp: Smtp::new(url, public_url)?, templates, from }))
    }

    /// Sends a mail. `id` is the same for every attempt, so that whoever gets it twice can tell.
    pub async fn send(&self, id: Uuid, message: &Message) -> Result<(), MailError> {
        let refused = |what: &str| MailError::Refused(what.to_owned());
        let text = self.templates.render(message)?;
        let to = message.to.parse().map(|address| Mailbox::new(None, address));
        let mail = lettre::Message::builder()
            .from(self.from.clone())
            .to(to.map_err(|_| refused("no mail server knows addresses of this form"))?)
            .subject(text.subject)
            .message_id(Some(format!("<{}@{}>", id.simple(), self.from.email.domain())))
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(text.plain, text.html));
        self.smtp.send(mail.map_err(|_| refused("it cannot be written"))?).await
    }

    /// Connects to the server, with authentication, and sends nothing.
    pub async fn try_server(&self) -> Result<(), MailError> {
        self.smtp.try_server().await
    }
}

/// Says that no person wrote this mail (RFC 3834), so that nothing answers it by itself.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
