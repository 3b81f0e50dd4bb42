//! Passwords: whether one is right, and the hash of a new one.
//!
//! Rule: argon2id (RFC 9106) in PHC strings; an unknown name costs the same hash as a known one; a weaker hash, and one that
//! other software wrote, is replaced when its password is next seen. Threats: guessing from a stolen database, and telling
//! who has an account by the time an answer takes.

pub mod change;
pub mod cost;
pub mod formats;
pub mod hash_pool;
pub mod policy;
pub mod refusal_delay;

use std::time::Instant;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{
    auth::{
        Actor, Auth,
        passwords::{
            cost::Cost,
            formats::{HashScheme, ParsedHash},
            hash_pool::Memory,
            policy::{MAX_PASSWORD_BYTES, normal},
        },
    },
    error::Error,
    model::{PasswordHash, Status, UserId, fold_username, is_valid_username},
};

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
    pub(in crate::auth) async fn check_password(
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
        let found = match is_valid_username(&username) {
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
                auth.refusal_delay.record(scheme, begun.elapsed());
            }
            (verdict, begun)
        });
        let (verdict, begun) = checked.await?;
        match (active, hash, verdict) {
            (Some(id), Some(hash), Verdict::Right) => Ok((id, hash)),
            (Some(id), Some(hash), Verdict::Weak) => Ok((id, self.upgrade(id, hash, password).await)),
            _ => {
                self.refusal_delay.wait(begun).await;
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
    pub(in crate::auth) async fn hash_password(&self, password: &SecretString) -> Result<PasswordHash, Error> {
        let (cost, password) = (self.settings.cost, normal(password));
        let hash = self.hash_pool.run(move |memory| formats::hash(memory, cost, password.as_bytes())).await?;
        hash.ok_or_else(|| Error::Internal("argon2 does not take the cost that is set".into()))
    }
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
fn verify(memory: &mut Memory, cost: Cost, stored: Option<&PasswordHash>, typed: &Typed) -> (Verdict, HashScheme) {
    let readable = stored.and_then(ParsedHash::parse);
    let is_real = readable.is_some();
    let stored = readable.unwrap_or_else(|| ParsedHash::dummy(HashScheme::ours(cost)));
    let composed = stored.verify(memory, typed.normal.as_bytes());
    let right =
        typed.raw.as_ref().map_or(composed, |raw| stored.verify(memory, raw.expose_secret().as_bytes()) || composed);
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
        formats::hash(memory, cost, b"my-password").unwrap().0
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
        let stored = formats::hash(&mut memory, CHEAP, decomposed.as_bytes()).unwrap().0;
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
        assert_eq!(scheme, HashScheme::ours(DEARER));
        assert_eq!(memory.len(), 16, "it was run");
    }
}
