//! The keys that sign and verify JWTs.
//!
//! Rule: a key is used with one algorithm only. Private keys are sealed at rest and leave this file only as signatures.
//! Threats: a token signed with the public key as an HMAC secret, and a stolen database.

mod low_s;
pub mod rotation;
pub mod sealing;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{DecodingKey, EncodingKey, Header};
use serde::Serialize;

use crate::auth::{SecretKey, Settings};
use crate::error::{Error, StartError};
use crate::model::{Algorithm, SealedKey, Timestamp, TokenHash};

/// The `kid` of HS256 tokens. There is one secret, and its `kid` must not reveal anything about it.
pub(in crate::auth) const HS256_KID: &str = "hs256";

/// All keys in use, as of the last refresh from the database.
pub struct Keys {
    algorithm: Algorithm,
    keys: Vec<Key>,
    jwks: Arc<Jwks>,
}

/// A key pair and when it is used.
pub struct Key {
    /// The key id in token headers.
    pub kid: Arc<str>,
    /// The only algorithm that the key is used with.
    pub algorithm: Algorithm,
    /// The sequence number among the keys of the algorithm.
    pub generation: i64,
    /// When the key was generated.
    pub created_at: Timestamp,
    /// When the key begins to sign.
    pub signs_from: Timestamp,
    /// The longest lifetime of a token that the key signs, in milliseconds.
    pub longest_jwt_ttl: i64,
    /// When the key stops verifying; none until the next key exists.
    pub verifies_until: Option<Timestamp>,
    private: EncodingKey,
    public: DecodingKey,
}

/// The JWK Set (RFC 7517), ready to serve.
pub struct Jwks {
    /// `{"keys":[…]}`, public members only.
    pub json: String,
    /// The entity tag: it changes with the keys.
    pub etag: String,
}

impl Key {
    /// Signs a JWT with these claims and this `typ` in its header.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, Error> {
        let mut header = Header::new(self.algorithm.into());
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.to_string());
        let token = jsonwebtoken::encode(&header, claims, &self.private);
        let token = token.map_err(|error| Error::Internal(error.into()))?;
        match (self.algorithm, token.rsplit_once('.')) {
            (Algorithm::Es256, Some((message, signature))) => {
                let signature = URL_SAFE_NO_PAD.decode(signature);
                let mut signature = signature.map_err(|error| Error::Internal(error.into()))?;
                low_s::make_low(&mut signature);
                Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
            }
            _ => Ok(token),
        }
    }

    /// Whether `signature`, in base64url, is valid for `message`.
    pub fn verify(&self, message: &str, signature: &str) -> bool {
        if self.algorithm == Algorithm::Es256
            && !URL_SAFE_NO_PAD.decode(signature).is_ok_and(|signature| low_s::is_low(&signature))
        {
            return false;
        }
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.public, self.algorithm.into())
            .unwrap_or(false)
    }

    /// Whether the key still verifies: tokens that it signed may be valid.
    fn verifies(&self, now: Timestamp) -> bool {
        self.verifies_until.is_none_or(|until| now < until)
    }
}

impl Keys {
    /// Unseals the keys from the database and adds the HS256 secret if that is the algorithm.
    pub fn open(sealed: &[SealedKey], secret: &SecretKey, settings: &Settings) -> Result<Self, StartError> {
        let (mut keys, mut public) = (Vec::new(), Vec::new());
        for key in sealed {
            let (key, jwk) = open(key, secret)?;
            keys.push(key);
            public.push(jwk);
        }
        let algorithm = settings.keys.jwt_algorithm;
        if algorithm == Algorithm::Hs256 {
            let shared = settings.keys.shared_secret();
            keys.push(Key {
                kid: HS256_KID.into(),
                algorithm,
                generation: 1,
                created_at: Timestamp(0),
                signs_from: Timestamp(0),
                longest_jwt_ttl: i64::MAX,
                verifies_until: None,
                private: EncodingKey::from_secret(shared),
                public: DecodingKey::from_secret(shared),
            });
        }
        Ok(Self { algorithm, keys, jwks: Arc::new(Jwks::new(public)?) })
    }

    /// The key that signs now: the newest of the configured algorithm whose `signs_from` has come. If there is none
    /// because the clock is behind that of the server which generated the first key, the first key signs.
    pub fn signing(&self, now: Timestamp) -> Option<&Key> {
        let live = || self.of_algorithm().filter(|key| key.verifies(now));
        let due = live().filter(|key| key.signs_from <= now).max_by_key(|key| key.generation);
        due.or_else(|| live().min_by_key(|key| key.generation))
    }

    /// The newest key of the configured algorithm, even if it does not sign yet.
    pub fn newest(&self) -> Option<&Key> {
        self.of_algorithm().max_by_key(|key| key.generation)
    }

    fn of_algorithm(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|key| key.algorithm == self.algorithm)
    }

    /// The key with this `kid`, if it still verifies. The lookup is in memory only, whatever the `kid`.
    pub fn verifying(&self, kid: &str, now: Timestamp) -> Option<&Key> {
        self.keys.iter().find(|key| *key.kid == *kid && key.verifies(now))
    }

    /// The public keys. The set never contains the HS256 secret.
    pub fn jwks(&self) -> Arc<Jwks> {
        Arc::clone(&self.jwks)
    }

    /// Whether these are the keys that the database has.
    pub fn matches(&self, sealed: &[SealedKey]) -> bool {
        let stored = self.keys.iter().filter(|key| key.algorithm != Algorithm::Hs256);
        stored
            .map(|key| (&*key.kid, key.verifies_until, key.longest_jwt_ttl))
            .eq(sealed.iter().map(|sealed| (sealed.kid.as_str(), sealed.verifies_until, sealed.longest_jwt_ttl)))
    }

    /// All keys, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }
}

/// Unseals one key. Returns it with its public JWK.
fn open(sealed: &SealedKey, secret: &SecretKey) -> Result<(Key, Jwk), StartError> {
    let unreadable =
        || StartError(format!("the signing key {} in the database is damaged; restore a backup of it", sealed.kid));
    let private = secret.open(&sealed.kid, &sealed.private_key).ok_or_else(|| {
        StartError::setting(
            "COUNTERSIGN_SECRET_KEY",
            "this key does not open the signing keys in the database; give the one they were sealed with",
        )
    })?;
    let algorithm = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256]
        .into_iter()
        .find(|algorithm| algorithm.as_str() == sealed.algorithm)
        .ok_or_else(unreadable)?;
    let jwk: Jwk = serde_json::from_str(&sealed.public_jwk).map_err(|_| unreadable())?;
    // The seal binds the private key to the `kid`; the thumbprint binds the public key to it.
    if jwk.thumbprint(ThumbprintHash::SHA256).ok().as_ref() != Some(&sealed.kid) {
        return Err(unreadable());
    }
    let key = Key {
        kid: sealed.kid.as_str().into(),
        algorithm,
        generation: sealed.generation,
        created_at: sealed.created_at,
        signs_from: sealed.signs_from,
        longest_jwt_ttl: sealed.longest_jwt_ttl,
        verifies_until: sealed.verifies_until,
        private: encoding_key(algorithm, &private),
        public: DecodingKey::from_jwk(&jwk).map_err(|_| unreadable())?,
    };
    Ok((key, jwk))
}

impl Jwks {
    fn new(keys: Vec<Jwk>) -> Result<Self, StartError> {
        let json = serde_json::to_string(&jsonwebtoken::jwk::JwkSet { keys })
            .map_err(|error| StartError(format!("the key set cannot be written ({error})")))?;
        let etag = etag(json.as_bytes());
        Ok(Self { json, etag })
    }
}

/// The entity tag of this content (RFC 9110, section 8.8.3).
pub(in crate::auth) fn etag(content: &[u8]) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(TokenHash::of(content).as_bytes()))
}

/// Converts the DER of a private key, as `new_private_key` returns it.
pub(in crate::auth) fn encoding_key(algorithm: Algorithm, der: &[u8]) -> EncodingKey {
    match algorithm {
        Algorithm::EdDsa => EncodingKey::from_ed_der(der),
        Algorithm::Rs256 => EncodingKey::from_rsa_der(der),
        Algorithm::Es256 | Algorithm::Hs256 => EncodingKey::from_ec_der(der),
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Es256 => Self::ES256,
            Algorithm::EdDsa => Self::EdDSA,
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Hs256 => Self::HS256,
        }
    }
}

#[cfg(test)]
mod tests;
