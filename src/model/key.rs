use std::fmt;

use super::Timestamp;

/// How JWTs are signed (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    #[value(name = "ES256")]
    Es256,
    /// Ed25519.
    #[value(name = "EdDSA")]
    EdDsa,
    /// RSA PKCS#1 v1.5 with SHA-256, 2048 bits.
    #[value(name = "RS256")]
    Rs256,
    /// HMAC with SHA-256 and a secret that everyone who verifies must share.
    #[value(name = "HS256")]
    Hs256,
}

impl Algorithm {
    /// The `alg` of the JOSE registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A signing key as the database keeps it: the private half is sealed with the secret key.
#[derive(Clone, Debug)]
pub struct SealedKey {
    /// Its RFC 7638 thumbprint: `kid` in JWT headers.
    pub kid: String,
    /// What it signs with.
    pub algorithm: String,
    /// Its number among the keys of the algorithm, from 1.
    pub generation: i64,
    /// The public half as a JWK (RFC 7517).
    pub public_jwk: String,
    /// Nonce, then the DER of the private half under AES-256-GCM with the `kid` as associated data.
    pub private_key: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it begins to sign; it is public before.
    pub signs_from: Timestamp,
    /// How long the longest-lived token of it lives, in milliseconds.
    pub longest_jwt_ttl: i64,
    /// When the last token it signed has run out; none until there is a next key.
    pub verifies_until: Option<Timestamp>,
}
