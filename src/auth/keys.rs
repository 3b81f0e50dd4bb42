//! The keys that sign JWTs and those that check them.
//!
//! Rule: a key has one algorithm and is used with that alone; private halves are sealed at rest and leave this file only
//! as signatures. Threats: a token signed with the public key as an HMAC secret, and a stolen database.

use std::collections::HashMap;

use aws_lc_rs::{
    encoding::AsDer,
    error::Unspecified,
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    DecodingKey, EncodingKey,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};
use pkcs8::PrivateKeyInfoRef;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::{SecretKey, Settings};
use crate::{
    error::{Error, StartError},
    model::{Algorithm, Clock, SealedKey, Timestamp, TokenHash},
    store::Store,
};

/// The `kid` of HS256 tokens: there is one secret, and its name should tell nothing of it.
const HS256_KID: &str = "hs256";
/// The shortest HS256 secret: as long as its hash (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// All keys in use.
pub struct Keys {
    /// What signs new tokens.
    pub signing: SigningKey,
    verifying: HashMap<String, VerifyingKey>,
    jwks: Jwks,
}

/// The key set that others verify with (RFC 7517), ready to send.
pub struct Jwks {
    /// `{"keys":[…]}`, public members only.
    pub json: String,
    /// Changes when the keys do.
    pub etag: String,
}

/// The key that signs.
pub struct SigningKey {
    /// Its name in token headers.
    pub kid: String,
    /// The one algorithm it signs with.
    pub algorithm: Algorithm,
    /// The private half.
    pub key: EncodingKey,
}

/// A key that checks.
pub struct VerifyingKey {
    /// The one algorithm it checks.
    pub algorithm: Algorithm,
    /// The public half, or the shared secret.
    pub key: DecodingKey,
}

impl Keys {
    /// Opens what the database has; makes a key for the algorithm that is set when there is none.
    pub async fn load(
        mut sealed: Vec<SealedKey>,
        store: &Store,
        clock: &Clock,
        secret: &SecretKey,
        settings: &Settings,
    ) -> Result<Self, StartError> {
        let wanted = settings.algorithm;
        if wanted != Algorithm::Hs256 && !sealed.iter().any(|key| key.algorithm == wanted.as_str()) {
            let new = generate(wanted, secret, clock.now())?;
            let mut tx = store.write().await?;
            tx.insert_signing_key(&new).await?;
            // Another server may have been first; its key is the one.
            sealed = tx.signing_keys().await?;
            tx.commit().await?;
        }
        Self::open(&sealed, secret, settings)
    }

    fn open(sealed: &[SealedKey], secret: &SecretKey, settings: &Settings) -> Result<Self, StartError> {
        let (mut signing, mut verifying, mut jwks) = (None, HashMap::new(), Vec::new());
        for key in sealed {
            let unreadable = || {
                StartError(format!("the signing key {} in the database is damaged; restore a backup of it", key.kid))
            };
            let private = secret.open(&key.kid, &key.private_key).ok_or_else(|| {
                StartError::setting(
                    "COUNTERSIGN_SECRET_KEY",
                    "this key does not open the signing keys in the database; give the one they were sealed with",
                )
            })?;
            let algorithm = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256]
                .into_iter()
                .find(|algorithm| algorithm.as_str() == key.algorithm)
                .ok_or_else(unreadable)?;
            let jwk: Jwk = serde_json::from_str(&key.public_jwk).map_err(|_| unreadable())?;
            // The private half is bound to the name by its seal; this binds the public half to it.
            if jwk.thumbprint(ThumbprintHash::SHA256).ok().as_ref() != Some(&key.kid) {
                return Err(unreadable());
            }
            let public = DecodingKey::from_jwk(&jwk).map_err(|_| unreadable())?;
            if algorithm == settings.algorithm {
                signing = Some(SigningKey { kid: key.kid.clone(), algorithm, key: encoding_key(algorithm, &private) });
            }
            verifying.insert(key.kid.clone(), VerifyingKey { algorithm, key: public });
            jwks.push(jwk);
        }
        if settings.algorithm == Algorithm::Hs256 {
            let shared = shared_secret(settings);
            let algorithm = Algorithm::Hs256;
            let key = DecodingKey::from_secret(shared);
            verifying.insert(HS256_KID.to_owned(), VerifyingKey { algorithm, key });
            let key = EncodingKey::from_secret(shared);
            signing = Some(SigningKey { kid: HS256_KID.to_owned(), algorithm, key });
        }
        let signing = signing.ok_or_else(|| StartError("the database keeps no signing key; start again".into()))?;
        Ok(Self { signing, verifying, jwks: Jwks::new(jwks)? })
    }

    /// The key of this name. It is looked up in memory alone, whatever the name.
    pub fn verifying(&self, kid: &str) -> Option<&VerifyingKey> {
        self.verifying.get(kid)
    }

    /// What others verify with. It is empty with HS256, whose secret is for nobody else.
    pub fn jwks(&self) -> &Jwks {
        &self.jwks
    }
}

/// Whether HS256, if that is set, has a secret worth the name.
pub fn check_shared_secret(settings: &Settings) -> Result<(), StartError> {
    if settings.algorithm != Algorithm::Hs256 || shared_secret(settings).len() >= MIN_SECRET_BYTES {
        return Ok(());
    }
    Err(StartError::setting(
        "COUNTERSIGN_JWT_SECRET",
        "HS256 needs a secret of at least 32 bytes; make one with: openssl rand -base64 32",
    ))
}

fn shared_secret(settings: &Settings) -> &[u8] {
    settings.jwt_secret.as_ref().map_or("", ExposeSecret::expose_secret).as_bytes()
}

impl Jwks {
    fn new(keys: Vec<Jwk>) -> Result<Self, StartError> {
        let json = serde_json::to_string(&jsonwebtoken::jwk::JwkSet { keys })
            .map_err(|error| StartError(format!("the key set cannot be written ({error})")))?;
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(TokenHash::of(json.as_bytes()).as_bytes()));
        Ok(Self { json, etag })
    }
}

fn encoding_key(algorithm: Algorithm, der: &[u8]) -> EncodingKey {
    match algorithm {
        Algorithm::EdDsa => EncodingKey::from_ed_der(der),
        Algorithm::Rs256 => EncodingKey::from_rsa_der(der),
        Algorithm::Es256 | Algorithm::Hs256 => EncodingKey::from_ec_der(der),
    }
}

/// A new key pair, its private half sealed under its thumbprint (RFC 7638).
fn generate(algorithm: Algorithm, secret: &SecretKey, now: Timestamp) -> Result<SealedKey, Error> {
    let private = new_private_key(algorithm)?;
    let fault = |error: jsonwebtoken::errors::Error| Error::Internal(error.into());
    let mut jwk = Jwk::from_encoding_key(&encoding_key(algorithm, &private), algorithm.into()).map_err(fault)?;
    let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(fault)?;
    jwk.common.key_id = Some(kid.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    let public_jwk = serde_json::to_string(&jwk).map_err(|error| Error::Internal(error.into()))?;
    let private_key = secret.seal(&kid, &private)?;
    Ok(SealedKey { kid, algorithm: algorithm.as_str().to_owned(), public_jwk, private_key, created_at: now })
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
