//! The secret key, which seals (encrypts and authenticates) the signing keys in the database, and from which the keys of the audit
//! trail and of the limit on guessing are derived.
//!
//! Rule: AES-256-GCM with a random nonce, and the `kid` as associated data; for the derived keys HKDF (RFC 5869). Threat: an
//! attacker who reads a backup could sign tokens for any user, and one who writes to the database could write its history
//! anew; without the secret key they cannot.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::auth::random;
use crate::error::{Error, StartError};
use crate::model::ChainKey;
use crate::private_file;

const NONCE_BYTES: usize = 12;

/// The secret key: 32 bytes that only the operator and this process know.
pub struct SecretKey {
    sealing: RandomizedNonceKey,
    chain: ChainKey,
    tags: hmac::Key,
    guesses: hmac::Key,
}

impl SecretKey {
    /// Parses 32 bytes in base64.
    pub fn parse(text: &str) -> Result<Self, StartError> {
        let wrong = || {
            StartError::setting(
                "COUNTERSIGN_SECRET_KEY",
                "must be 32 bytes in base64; make one with: openssl rand -base64 32",
            )
        };
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| wrong())?);
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| wrong())?;
        let derived = Salt::new(HKDF_SHA256, &[]).extract(&bytes);
        let chain = derived.expand(&[b"countersign audit trail"], hmac::HMAC_SHA256).map_err(|_| wrong())?.into();
        let tags = derived.expand(&[b"countersign tags"], hmac::HMAC_SHA256).map_err(|_| wrong())?.into();
        let guesses = derived.expand(&[b"countersign guesses"], hmac::HMAC_SHA256).map_err(|_| wrong())?.into();
        Ok(Self { sealing, chain: ChainKey::new(chain), tags, guesses })
    }

    /// A key that nothing was sealed with, for a service that only looks.
    pub fn throwaway() -> Result<Self, StartError> {
        Self::parse(&STANDARD.encode(random::<32>()))
    }

    /// Reads the key from a file that only its owner may read. Creates the file if it does not exist and `may_create`.
    pub fn from_file(path: &Path, may_create: bool) -> Result<Self, StartError> {
        if may_create && !path.exists() {
            create(path).map_err(|error| unusable(path, &error))?;
        }
        if path.exists() {
            private_file::restrict(path).map_err(|error| unusable(path, &error))?;
        }
        Self::read(path)
    }

    /// Reads the key from an existing file, and does not change the file.
    pub fn read(path: &Path) -> Result<Self, StartError> {
        if !path.exists() {
            return Err(StartError::setting(
                "COUNTERSIGN_SECRET_KEY",
                format_args!(
                    "the database has signing keys but {}, which opens them, is missing; bring it back or set the key",
                    path.display()
                ),
            ));
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| unusable(path, &error))?);
        Self::parse(&text).map_err(|_| unusable(path, &io::Error::other("it does not hold 32 bytes in base64")))
    }

    /// The key of the audit trail.
    pub fn chain_key(&self) -> &ChainKey {
        &self.chain
    }

    /// A tag of a secret, to compare it with that of another server without showing it.
    pub fn tag(&self, secret: &[u8]) -> Vec<u8> {
        hmac::sign(&self.tags, secret).as_ref().to_vec()
    }

    /// The key under which the limit on guessing knows accounts, networks and passwords: the same on all servers.
    pub fn guessing_key(&self) -> [u8; 16] {
        let mut key = [0; 16];
        key.copy_from_slice(hmac::sign(&self.guesses, b"").as_ref().split_at(16).0);
        key
    }

    /// Seals `secret` under `name`. Returns the nonce, then the ciphertext with its tag.
    pub fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, Error> {
        let mut sealed = secret.to_vec();
        let nonce = self
            .sealing
            .seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut sealed)
            .map_err(|fault| Error::Internal(fault.into()))?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Opens what was sealed under `name`. Returns none when the key, the name or any bit differs.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut secret = Zeroizing::new(ciphertext.to_vec());
        let length = self.sealing.open_in_place(nonce, Aad::from(name.as_bytes()), &mut secret).ok()?.len();
        secret.truncate(length);
        Some(secret)
    }
}

fn unusable(path: &Path, error: &io::Error) -> StartError {
    StartError::setting(
        "COUNTERSIGN_SECRET_KEY",
        format_args!("the key file {} cannot be used ({error}); mend it or set the key", path.display()),
    )
}

/// Writes a new key to a temporary file and links it to `path`: of two servers that start at once, neither reads a
/// partial key, and both use the first one.
fn create(path: &Path) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{:032x}", u128::from_le_bytes(random())));
    let temporary = Path::new(&temporary);
    let mut file = private_file::create_new(temporary)?;
    let text = Zeroizing::new(STANDARD.encode(Zeroizing::new(random::<32>())) + "\n");
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    fs::remove_file(temporary)?;
    linked?;
    // The directory entry must survive a power failure, too: without this file the sealed keys are lost.
    private_file::sync_folder_of(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_with_the_same_name_and_key() {
        let key = |byte: u8| SecretKey::parse(&STANDARD.encode([byte; 32])).unwrap();
        let sealed = key(1).seal("name", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(key(1).open("name", &sealed).unwrap().as_slice(), b"secret");
        assert!(key(1).open("another", &sealed).is_none());
        assert!(key(2).open("name", &sealed).is_none());
        assert!(key(1).open("name", &sealed[..20]).is_none());
        assert!(key(1).open("name", b"").is_none());
        let mut tampered = sealed;
        tampered[15] ^= 1;
        assert!(key(1).open("name", &tampered).is_none());
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused_and_not_shown() {
        let error = SecretKey::parse("c2hvcnQ=").err().unwrap().to_string();
        assert!(error.starts_with("COUNTERSIGN_SECRET_KEY: ") && !error.contains("c2hvcnQ"), "{error}");
    }

    #[test]
    fn what_is_derived_from_the_key_is_the_keys_own() {
        let key = |byte: u8| SecretKey::parse(&STANDARD.encode([byte; 32])).unwrap();
        assert_eq!(key(1).guessing_key(), key(1).guessing_key());
        assert_ne!(key(1).guessing_key(), key(2).guessing_key());
        assert_eq!((key(1).tag(b"one"), key(1).tag(b"one").len()), (key(1).tag(b"one"), 32));
        assert!(key(1).tag(b"one") != key(1).tag(b"two") && key(1).tag(b"one") != key(2).tag(b"one"));
    }

    #[test]
    fn a_key_file_is_made_only_where_that_is_allowed_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("countersign.key");
        let error = SecretKey::from_file(&path, false).err().unwrap().to_string();
        assert!(error.contains("is missing") && !path.exists(), "{error}");
        let made = SecretKey::from_file(&path, true).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() == 45 && text.ends_with('\n'));
        for may_create in [true, false] {
            let read = SecretKey::from_file(&path, may_create).unwrap();
            assert_eq!(read.tag(b"x"), made.tag(b"x"));
        }
        // Of two that start at once, the second uses the key of the first.
        create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
        assert!(create(&folder.path().join("nowhere").join("countersign.key")).is_err());
        fs::write(&path, "no key").unwrap();
        assert!(SecretKey::from_file(&path, true).is_err());
    }
}
