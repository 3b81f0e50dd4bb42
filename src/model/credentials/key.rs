use std::fmt;

use crate::model::Timestamp;

/// A signature algorithm of JWTs (RFC 7518, RFC 8037).
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
    /// HMAC with SHA-256 and a secret that all verifiers share.
    #[value(name = "HS256")]
    Hs256,
}

impl Algorithm {
    /// The `alg` value of the JOSE registry.
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

/// A signing key as stored in the database: its private key is encrypted with the secret key.
#[derive(Clone, Debug)]
pub struct SealedKey {
    /// The thumbprint of the key (RFC 7638): `kid` in JWT headers.
    pub kid: String,
    /// The `alg` value of its [`Algorithm`].
    pub algorithm: String,
    /// The number of the key among those of the algorithm, from 1.
    pub generation: i64,
    /// The public key as a JWK (RFC 7517).
    pub public_jwk: String,
    /// The nonce, then the DER of the private key under AES-256-GCM with the `kid` as associated data.
    pub private_key: Vec<u8>,
    /// When the key was created.
    pub created_at: Timestamp,
    /// When the key begins to sign; it is published before.
    pub signs_from: Timestamp,
    /// The longest lifetime of the JWTs it signs, in milliseconds.
    pub longest_jwt_ttl: i64,
    /// When the last JWT it signed has expired; `None` until there is a next key.
    pub verifies_until: Option<Timestamp>,
}
