//! What the service is told at its start.

use std::time::Duration;

use secrecy::SecretString;

use crate::{
    auth::{Durability, passwords::cost::Cost},
    model::Algorithm,
};

/// What the service is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the database is: `sqlite://FILE` or `postgres://…`. It may hold a password.
    pub database_url: SecretString,
    /// What seals the signing keys, 32 bytes in base64; without it a file beside the database is used.
    pub secret_key: Option<SecretString>,
    /// `iss` of JWTs: the address of this service as its clients know it.
    pub issuer: String,
    /// `aud` of JWTs: whom they are for.
    pub audience: String,
    /// How JWTs are signed.
    pub algorithm: Algorithm,
    /// The shared secret, for HS256 alone; at least 32 bytes.
    pub jwt_secret: Option<SecretString>,
    /// How long a JWT lives.
    pub jwt_ttl: Duration,
    /// How long a session and its opaque token live.
    pub token_ttl: Duration,
    /// How long a session may lie idle.
    pub idle_ttl: Option<Duration>,
    /// The most sessions a user has; the oldest gives way.
    pub sessions_per_user: u32,
    /// How often a new key signs.
    pub key_rotation: Option<Duration>,
    /// How long others may keep a status list.
    pub status_ttl: Duration,
    /// How long records of the audit trail are kept.
    pub audit_retention: Option<Duration>,
    /// The fewest characters of a password.
    pub password_min_length: usize,
    /// What a new password hash costs.
    pub cost: Cost,
    /// Threads that hash.
    pub hash_workers: usize,
    /// Passwords that may wait for one of them.
    pub hash_queue: usize,
    /// How writes to SQLite reach the disk.
    pub durability: Durability,
    /// How many credentials that were checked are kept; 0 is none.
    pub credential_cache: usize,
}
