use std::fmt;

use aws_lc_rs::{constant_time, digest};
use uuid::{Uuid, Variant};

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
