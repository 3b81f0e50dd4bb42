use std::fmt;

use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::{Uuid, Variant};
use validator::{Validate, ValidationError};

use crate::model::user::name_rule;
use crate::model::{Scopes, Timestamp, TokenId, UserId};

/// The opaque token of a session: a random UUIDv4 (RFC 9562), lower-case and hyphenated. Its `Debug` output hides it;
/// [`OpaqueToken::reveal`] returns the text.
pub struct OpaqueToken(Uuid);

impl OpaqueToken {
    /// Creates a token from 122 of these random bits.
    pub fn new(random: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(random).into_uuid())
    }

    /// Parses the canonical form; returns `None` for anything else, also for other spellings of a UUID.
    pub fn parse(text: &str) -> Option<Self> {
        let uuid = Uuid::try_parse(text).ok()?;
        let is_canonical = uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text;
        let is_random = uuid.get_version_num() == 4 && uuid.get_variant() == Variant::RFC4122;
        (is_canonical && is_random).then_some(Self(uuid))
    }

    /// Returns the text of the token, for the response that issues it.
    pub fn reveal(&self) -> String {
        self.0.hyphenated().to_string()
    }

    /// Returns the hash that the database stores.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes())
    }
}

impl fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpaqueToken(..)")
    }
}

/// The secret of a personal access token: `cst_`, then 256 random bits and their checksum in base64url, 48 characters.
/// Its `Debug` output hides it; [`PersonalSecret::reveal`] returns the text.
pub struct PersonalSecret([u8; 36]);

impl PersonalSecret {
    /// The prefix that distinguishes it from other bearer tokens, and lets secret scanners find a leaked one.
    pub const PREFIX: &'static str = "cst_";

    /// Creates a token from these random bits.
    pub fn new(random: [u8; 32]) -> Self {
        let mut bytes = [0; 36];
        let (secret, sum) = bytes.split_at_mut(32);
        secret.copy_from_slice(&random);
        sum.copy_from_slice(&checksum(&random));
        Self(bytes)
    }

    /// Parses the canonical form and verifies the checksum; `None` saves a look-up in the database. 36 bytes are whole
    /// groups of base64, so exactly one text encodes them.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 36];
        let read = URL_SAFE_NO_PAD.decode_slice(text.strip_prefix(Self::PREFIX)?, &mut bytes).ok()?;
        let (secret, sum) = bytes.split_at(32);
        (read == 36 && checksum(secret).as_slice() == sum).then_some(Self(bytes))
    }

    /// Returns the text of the token, for the response that issues it.
    pub fn reveal(&self) -> String {
        format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(self.0))
    }

    /// Returns the hash that the database stores.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for PersonalSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonalSecret(..)")
    }
}

/// The first bytes of the SHA-256 of a fixed label and the secret. It is no security measure: it detects typing errors
/// and invented tokens without a look-up.
fn checksum(secret: &[u8]) -> [u8; 4] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"countersign personal token");
    context.update(secret);
    let mut sum = [0; 4];
    sum.iter_mut().zip(context.finish().as_ref()).for_each(|(sum, byte)| *sum = *byte);
    sum
}

/// A personal access token without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PersonalToken {
    /// The id of the token.
    pub id: TokenId,
    /// The owner.
    pub user_id: UserId,
    /// What the token is for, as named by its owner.
    pub name: String,
    /// The scopes of the token; those that the owner lacks have no effect.
    pub scopes: Scopes,
    /// When the token was created.
    pub created_at: Timestamp,
    /// When the token expires, if ever.
    pub expires_at: Option<Timestamp>,
    /// When the token was last used, to within a minute or so.
    pub last_used_at: Option<Timestamp>,
}

/// The fields of a new personal access token. [`Validate`] checks them.
#[derive(Clone, Debug, Validate)]
pub struct NewToken {
    /// What the token is for.
    #[validate(custom(function = name_rule))]
    pub name: String,
    /// The scopes of the token.
    pub scopes: Scopes,
    /// How long the token lives; absent, as long as the setting says.
    #[validate(custom(function = lifetime_rule))]
    pub expires_in: Option<Lifetime>,
}

/// How long a personal access token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Lifetime {
    /// So many seconds.
    Seconds(u64),
    /// Until it is revoked.
    Unlimited,
}

/// The longest lifetime, in seconds: a hundred years.
const MAX_LIFETIME: u64 = 3_153_600_000;

fn lifetime_rule(lifetime: &Lifetime) -> Result<(), ValidationError> {
    match lifetime {
        Lifetime::Seconds(seconds) if !(1..=MAX_LIFETIME).contains(seconds) => {
            let message = format!("must be from 1 to {MAX_LIFETIME}, or \"never\"");
            Err(ValidationError::new("out-of-range").with_message(message.into()))
        }
        Lifetime::Seconds(_) | Lifetime::Unlimited => Ok(()),
    }
}

/// A number of seconds, or `never`.
impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Seconds(u64),
            Word(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Seconds(seconds) => Ok(Self::Seconds(seconds)),
            Either::Word(word) if word == "never" => Ok(Self::Unlimited),
            Either::Word(_) => Err(serde::de::Error::custom("neither a number of seconds nor never")),
        }
    }
}

/// The SHA-256 of a token. The database stores it in place of the token, so that a stolen database holds no usable
/// token. A fast hash is enough, because the token is random and cannot be guessed.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes a token.
    pub fn of(token: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
        Self(hash)
    }

    /// Returns the bytes to store or look up.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Compares with stored bytes in constant time.
    pub fn matches(&self, stored: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.0, stored).is_ok()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}
