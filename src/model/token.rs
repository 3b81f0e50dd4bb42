use std::fmt;

use aws_lc_rs::{constant_time, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use uuid::{Uuid, Variant};
use validator::Validate;

use super::{Scopes, Timestamp, TokenId, UserId, user::name_rule};

/// An opaque token as the user holds it: a random UUIDv4, in one spelling, lower-case and hyphenated. It does not print;
/// [`OpaqueToken::reveal`] gives the text, once, to whom it is issued.
pub struct OpaqueToken(Uuid);

impl OpaqueToken {
    /// A new token from 122 of these random bits.
    pub fn new(random: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(random).into_uuid())
    }

    /// Reads the one spelling; anything else is no token.
    pub fn parse(text: &str) -> Option<Self> {
        let uuid = Uuid::try_parse(text).ok()?;
        let spelled = uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text;
        let random = uuid.get_version_num() == 4 && uuid.get_variant() == Variant::RFC4122;
        (spelled && random).then_some(Self(uuid))
    }

    /// The text to hand out.
    pub fn reveal(&self) -> String {
        self.0.hyphenated().to_string()
    }

    /// Its bits, for whoever hashes them.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// What the database keeps of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes())
    }
}

impl fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpaqueToken(..)")
    }
}

/// A personal access token as its owner holds it: `cst_`, then 256 random bits and their checksum in base64url, 48
/// characters. It does not print; [`PersonalSecret::reveal`] gives the text, once, to whom it is issued.
pub struct PersonalSecret([u8; 36]);

impl PersonalSecret {
    /// What tells it from other bearers, and lets scanners find one that leaked.
    pub const PREFIX: &'static str = "cst_";

    /// A new token of these random bits.
    pub fn new(random: [u8; 32]) -> Self {
        let mut bytes = [0; 36];
        let (secret, sum) = bytes.split_at_mut(32);
        secret.copy_from_slice(&random);
        sum.copy_from_slice(&checksum(&random));
        Self(bytes)
    }

    /// Reads the one spelling, if its checksum is right; anything else is no token, and nobody need be asked. 36 bytes
    /// are whole groups of base64, so no other text stands for them.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 36];
        let read = URL_SAFE_NO_PAD.decode_slice(text.strip_prefix(Self::PREFIX)?, &mut bytes).ok()?;
        let (secret, sum) = bytes.split_at(32);
        (read == 36 && checksum(secret).as_slice() == sum).then_some(Self(bytes))
    }

    /// The text to hand out.
    pub fn reveal(&self) -> String {
        format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(self.0))
    }

    /// Its bits, for whoever hashes them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// What the database keeps of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for PersonalSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonalSecret(..)")
    }
}

/// The first bytes of the SHA-256 of the name of the thing and the thing. It keeps no secret: it tells a typing mistake
/// and a made-up token from one of ours.
fn checksum(secret: &[u8]) -> [u8; 4] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"countersign personal token");
    context.update(secret);
    let mut sum = [0; 4];
    sum.iter_mut().zip(context.finish().as_ref()).for_each(|(sum, byte)| *sum = *byte);
    sum
}

/// A personal access token as its owner sees it later: everything but the secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PersonalToken {
    /// Which.
    pub id: TokenId,
    /// Whose.
    pub user_id: UserId,
    /// What it is for, in its owner's words.
    pub name: String,
    /// What it may do, as far as its owner may.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it runs out, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to within a minute or so.
    pub last_used_at: Option<Timestamp>,
}

/// What it takes to make a personal access token. [`Validate`] tells whether it will do.
#[derive(Clone, Debug, Validate)]
pub struct NewToken {
    /// What it is for.
    #[validate(custom(function = name_rule))]
    pub name: String,
    /// What it may do; what its maker may, if that is not said.
    pub scopes: Option<Scopes>,
    /// Seconds until it runs out; never, if that is not said.
    #[validate(range(
        min = 1,
        max = 3_153_600_000u64,
        code = "out-of-range",
        message = "must be from 1 to 3153600000"
    ))]
    pub expires_in: Option<u64>,
}

/// What a one-time secret is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretPurpose {
    /// To create users while there is no administrator.
    Setup,
}

impl SecretPurpose {
    /// The word the database keeps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
        }
    }
}

/// The SHA-256 of a token: what the store takes, so that a stolen database holds nothing that opens a door. A fast hash
/// is enough, since the token is random and cannot be guessed.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes a token's text.
    pub fn of(token: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
        Self(hash)
    }

    /// The bytes to store or look up.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Compares with stored bytes, in the same time whether they are alike or not.
    pub fn matches(&self, stored: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.0, stored).is_ok()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}
