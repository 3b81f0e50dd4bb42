use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::TokenHash;

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
}

impl LinkPurpose {
    /// Those that set a password. Of these a user has one link at a time.
    pub const OF_PASSWORDS: [Self; 2] = [Self::Invitation, Self::PasswordReset];

    /// Returns the word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::PasswordReset => "password-reset",
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
