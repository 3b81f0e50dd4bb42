//! How signing keys come and go.
//!
//! Rule: the next key is public for longer than anyone keeps the key set before it signs; the one before it verifies until
//! its last token has run out, and then it is deleted. What a key may do follows from its row and the time alone, so
//! servers on one database agree without talking to each other. Threats: a verifier that meets a key it has not heard of,
//! and a key that signs for years.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use aws_lc_rs::{
    encoding::AsDer,
    error::Unspecified,
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use pkcs8::PrivateKeyInfoRef;
use zeroize::Zeroizing;

use crate::{
    auth::{
        Actor, Auth, SecretKey, Settings,
        keys::{HS256_KID, Key, Keys, encoding_key},
    },
    error::{Error, StartError},
    model::{Algorithm, Clock, Event, SealedKey, Timestamp},
    store::{Store, Tx},
};

/// How long others may keep the key set.
pub const JWKS_MAX_AGE: Duration = Duration::from_secs(300);
/// How long a key is public before it signs: others may have fetched the set just before, through a cache that had just
/// fetched it, from a server that had not looked yet.
const PUBLIC_BEFORE: Duration = Duration::from_secs(2 * JWKS_MAX_AGE.as_secs() + 60);
/// How long after its last token has run out a key still verifies, for clocks that are a little behind.
const GRACE: Duration = Duration::from_secs(60);

/// A signing key, as an admin sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name in token headers.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// What it does now.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it began or begins to sign.
    pub signs_from: Timestamp,
    /// When it goes, once that is known.
    pub verifies_until: Option<Timestamp>,
}

/// What a key does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It is public and will sign.
    Next,
    /// It signs.
    Signing,
    /// It only verifies.
    Verifying,
}

impl KeyState {
    /// The word for answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Verifying => "verifying",
        }
    }
}

/// Opens the keys of the database for a server: makes one when none of the algorithm that is set signs, or when it is about
/// to go because another algorithm was set meanwhile. With HS256 the others go.
pub(in crate::auth) async fn prepare(
    sealed: Vec<SealedKey>,
    store: &Store,
    clock: &Clock,
    secret: &SecretKey,
    settings: &Settings,
) -> Result<Keys, StartError> {
    let now = clock.now();
    let keys = Keys::open(&sealed, secret, settings)?;
    let stays = |key: &Key| key.verifies_until.is_none();
    let new = match settings.algorithm {
        Algorithm::Hs256 if keys.iter().all(|key| key.algorithm == Algorithm::Hs256 || !stays(key)) => return Ok(keys),
        Algorithm::Hs256 => None,
        _ if keys.newest().is_some_and(stays) => return Ok(keys),
        _ => Some(generate_next(&keys, secret, settings, now, now)?),
    };
    let mut tx = store.write().await?;
    match new {
        Some(key) => drop(add_key(&mut tx, &key, now).await?),
        None => tx.retire_signing_keys_but(HS256_KID, now.after(GRACE)).await?,
    }
    // Another server may have been first; its key is the one.
    let sealed = tx.signing_keys(now).await?;
    tx.commit().await?;
    Keys::open(&sealed, secret, settings)
}

/// The key that follows these, to sign from a moment on.
fn generate_next(
    keys: &Keys,
    secret: &SecretKey,
    settings: &Settings,
    now: Timestamp,
    signs_from: Timestamp,
) -> Result<SealedKey, Error> {
    let algorithm = settings.algorithm;
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
        longest_jwt_ttl: millis(settings.jwt_ttl),
        verifies_until: None,
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Adds a key and says of the others when they go. Tells whether it did: another server may have been first.
async fn add_key(tx: &mut Tx, key: &SealedKey, now: Timestamp) -> Result<bool, Error> {
    tx.delete_spent_signing_keys(now).await?;
    let added = tx.insert_signing_key(key).await?;
    if added {
        tx.retire_signing_keys_but(&key.kid, key.signs_from.after(GRACE)).await?;
    }
    Ok(added)
}

impl Auth {
    /// Makes the next signing key, which is public from now on and signs when everyone can know it. When there is a next one
    /// already, that stays. Gives it. [`Error::NoRotation`] with HS256, whose secret is a setting, and when there is no key
    /// of the algorithm that is set: then this is not the setting of the servers.
    pub async fn rotate_keys(&self, actor: Actor) -> Result<KeyInfo, Error> {
        if self.settings.algorithm == Algorithm::Hs256 {
            return Err(Error::NoRotation);
        }
        self.refresh_keys().await?;
        let now = self.clock.now();
        if self.keys().signing(now).is_none() {
            return Err(Error::NoRotation);
        }
        if self.next_key(now).is_none() {
            self.make_key(actor, now, now.after(PUBLIC_BEFORE)).await?;
        }
        self.next_key(now).ok_or(Error::Internal("the next key is not there".into()))
    }

    /// Makes the key that follows those there are, unless another server is first, and learns of it.
    async fn make_key(&self, actor: Actor, now: Timestamp, signs_from: Timestamp) -> Result<(), Error> {
        let (auth, keys) = (self.clone(), self.keys());
        // A thread that is for such work: an RSA key takes a good part of a second.
        let make = move |_: &mut _| generate_next(&keys, &auth.secret, &auth.settings, now, signs_from);
        let key = self.hash_pool.run(make).await??;
        let auth = self.clone();
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            if add_key(&mut tx, &key, now).await? {
                tx.record(actor.did(Event::KeyRotated, now).to(key.kid));
            }
            tx.commit().await
        })
        .await?;
        self.refresh_keys().await
    }

    fn next_key(&self, now: Timestamp) -> Option<KeyInfo> {
        let algorithm = self.settings.algorithm;
        let own = |key: &KeyInfo| key.algorithm == algorithm && key.verifies_until.is_none();
        self.key_states_at(now).into_iter().find(|key| key.state == KeyState::Next && own(key))
    }

    /// Every key that signs, will sign or still verifies, the oldest first. HS256 has none to show.
    pub async fn signing_keys(&self) -> Result<Vec<KeyInfo>, Error> {
        self.refresh_keys().await?;
        Ok(self.key_states_at(self.clock.now()))
    }

    fn key_states_at(&self, now: Timestamp) -> Vec<KeyInfo> {
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

    /// Learns of keys that another server made, and forgets those that have gone. To be called every few seconds.
    pub async fn refresh_keys(&self) -> Result<(), Error> {
        // One at a time, or what was read first could be put over what was read later.
        let _refreshing = self.refreshing_keys.lock().await;
        let sealed = self.store.read().await?.signing_keys(self.clock.now()).await?;
        if !self.keys().are(&sealed) {
            let keys =
                Keys::open(&sealed, &self.secret, &self.settings).map_err(|fault| Error::Internal(fault.into()))?;
            *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        }
        Ok(())
    }

    /// Makes the next key when it is time for it, and a new one when none can sign. To be called every few seconds.
    pub async fn rotate_keys_when_due(&self) -> Result<(), Error> {
        if self.settings.algorithm == Algorithm::Hs256 {
            return Ok(());
        }
        let (keys, now) = (self.keys(), self.clock.now());
        let ttl = millis(self.settings.jwt_ttl);
        if keys.iter().any(|key| key.verifies_until.is_none() && key.longest_jwt_ttl < ttl) {
            // It was made before the setting was raised, or by a command that had another.
            let auth = self.clone();
            self.finish(async move {
                let mut tx = auth.store.write().await?;
                tx.raise_longest_jwt_ttl(ttl).await?;
                tx.commit().await
            })
            .await?;
        }
        if keys.signing(now).is_none() {
            return self.make_key(Actor::System, now, now).await;
        }
        let due = self.settings.key_rotation.is_some_and(|every| {
            keys.newest().is_some_and(|newest| newest.signs_from.after(every) <= now.after(PUBLIC_BEFORE))
        });
        if due {
            self.rotate_keys(Actor::System).await?;
        }
        Ok(())
    }
}

/// A new private key in the form jsonwebtoken takes: PKCS#8, or for RSA the PKCS#1 inside of it.
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
