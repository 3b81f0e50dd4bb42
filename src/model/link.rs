use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::{MailId, Timestamp, TokenHash, UserId};

/// What a secret that is good for one use allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretPurpose {
    /// Creating users while there is no administrator.
    Setup,
    /// What a link is for.
    Link(LinkPurpose),
}

/// What a one-time link is for. The words are those of the database, of requests and of the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum, sqlx::Type)]
#[serde(rename_all = "kebab-case")]
#[sqlx(type_name = "TEXT", rename_all = "kebab-case")]
pub enum LinkPurpose {
    /// A new user chooses the first password.
    Invitation,
    /// A user who has forgotten the password chooses another.
    PasswordReset,
    /// A user shows that mail to an address reaches them.
    #[serde(skip_deserializing)]
    #[value(skip)]
    EmailVerification,
    /// Somebody who has shown that makes an account for themselves. It belongs to no user.
    #[serde(skip_deserializing)]
    #[value(skip)]
    Registration,
}

impl LinkPurpose {
    /// Those that set a password. Of these a user has one link at a time.
    pub const OF_PASSWORDS: [Self; 2] = [Self::Invitation, Self::PasswordReset];

    /// Returns the word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::PasswordReset => "password-reset",
            Self::EmailVerification => "email-verification",
            Self::Registration => "registration",
        }
    }
}

impl SecretPurpose {
    /// Returns the word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Link(purpose) => purpose.as_str(),
        }
    }
}

impl From<LinkPurpose> for SecretPurpose {
    fn from(purpose: LinkPurpose) -> Self {
        Self::Link(purpose)
    }
}

/// What a live link allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveLink {
    /// What it is for.
    pub purpose: LinkPurpose,
    /// Whose it is; none of a registration.
    pub user: Option<UserId>,
    /// The address that it was sent to, if it was sent by mail.
    pub email: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A mail in the outbox.
#[derive(Clone, Debug)]
pub struct QueuedMail {
    /// Its id.
    pub id: MailId,
    /// The user whom it concerns.
    pub user: Option<UserId>,
    /// What it says, sealed with the secret key.
    pub sealed: Vec<u8>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it is to be sent, or tried again.
    pub due_at: Timestamp,
    /// How often it was tried.
    pub attempts: i32,
}

/// The secret at the end of a one-time link: 256 random bits in base64url, 43 characters. Its `Debug` output hides it;
/// [`LinkSecret::reveal`] returns the text.
pub struct LinkSecret([u8; 32]);

impl LinkSecret {
    /// Creates a secret from these random bits.
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Parses the one text that encodes it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let read = URL_SAFE_NO_PAD.decode_slice_unchecked(text.as_bytes().get(..43)?, &mut bytes).ok()?;
        (read == 32 && text.len() == 43).then_some(Self(bytes))
    }

    /// Returns the text, for the link.
    pub fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Returns the hash that the database stores.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(..)")
    }
}
