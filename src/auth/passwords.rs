//! Passwords: what one must be, and whether one is right.
//!
//! Rule: argon2id (RFC 9106) in PHC strings; an unknown name costs the same hash as a known one; a weaker hash, and one that
//! other software wrote, is replaced when its password is next seen. Threats: guessing from a stolen database, and telling
//! who has an account by the time an answer takes.

use std::time::Instant;

use argon2::Params;
use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;
use zxcvbn::matching::patterns::MatchPattern;

use super::{
    Actor, Auth,
    hashing::Memory,
    schemes::{self, MAX_WORK, Scheme, Stored, work},
};
use crate::{
    error::{Error, FieldError, StartError},
    model::{PasswordHash, Status, UserId, fold_username, may_be_username},
};

/// The longest password, in bytes; a limit, so that hashing one costs no more than the next.
const MAX_PASSWORD_BYTES: usize = 1024;
/// The longest password that is looked for among common ones, in characters.
const MAX_COMMON_CHARS: usize = 32;

/// What a new hash costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub(super) memory_kib: u32,
    pub(super) iterations: u32,
}

impl Cost {
    /// Checks that argon2id takes these figures, and that a hash made with them will be run when it comes back.
    pub fn new(memory_kib: u32, iterations: u32) -> Result<Self, StartError> {
        if !(Params::MIN_M_COST..=MAX_WORK as u32).contains(&memory_kib) {
            return Err(StartError::setting(
                "COUNTERSIGN_ARGON2_MEMORY_KIB",
                "must be from 8 to 1048576; 19456 is a good figure",
            ));
        }
        if iterations == 0 || work(memory_kib, iterations) > MAX_WORK {
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
    /// Who has this username and this password, with the hash that was checked or has taken its place. The one way to check
    /// a password: login, Basic and whatever comes to need it go through here, and what fails is recorded as an `attempt`.
    /// [`Error::InvalidCredentials`] says nothing of why.
    pub(super) async fn check_password(
        &self,
        attempt: Actor,
        username: &str,
        password: &SecretString,
    ) -> Result<(UserId, PasswordHash), Error> {
        // Composing takes time as well; NFC is never less than a third of what it was made of.
        if password.expose_secret().len() > 3 * MAX_PASSWORD_BYTES {
            return Err(Error::InvalidCredentials);
        }
        let typed = Typed::new(password);
        if typed.normal.len() > MAX_PASSWORD_BYTES {
            return Err(Error::InvalidCredentials);
        }
        let username = fold_username(username);
        let found = match may_be_username(&username) {
            true => self.store.read().await?.password_of(&username).await?,
            false => None,
        };
        let known = found.as_ref().map(|(id, _, _)| *id);
        // A disabled user's hash is run as any other, and counts for nothing.
        let (active, hash) = match found {
            Some((id, hash, status)) => (Some(id).filter(|_| status == Status::Active), Some(hash)),
            None => (None, None),
        };
        let (auth, stored) = (self.clone(), hash.clone());
        let checked = self.hash_pool.run(move |memory| {
            let begun = Instant::now();
            let (verdict, scheme) = verify(memory, auth.settings.cost, stored.as_ref(), &typed);
            if typed.raw.is_none() {
                auth.pace.note(scheme, begun.elapsed());
            }
            (verdict, begun)
        });
        let (verdict, begun) = checked.await?;
        match (active, hash, verdict) {
            (Some(id), Some(hash), Verdict::Right) => Ok((id, hash)),
            (Some(id), Some(hash), Verdict::Weak) => Ok((id, self.upgrade(id, hash, password).await)),
            _ => {
                self.pace.hold(begun).await;
                self.record_failed_login(attempt, known).await;
                Err(Error::InvalidCredentials)
            }
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
        let hash = self.hash_pool.run(move |memory| schemes::hash(memory, cost, password.as_bytes())).await?;
        hash.ok_or_else(|| Error::Internal("argon2 does not take the cost that is set".into()))
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

/// A password as someone typed it: composed, as we hash it, and if that is something else as it came, as other software
/// may have hashed it.
struct Typed {
    normal: Zeroizing<String>,
    raw: Option<SecretString>,
}

impl Typed {
    fn new(password: &SecretString) -> Self {
        let normal = normal(password);
        let raw = (*normal != password.expose_secret()).then(|| password.clone());
        Self { normal, raw }
    }
}

/// Checks a password against a stored hash. Where there is none, or one that must not be run, a dummy is run in its place,
/// so that its owner is not told from nobody by the time.
fn verify(memory: &mut Memory, cost: Cost, stored: Option<&PasswordHash>, typed: &Typed) -> (Verdict, Scheme) {
    let readable = stored.and_then(Stored::parse);
    let is_real = readable.is_some();
    let stored = readable.unwrap_or_else(|| Stored::dummy(Scheme::ours(cost)));
    let composed = stored.is_of(memory, typed.normal.as_bytes());
    let right =
        typed.raw.as_ref().map_or(composed, |raw| stored.is_of(memory, raw.expose_secret().as_bytes()) || composed);
    let verdict = match (right && is_real, stored.scheme.is_as_good_as(cost)) {
        (false, _) => Verdict::Wrong,
        (true, false) => Verdict::Weak,
        (true, true) => Verdict::Right,
    };
    (verdict, stored.scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 8, iterations: 1 };
    const DEARER: Cost = Cost { memory_kib: 16, iterations: 1 };

    fn checked(memory: &mut Memory, cost: Cost, stored: &str, password: &str) -> &'static str {
        let stored = PasswordHash(stored.to_owned());
        match verify(memory, cost, Some(&stored), &Typed::new(&password.into())).0 {
            Verdict::Wrong => "wrong",
            Verdict::Right => "right",
            Verdict::Weak => "weak",
        }
    }

    fn hash(memory: &mut Memory, cost: Cost) -> String {
        schemes::hash(memory, cost, b"my-password").unwrap().0
    }

    #[test]
    fn a_hash_is_matched_by_its_password_alone() {
        let mut memory = Memory::new();
        let stored = hash(&mut memory, CHEAP);
        assert!(stored.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{stored}");
        assert_eq!(checked(&mut memory, CHEAP, &stored, "my-password"), "right");
        assert_eq!(checked(&mut memory, CHEAP, &stored, "my-passwore"), "wrong");
        assert_eq!(checked(&mut memory, CHEAP, &stored, ""), "wrong");
    }

    #[test]
    fn a_hash_cheaper_than_new_ones_is_weak() {
        let mut memory = Memory::new();
        let stored = hash(&mut memory, CHEAP);
        assert_eq!(checked(&mut memory, DEARER, &stored, "my-password"), "weak");
        assert_eq!(checked(&mut memory, DEARER, &stored, "other"), "wrong");
        let dear = hash(&mut memory, DEARER);
        assert_eq!(checked(&mut memory, CHEAP, &dear, "my-password"), "right");
        let as_dear = Cost { memory_kib: 8, iterations: 2 };
        assert_eq!(checked(&mut memory, as_dear, &dear, "my-password"), "right", "it is the product that counts");
    }

    #[test]
    fn a_password_that_other_software_hashed_as_it_was_typed_is_right() {
        let mut memory = Memory::new();
        let decomposed = "zoe\u{308}-password";
        let stored = schemes::hash(&mut memory, CHEAP, decomposed.as_bytes()).unwrap().0;
        assert_eq!(checked(&mut memory, CHEAP, &stored, decomposed), "right");
        assert_eq!(checked(&mut memory, CHEAP, &stored, "zo\u{eb}-password"), "wrong");
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
            assert_eq!(checked(&mut memory, CHEAP, stored, "my-password"), "wrong");
        }
        assert_eq!(memory.len(), 8, "the memory of the dummy was taken and no more");
    }

    #[test]
    fn the_dummy_costs_what_a_real_hash_costs_and_matches_nothing() {
        let mut memory = Memory::new();
        let (verdict, scheme) = verify(&mut memory, DEARER, None, &Typed::new(&"".into()));
        assert!(matches!(verdict, Verdict::Wrong));
        assert_eq!(scheme, Scheme::ours(DEARER));
        assert_eq!(memory.len(), 16, "it was run");
    }
}
