//! Passwords: what one must be, and whether one is right.
//!
//! Rule: argon2id (RFC 9106) in PHC strings; an unknown name costs the same hash as a known one; a weaker hash is
//! replaced when its password is next seen. Threats: guessing from a stolen database, telling who has an account by the
//! time an answer takes, and a stored hash so dear that checking it stops the service.

use argon2::{
    Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash as Phc, Salt},
};
use aws_lc_rs::constant_time;
use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;
use zxcvbn::matching::patterns::MatchPattern;

use super::{Auth, hashing::Memory, random};
use crate::{
    error::{Error, FieldError, StartError},
    model::{PasswordHash, UserId, fold_username, may_be_username},
};

/// The longest password, in bytes; a limit, so that hashing one costs no more than the next.
const MAX_PASSWORD_BYTES: usize = 1024;
/// The dearest stored hash that is run: 1 GiB, or as many passes over less.
const MAX_STORED_COST: u64 = 1 << 20;

/// The longest password that is looked for among common ones, in characters.
const MAX_COMMON_CHARS: usize = 32;

/// What a new hash costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    memory_kib: u32,
    iterations: u32,
}

impl Cost {
    /// Checks that argon2id takes these figures, and that a hash made with them will be run when it comes back.
    pub fn new(memory_kib: u32, iterations: u32) -> Result<Self, StartError> {
        if !(Params::MIN_M_COST..=MAX_STORED_COST as u32).contains(&memory_kib) {
            return Err(StartError::setting(
                "COUNTERSIGN_ARGON2_MEMORY_KIB",
                "must be from 8 to 1048576; 19456 is a good figure",
            ));
        }
        if iterations == 0 || work(memory_kib, iterations) > MAX_STORED_COST {
            return Err(StartError::setting(
                "COUNTERSIGN_ARGON2_ITERATIONS",
                "must be at least 1, and times ARGON2_MEMORY_KIB at most 1048576; 2 is a good figure",
            ));
        }
        Ok(Self { memory_kib, iterations })
    }
}

/// What came of checking a password against a hash.
enum Verdict {
    Wrong,
    Right,
    /// Right, but the hash is weaker than new ones are.
    Weak,
}

impl Auth {
    /// Who has this username and this password, with the hash that was checked or has taken its place. The one way to check a password:
    /// login, Basic and whatever comes to need it go through here. [`Error::InvalidCredentials`] says nothing of why.
    pub(super) async fn check_password(
        &self,
        username: &str,
        password: &SecretString,
    ) -> Result<(UserId, PasswordHash), Error> {
        // Composing takes time as well; NFC is never less than a third of what it was made of.
        if password.expose_secret().len() > 3 * MAX_PASSWORD_BYTES {
            return Err(Error::InvalidCredentials);
        }
        let typed = normal(password);
        if typed.len() > MAX_PASSWORD_BYTES {
            return Err(Error::InvalidCredentials);
        }
        let username = fold_username(username);
        let found = match may_be_username(&username) {
            true => self.store.read().await?.password_of(&username).await?,
            false => None,
        };
        let (id, hash) = match found {
            Some((id, hash)) => (Some(id), hash),
            None => (None, dummy_hash(self.settings.cost)),
        };
        let (cost, stored) = (self.settings.cost, hash.clone());
        let verdict = self.hash_pool.run(move |memory| verify(memory, cost, &stored, &typed)).await?;
        match (id, verdict) {
            (Some(id), Verdict::Right) => Ok((id, hash)),
            (Some(id), Verdict::Weak) => Ok((id, self.upgrade(id, hash, password).await)),
            _ => Err(Error::InvalidCredentials),
        }
    }

    /// Replaces a weak hash. That it could not be done, say in a storm of logins, is no reason to refuse the right
    /// password: the next one tries again.
    async fn upgrade(&self, id: UserId, weak: PasswordHash, password: &SecretString) -> PasswordHash {
        let upgraded = async {
            let strong = self.hash_password(password).await?;
            let (auth, old, new) = (self.clone(), weak.clone(), strong.clone());
            self.finish(async move {
                let mut tx = auth.store.write().await?;
                tx.upgrade_hash(id, &old, &new).await?;
                tx.commit().await
            })
            .await?;
            Ok::<_, Error>(strong)
        };
        upgraded.await.unwrap_or_else(|error| {
            tracing::warn!(user = %id, %error, "a weak password hash was not upgraded");
            weak
        })
    }

    /// The hash of a new password, made in the hash pool.
    pub(super) async fn hash_password(&self, password: &SecretString) -> Result<PasswordHash, Error> {
        let (cost, password) = (self.settings.cost, normal(password));
        self.hash_pool.run(move |memory| hash(memory, cost, password.as_bytes())).await?
    }

    /// What is wrong with a new password, if anything. `own` is what its user is called: username, name and e-mail.
    pub(super) fn password_rule(
        &self,
        field: &str,
        password: &SecretString,
        own: &[Option<&str>],
    ) -> Option<FieldError> {
        let fault = |code: &str, message: String| Some(FieldError::new(field, code, message));
        let (password, least) = (normal(password), self.settings.password_min_length);
        if password.len() > MAX_PASSWORD_BYTES {
            fault("too-long", format!("must be at most {MAX_PASSWORD_BYTES} bytes"))
        } else if password.chars().count() < least {
            fault("too-short", format!("must have at least {least} characters"))
        } else if password.contains(char::is_control) {
            // HTTP Basic could not carry it (RFC 7617, section 2).
            fault("malformed", "must have no control character".to_owned())
        } else if is_own_name(&password, own) {
            fault("own-name", "must not be what the user is called".to_owned())
        } else if is_common(&password) {
            fault("common", "is among those that are guessed first".to_owned())
        } else {
            None
        }
    }
}

/// Whether this is the user's own username, name or e-mail, or what the latter begins with.
fn is_own_name(password: &str, own: &[Option<&str>]) -> bool {
    let password = Zeroizing::new(fold_username(password));
    own.iter()
        .flatten()
        .map(|name| fold_username(name))
        .any(|name| name == *password || name.split_once('@').is_some_and(|(mailbox, _)| mailbox == *password))
}

/// Whether the whole of it is one thing that is guessed first: a word of zxcvbn's lists of passwords, words and names, also
/// backwards or with digits for letters, a date, or a row of keys. Longer ones are in no list.
fn is_common(password: &str) -> bool {
    if password.chars().count() > MAX_COMMON_CHARS {
        return false;
    }
    let guessed = zxcvbn::zxcvbn(password, &[]);
    matches!(guessed.sequence(), [whole] if whole.pattern != MatchPattern::BruteForce)
}

/// The bytes that are hashed: NFC, so that `é` is the same password however the keyboard composes it.
fn normal(password: &SecretString) -> Zeroizing<String> {
    Zeroizing::new(password.expose_secret().nfc().collect())
}

/// A hash that no password has, of the cost a real one would have.
fn dummy_hash(cost: Cost) -> PasswordHash {
    let (salt, output) = (Salt::new(&random::<16>()), Output::new(&random::<32>()));
    let text = match (salt, output) {
        (Ok(salt), Ok(output)) => {
            format!("$argon2id$v=19$m={},t={},p=1${salt}${output}", cost.memory_kib, cost.iterations)
        }
        _ => String::new(), // not reached: both lengths are within what PHC takes
    };
    PasswordHash(text)
}

fn hash(memory: &mut Memory, cost: Cost, password: &[u8]) -> Result<PasswordHash, Error> {
    let fault = |error: &dyn std::fmt::Display| Error::Internal(error.to_string().into());
    let params = Params::new(cost.memory_kib, cost.iterations, 1, None).map_err(|e| fault(&e))?;
    let salt = random::<16>();
    let output = argon2id(memory, params.clone(), password, &salt).ok_or_else(|| fault(&"argon2"))?;
    let phc = Phc {
        algorithm: argon2::ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).map_err(|e| fault(&e))?,
        salt: Some(Salt::new(&salt).map_err(|e| fault(&e))?),
        hash: Some(Output::new(&output).map_err(|e| fault(&e))?),
    };
    Ok(PasswordHash(phc.to_string()))
}

/// Checks a password against a stored hash. One that cannot be read, or costs more than any we would make, is matched by
/// no password, and a dummy is run in its place, so that its owner is not told from nobody by the time.
fn verify(memory: &mut Memory, cost: Cost, stored: &PasswordHash, password: &str) -> Verdict {
    let parts = runnable(stored);
    let readable = parts.is_some();
    let Some((params, salt, expected)) = parts.or_else(|| runnable(&dummy_hash(cost))) else { return Verdict::Wrong };
    let weak = work(params.m_cost(), params.t_cost()) < work(cost.memory_kib, cost.iterations);
    let output = argon2id(memory, params, password.as_bytes(), salt.as_ref());
    let right = output.is_some_and(|output| constant_time::verify_slices_are_equal(&output, expected.as_ref()).is_ok());
    match (right && readable, weak) {
        (false, _) => Verdict::Wrong,
        (true, true) => Verdict::Weak,
        (true, false) => Verdict::Right,
    }
}

/// The parts of a stored hash that is argon2id as we make it, and costs no more than we would ever pay.
fn runnable(stored: &PasswordHash) -> Option<(Params, Salt, Output)> {
    let phc = Phc::new(&stored.0).ok()?;
    let params = Params::try_from(&phc).ok()?;
    let ours = phc.algorithm == argon2::ARGON2ID_IDENT && phc.version == Some(Version::V0x13.into());
    let payable = work(params.m_cost(), params.t_cost()) <= MAX_STORED_COST;
    if ours && payable { Some((params, phc.salt?, phc.hash?)) } else { None }
}

/// What a hash costs: the kibibytes it writes.
fn work(memory_kib: u32, iterations: u32) -> u64 {
    u64::from(memory_kib) * u64::from(iterations)
}

/// 32 bytes of argon2id, version 0x13, in memory that grows to what is needed and stays.
fn argon2id(memory: &mut Memory, params: Params, password: &[u8], salt: &[u8]) -> Option<[u8; 32]> {
    if memory.len() < params.block_count() {
        memory.resize(params.block_count(), Block::new());
    }
    let mut output = [0; 32];
    Argon2::new(argon2::Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, &mut output, memory)
        .ok()?;
    Some(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 8, iterations: 1 };
    const DEARER: Cost = Cost { memory_kib: 16, iterations: 1 };

    fn is(verdict: &Verdict, expected: &str) -> bool {
        expected
            == match verdict {
                Verdict::Wrong => "wrong",
                Verdict::Right => "right",
                Verdict::Weak => "weak",
            }
    }

    #[test]
    fn a_hash_is_matched_by_its_password_alone() {
        let mut memory = Memory::new();
        let stored = hash(&mut memory, CHEAP, b"my-password").unwrap();
        assert!(stored.0.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{}", stored.0);
        assert!(is(&verify(&mut memory, CHEAP, &stored, "my-password"), "right"));
        assert!(is(&verify(&mut memory, CHEAP, &stored, "my-passwore"), "wrong"));
        assert!(is(&verify(&mut memory, CHEAP, &stored, ""), "wrong"));
    }

    #[test]
    fn a_hash_cheaper_than_new_ones_is_weak() {
        let mut memory = Memory::new();
        let stored = hash(&mut memory, CHEAP, b"my-password").unwrap();
        assert!(is(&verify(&mut memory, DEARER, &stored, "my-password"), "weak"));
        assert!(is(&verify(&mut memory, DEARER, &stored, "other"), "wrong"));
        let dear = hash(&mut memory, DEARER, b"my-password").unwrap();
        assert!(is(&verify(&mut memory, CHEAP, &dear, "my-password"), "right"));
        let as_dear = Cost { memory_kib: 8, iterations: 2 };
        assert!(is(&verify(&mut memory, as_dear, &dear, "my-password"), "right"), "it is the product that counts");
    }

    #[test]
    fn a_hash_of_absurd_cost_or_none_is_not_run_but_a_dummy_is() {
        let mut memory = Memory::new();
        for stored in [
            "$argon2id$v=19$m=4000000,t=9,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=8,t=4294967295,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$2b$12$abc",
            "",
            "my-password",
        ] {
            assert!(is(&verify(&mut memory, CHEAP, &PasswordHash(stored.into()), "my-password"), "wrong"));
        }
        assert_eq!(memory.len(), 8, "the memory of the dummy was taken and no more");
    }

    #[test]
    fn the_dummy_costs_what_a_real_hash_costs_and_matches_nothing() {
        let mut memory = Memory::new();
        let dummy = dummy_hash(DEARER);
        assert!(is(&verify(&mut memory, DEARER, &dummy, ""), "wrong"));
        assert_eq!(memory.len(), 16, "it was run");
    }
}
