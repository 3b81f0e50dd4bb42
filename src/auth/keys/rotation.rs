//! Rotation of signing keys.
//!
//! Rule: the next key is published for longer than any cache keeps the key set before it signs. The previous key
//! verifies until its last token has expired, and then it is deleted. The state of a key follows from its row and the
//! time alone, so servers on one database agree without coordination. Threats: a verifier that meets an unknown key,
//! and a key that signs for years.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use pkcs8::PrivateKeyInfoRef;
use zeroize::Zeroizing;

use crate::auth::keys::{HS256_KID, Key, Keys, encoding_key};
use crate::auth::passwords::hash_queue::Flow;
use crate::auth::{Actor, Auth, SecretKey, Settings};
use crate::error::{Error, StartError};
use crate::model::{Algorithm, Clock, Event, SealedKey, Timestamp};
use crate::store::{Store, Tx};

/// How long clients may cache the key set.
pub const JWKS_MAX_AGE: Duration = Duration::from_secs(300);
/// How long a key is published before it signs: a client may cache an old set from a proxy, which cached it from a
/// server that had not refreshed its keys yet.
const PUBLIC_BEFORE: Duration = Duration::from_secs(2 * JWKS_MAX_AGE.as_secs() + 60);
/// How long a key still verifies after its last token has expired, to allow for clock skew.
const GRACE: Duration = Duration::from_secs(60);

/// A signing key without its secret parts, for admins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The key id in token headers.
    pub kid: String,
    /// The signature algorithm.
    pub algorithm: Algorithm,
    /// The current state.
    pub state: KeyState,
    /// When the key was generated.
    pub created_at: Timestamp,
    /// When the key began or begins to sign.
    pub signs_from: Timestamp,
    /// When the key stops verifying; none until the next key exists.
    pub verifies_until: Option<Timestamp>,
}

/// The state of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published; it will sign.
    Next,
    /// It signs new tokens.
    Signing,
    /// It only verifies.
    Verifying,
}

impl KeyState {
    /// The name in API responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Verifying => "verifying",
        }
    }
}

/// Opens the keys of the database for a server. Generates a key when the configured algorithm has none, or only one
/// that is retired because another algorithm was configured meanwhile. With HS256 it retires all other keys.
pub(in crate::auth) async fn prepare(
    sealed: Vec<SealedKey>,
    store: &Store,
    clock: &Clock,
    secret: &SecretKey,
    settings: &Settings,
) -> Result<Keys, StartError> {
    let now = clock.now();
    let keys = Keys::open(&sealed, secret, settings)?;
    let is_current = |key: &Key| key.verifies_until.is_none();
    let new = match settings.keys.jwt_algorithm {
        Algorithm::Hs256 if keys.iter().all(|key| key.algorithm == Algorithm::Hs256 || !is_current(key)) => {
            return Ok(keys);
        }
        Algorithm::Hs256 => None,
        _ if keys.newest().is_some_and(is_current) => return Ok(keys),
        _ => Some(generate_key(&keys, secret, settings, now, now)?),
    };
    let mut tx = store.write().await?;
    match new {
        Some(key) => drop(add_key(&mut tx, &key, now).await?),
        None => tx.retire_signing_keys_but(HS256_KID, now.after(GRACE)).await?,
    }
    // Another server may have been first; then its key is used.
    let sealed = tx.signing_keys(now).await?;
    tx.commit().await?;
    Keys::open(&sealed, secret, settings)
}

/// Generates the successor of these keys. Its private key is sealed under its thumbprint (RFC 7638).
fn generate_key(
    keys: &Keys,
    secret: &SecretKey,
    settings: &Settings,
    now: Timestamp,
    signs_from: Timestamp,
) -> Result<SealedKey, Error> {
    let algorithm = settings.keys.jwt_algorithm;
    let private = new_private_key(algorithm)?;
    let fault = |error: jsonwebtoken::errors::Error| Error::Internal(error.into());
    let mut jwk = Jwk::from_encoding_key(&encoding_key(algorithm, &private), algorithm.into()).map_err(fault)?;
    let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(fault)?;
    jwk.common.key_id = Some(kid.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(SealedKey {
        algorithm: algorithm.as_str().to_owned(),
        generation: keys.newest().map_or(0, |key| key.generation) + 1,
        public_jwk: serde_json::to_string(&jwk).map_err(|error| Error::Internal(error.into()))?,
        private_key: secret.seal(&kid, &private)?,
        kid,
        created_at: now,
        signs_from,
        longest_jwt_ttl: millis(settings.tokens.jwt_ttl),
        verifies_until: None,
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Adds a key and retires the others. Returns whether it did: another server may have been first.
async fn add_key(tx: &mut Tx, key: &SealedKey, now: Timestamp) -> Result<bool, Error> {
    tx.delete_spent_signing_keys(now).await?;
    let added = tx.insert_signing_key(key).await?;
    if added {
        tx.retire_signing_keys_but(&key.kid, key.signs_from.after(GRACE)).await?;
    }
    Ok(added)
}

impl Auth {
    /// Generates the next signing key, unless there is one, and returns it. It is published at once and signs when
    /// every client can know it. [`Error::NoRotation`] with HS256, whose secret is a setting, and when the configured
    /// algorithm has no key: then the servers use another setting.
    pub async fn rotate_keys(&self, actor: Actor) -> Result<KeyInfo, Error> {
        if self.settings.keys.jwt_algorithm == Algorithm::Hs256 {
            return Err(Error::NoRotation);
        }
        self.refresh_keys().await?;
        let now = self.clock.now();
        // A retired key may still verify: then the servers have moved on to another algorithm than this setting names.
        if self.keys().newest().is_none_or(|key| key.verifies_until.is_some()) {
            return Err(Error::NoRotation);
        }
        if self.next_key(now).is_none() {
            self.add_next_key(actor, now, now.after(PUBLIC_BEFORE)).await?;
        }
        self.next_key(now).ok_or(Error::Internal("the next key is not there".into()))
    }

    /// Generates and adds the next key, unless another server is first, and refreshes the keys.
    async fn add_next_key(&self, actor: Actor, now: Timestamp, signs_from: Timestamp) -> Result<(), Error> {
        let (auth, keys) = (self.clone(), self.keys());
        // In the hash pool: generating an RSA key takes a good part of a second.
        let generate = move |_: &mut _| generate_key(&keys, &auth.secret, &auth.settings, now, signs_from);
        let key = self.hash_pool.run(Flow::OWN, self.work(None), generate).await??;
        let auth = self.clone();
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            if add_key(&mut tx, &key, now).await? {
                tx.record(actor.did(Event::KeyRotated, now).to(key.kid));
            }
            tx.commit().await
        })
        .await?;
        self.refresh_keys().await
    }

    /// Ends all signing keys, such as after one has leaked. Every JWT is refused, here at once and by other servers within seconds;
    /// a server makes a new key as soon as it finds none. The secret of HS256, which is a setting, stays.
    pub async fn revoke_keys(&self, actor: Actor) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            tx.delete_all_signing_keys().await?;
            tx.record(actor.did(Event::KeysRevoked, now));
            tx.commit().await
        })
        .await?;
        self.refresh_keys().await
    }

    fn next_key(&self, now: Timestamp) -> Option<KeyInfo> {
        let algorithm = self.settings.keys.jwt_algorithm;
        let is_current = |key: &KeyInfo| key.algorithm == algorithm && key.verifies_until.is_none();
        self.key_infos(now).into_iter().find(|key| key.state == KeyState::Next && is_current(key))
    }

    /// Whether keys can be rotated: with HS256 the key is a setting.
    pub fn can_rotate_keys(&self) -> bool {
        self.settings.keys.jwt_algorithm != Algorithm::Hs256
    }

    /// The keys that sign, will sign or still verify, the oldest first. The HS256 secret is not among them.
    pub async fn signing_keys(&self) -> Result<Vec<KeyInfo>, Error> {
        self.refresh_keys().await?;
        Ok(self.key_infos(self.clock.now()))
    }

    fn key_infos(&self, now: Timestamp) -> Vec<KeyInfo> {
        let keys = self.keys();
        let signing = keys.signing(now).map(|key| &key.kid);
        let asymmetric = keys.iter().filter(|key| key.algorithm != Algorithm::Hs256);
        asymmetric
            .map(|key| KeyInfo {
                kid: key.kid.to_string(),
                algorithm: key.algorithm,
                state: match () {
                    () if signing == Some(&key.kid) => KeyState::Signing,
                    () if key.signs_from > now => KeyState::Next,
                    () => KeyState::Verifying,
                },
                created_at: key.created_at,
                signs_from: key.signs_from,
                verifies_until: key.verifies_until,
            })
            .collect()
    }

    /// Reads the keys again: other servers may have added or deleted some. Call this every few seconds.
    pub async fn refresh_keys(&self) -> Result<(), Error> {
        // Serialized, so that an older read cannot overwrite a newer one.
        let _refreshing = self.refreshing_keys.lock().await;
        let sealed = self.store.read().await?.signing_keys(self.clock.now()).await?;
        if !self.keys().matches(&sealed) {
            let keys =
                Keys::open(&sealed, &self.secret, &self.settings).map_err(|fault| Error::Internal(fault.into()))?;
            *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        }
        Ok(())
    }

    /// Generates the next key when rotation is due, or at once when no key can sign. Call this every few seconds.
    pub async fn rotate_keys_when_due(&self) -> Result<(), Error> {
        if self.settings.keys.jwt_algorithm == Algorithm::Hs256 {
            return Ok(());
        }
        let (keys, now) = (self.keys(), self.clock.now());
        let ttl = millis(self.settings.tokens.jwt_ttl);
        if keys.iter().any(|key| key.verifies_until.is_none() && key.longest_jwt_ttl < ttl) {
            // The key was generated before the setting was raised, or by a command with another setting.
            let auth = self.clone();
            self.finish(async move {
                let mut tx = auth.store.write().await?;
                tx.raise_longest_jwt_ttl(ttl).await?;
                tx.commit().await
            })
            .await?;
        }
        if keys.signing(now).is_none() {
            return self.add_next_key(Actor::System, now, now).await;
        }
        let due = self.settings.keys.key_rotation.is_some_and(|every| {
            keys.newest().is_some_and(|newest| newest.signs_from.after(every) <= now.after(PUBLIC_BEFORE))
        });
        if due {
            self.rotate_keys(Actor::System).await?;
        }
        Ok(())
    }
}

/// A new private key as DER in the format of jsonwebtoken: PKCS#8, or for RSA the PKCS#1 inside it.
fn new_private_key(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, Error> {
    let fault = |fault: Unspecified| Error::Internal(fault.into());
    let rng = SystemRandom::new();
    let der = match algorithm {
        Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8v1(&rng).map_err(fault)?.as_ref().to_vec(),
        Algorithm::Rs256 => {
            let pkcs8 = rsa::KeyPair::generate(KeySize::Rsa2048).and_then(|pair| pair.as_der()).map_err(fault)?;
            let info = PrivateKeyInfoRef::try_from(pkcs8.as_ref());
            info.map_err(|error| Error::Internal(error.to_string().into()))?.private_key.as_bytes().to_vec()
        }
        Algorithm::Es256 | Algorithm::Hs256 => {
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).map_err(fault)?.as_ref().to_vec()
        }
    };
    Ok(Zeroizing::new(der))
}
