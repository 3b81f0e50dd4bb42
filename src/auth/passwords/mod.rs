//! Checking and hashing passwords.
//!
//! Rule: new hashes are argon2id (RFC 9106) in PHC strings; an unknown username costs a hash as a known one does; a
//! hash that is weaker or of another scheme is upgraded at the next successful check. Threats: guessing from a stolen
//! database, and account enumeration by the time of the response.

pub mod admission;
pub mod blocks;
pub mod bucket;
pub mod change;
pub mod formats;
pub mod hash_pool;
pub mod hash_queue;
pub mod hash_scheme;
pub mod limiter;
pub mod policy;
pub mod refusal_delay;
pub mod refusals;
pub mod shared_guesses;
pub mod untold;

use std::time::Instant;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::auth::passwords::formats::ParsedHash;
use crate::auth::passwords::hash_pool::{Memory, Work};
use crate::auth::passwords::hash_queue::Flow;
use crate::auth::passwords::hash_scheme::HashScheme;
use crate::auth::passwords::policy::{MAX_PASSWORD_BYTES, normalize};
use crate::auth::{Actor, Auth};
use crate::error::Error;
use crate::model::{
    Event, HashCost, HashedPassword, PasswordHash, Status, UserId, fold_username, is_valid_email, is_valid_username,
};

/// The result of checking a password against a hash.
enum Verdict {
    Wrong,
    Right,
    /// The password is right, but the hash is weaker than a new one.
    Weak,
}

impl Auth {
    /// Checks a username and password. Returns the id of the user and the current hash, which an upgrade may have
    /// replaced. All password checks go through here, and so through the limit on guessing. A refusal is recorded in the
    /// name of `attempt`; that of an overlong password is not. [`Error::InvalidCredentials`] does not reveal the reason.
    pub(in crate::auth) async fn check_password(
        &self,
        attempt: Actor,
        username: &str,
        password: &SecretString,
    ) -> Result<(UserId, PasswordHash), Error> {
        // Normalizing costs time too. NFC shrinks a text to no less than a third.
        if password.expose_secret().len() > 3 * MAX_PASSWORD_BYTES {
            return Err(Error::InvalidCredentials);
        }
        let input = PasswordInput::new(password);
        if input.normalized.len() > MAX_PASSWORD_BYTES {
            return Err(Error::InvalidCredentials);
        }
        let begun = Instant::now();
        let found = match self.login_name(username) {
            Some((username, email)) => self.store.read().await?.password_of(&username, email.as_deref()).await?,
            None => None,
        };
        // A limit for what was typed, not for whom it means: otherwise guesses by an address would tell whose it is.
        let username = fold_username(username);
        let known = found.as_ref().map(|found| found.id);
        // The hash of a disabled user is run all the same, so that the time does not reveal the status.
        let (active, hash) = match found {
            Some(found) => (Some(found.id).filter(|_| found.status == Status::Active), Some(found.hash)),
            None => (None, None),
        };
        let flow = Flow { network: attempt.network(), account: self.limiter.account_key(&username) };
        let guess = self.limiter.guess(flow, hash.as_ref(), active.is_some(), password);
        let new_network = guess.as_ref().filter(|guess| guess.is_known() != Some(true)).and(flow.network);
        if let Some(guess) = &guess {
            self.learn_of_others(guess).await?;
        }
        let slot = match self.admit(attempt, known, flow, guess).await {
            Ok(Some(slot)) => slot,
            refused => {
                if refused.is_ok() {
                    self.note_refusal(Event::LoginFailed, attempt, known).await;
                }
                refusal_delay::wait_without_hash(begun).await;
                return Err(refused.err().unwrap_or(Error::InvalidCredentials));
            }
        };
        let work = self.work(hash.as_ref().and_then(ParsedHash::parse).map(|parsed| parsed.scheme));
        let (auth, stored) = (self.clone(), hash.clone());
        let check = self.hash_pool.run(flow, work, move |memory| {
            let begun = Instant::now();
            let (verdict, scheme) = verify(memory, auth.settings.passwords.cost(), stored.as_ref(), &input);
            // Here, and not after the answer: whoever hangs up early has guessed all the same.
            let is_news = slot.settle(active.is_some() && !matches!(verdict, Verdict::Wrong), auth.clock.now());
            // With two forms the hash runs twice, which would not be the cost of one check.
            if input.raw.is_none() {
                auth.refusal_delay.record(scheme, begun.elapsed());
            }
            (verdict, is_news, begun)
        });
        let (verdict, is_news, begun) = check.await?;
        if is_news {
            self.tell_others().await;
        }
        if let (Some(id), Some(network), Verdict::Right | Verdict::Weak) = (active, new_network, &verdict) {
            self.new_networks.add(id, network);
        }
        match (active, hash, verdict) {
            (Some(id), Some(hash), Verdict::Right) => Ok((id, hash)),
            (Some(id), Some(hash), Verdict::Weak) => Ok((id, self.upgrade(id, hash, password, flow).await)),
            _ => {
                self.refusal_delay.wait(begun).await;
                self.note_refusal(Event::LoginFailed, attempt, known).await;
                Err(Error::InvalidCredentials)
            }
        }
    }

    /// The username that somebody typed, and the e-mail address that it may be instead, both folded. None when nobody can have
    /// either, so that the database need not be asked; PostgreSQL would even refuse a text with a NUL byte.
    pub(in crate::auth) fn login_name(&self, typed: &str) -> Option<(String, Option<String>)> {
        let username = fold_username(typed);
        let email = (self.settings.recovery.email_login && is_valid_email(typed)).then(|| username.clone());
        (email.is_some() || is_valid_username(&username)).then_some((username, email))
    }

    /// Replaces a weak hash and returns the current one. A failure, such as a full queue, is logged and does not refuse
    /// the login: the next login tries again.
    async fn upgrade(&self, id: UserId, weak: PasswordHash, password: &SecretString, flow: Flow) -> PasswordHash {
        let upgraded = async {
            let (auth, old, new) = (self.clone(), weak.clone(), self.hash_in(flow, password).await?);
            self.finish(async move {
                let mut tx = auth.store.write().await?;
                let upgraded = tx.upgrade_hash(id, &old, &new).await?;
                tx.commit().await?;
                // Otherwise another request was first, and the caller finds its hash.
                Ok(if upgraded { new.hash } else { old })
            })
            .await
        };
        upgraded.await.unwrap_or_else(|error| {
            tracing::warn!(user = %id, %error, "a weak password hash was not upgraded");
            weak
        })
    }

    /// Hashes a new password that `actor` sets.
    pub(in crate::auth) async fn hash_password(
        &self,
        actor: Actor,
        password: &SecretString,
    ) -> Result<HashedPassword, Error> {
        self.hash_in(Flow { network: actor.network(), ..Flow::OWN }, password).await
    }

    pub(in crate::auth) async fn hash_in(&self, flow: Flow, password: &SecretString) -> Result<HashedPassword, Error> {
        let (cost, password) = (self.settings.passwords.cost(), normalize(password));
        let hash = move |memory: &mut Memory| formats::hash(memory, cost, password.as_bytes());
        let hash = self.hash_pool.run(flow, self.work(None), hash).await?;
        hash.ok_or_else(|| Error::Internal("argon2 rejects the configured cost".into()))
    }

    /// What a hash of this scheme costs; without one, what a new hash costs.
    pub(in crate::auth) fn work(&self, scheme: Option<HashScheme>) -> Work {
        let scheme = scheme.unwrap_or_else(|| HashScheme::ours(self.settings.passwords.cost()));
        let (memory_kib, own_memory_kib) = match scheme {
            HashScheme::Argon2 { .. } => (scheme.memory_kib(), 0),
            _ => (0, scheme.memory_kib()),
        };
        Work { kib: scheme.work(), memory_kib, own_memory_kib, is_dear: !self.is_cheap_enough_to_import(scheme) }
    }

    /// Whether a hash of this scheme costs no more time and memory than an import may bring.
    pub(in crate::auth) fn is_cheap_enough_to_import(&self, scheme: HashScheme) -> bool {
        let (most, own, usual) = (&self.settings.passwords, self.settings.passwords.cost(), HashCost::USUAL);
        let factor = u64::from(most.import_max_cost);
        scheme.work() <= factor * own.work().max(usual.work())
            && scheme.memory_kib() <= factor * u64::from(own.memory_kib.max(usual.memory_kib))
    }
}

/// The password was right, but its hash has been replaced each time before the check could count: by a change, or by an
/// upgrade, whose commit may have failed since. Whether the password is right now, only another attempt can tell.
pub(in crate::auth) fn hash_replaced() -> Error {
    Error::Unavailable("the password hash was replaced while it was checked".into())
}

/// A password to check. We hash the NFC form; other software may have hashed the raw form, which is `None` if equal.
struct PasswordInput {
    normalized: Zeroizing<String>,
    raw: Option<SecretString>,
}

impl PasswordInput {
    fn new(password: &SecretString) -> Self {
        let normalized = normalize(password);
        let raw = (*normalized != password.expose_secret()).then(|| password.clone());
        Self { normalized, raw }
    }
}

/// Checks a password against a stored hash. If there is none, or it cannot be run, a dummy hash runs in its place, so
/// that the time does not reveal whether the user exists.
fn verify(
    memory: &mut Memory,
    cost: HashCost,
    stored: Option<&PasswordHash>,
    input: &PasswordInput,
) -> (Verdict, HashScheme) {
    let readable = stored.and_then(ParsedHash::parse);
    let is_real = readable.is_some();
    let stored = readable.unwrap_or_else(|| ParsedHash::dummy(HashScheme::ours(cost)));
    let matches = stored.verify(memory, input.normalized.as_bytes());
    let matches =
        input.raw.as_ref().map_or(matches, |raw| stored.verify(memory, raw.expose_secret().as_bytes()) || matches);
    let verdict = match (matches && is_real, stored.scheme.is_at_least(cost)) {
        (false, _) => Verdict::Wrong,
        (true, false) => Verdict::Weak,
        (true, true) => Verdict::Right,
    };
    (verdict, stored.scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: HashCost = HashCost { memory_kib: 8, iterations: 1 };
    const EXPENSIVE: HashCost = HashCost { memory_kib: 16, iterations: 1 };

    fn checked(memory: &mut Memory, cost: HashCost, stored: &str, password: &str) -> &'static str {
        let stored = PasswordHash(stored.to_owned());
        match verify(memory, cost, Some(&stored), &PasswordInput::new(&password.into())).0 {
            Verdict::Wrong => "wrong",
            Verdict::Right => "right",
            Verdict::Weak => "weak",
        }
    }

    fn hash(memory: &mut Memory, cost: HashCost) -> String {
        formats::hash(memory, cost, b"my-password").unwrap().hash.0
    }

    #[test]
    fn a_hash_matches_only_its_password() {
        let mut memory = Memory::new();
        let stored = hash(&mut memory, CHEAP);
        assert!(stored.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{stored}");
        assert_eq!(checked(&mut memory, CHEAP, &stored, "my-password"), "right");
        assert_eq!(checked(&mut memory, CHEAP, &stored, "my-passwore"), "wrong");
        assert_eq!(checked(&mut memory, CHEAP, &stored, ""), "wrong");
    }

    #[test]
    fn a_hash_with_less_work_than_a_new_one_is_weak() {
        let mut memory = Memory::new();
        let stored = hash(&mut memory, CHEAP);
        assert_eq!(checked(&mut memory, EXPENSIVE, &stored, "my-password"), "weak");
        assert_eq!(checked(&mut memory, EXPENSIVE, &stored, "other"), "wrong");
        let strong = hash(&mut memory, EXPENSIVE);
        assert_eq!(checked(&mut memory, CHEAP, &strong, "my-password"), "right");
        let same_work = HashCost { memory_kib: 8, iterations: 2 };
        assert_eq!(checked(&mut memory, same_work, &strong, "my-password"), "right", "the product counts");
    }

    #[test]
    fn a_password_that_other_software_hashed_without_normalizing_is_right() {
        let mut memory = Memory::new();
        let decomposed = "zoe\u{308}-password";
        let stored = formats::hash(&mut memory, CHEAP, decomposed.as_bytes()).unwrap().hash.0;
        assert_eq!(checked(&mut memory, CHEAP, &stored, decomposed), "right");
        assert_eq!(checked(&mut memory, CHEAP, &stored, "zo\u{eb}-password"), "wrong");
    }

    #[test]
    fn a_dummy_runs_in_place_of_an_unparseable_or_too_expensive_hash() {
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
        assert_eq!(memory.len(), 8, "only the dummy allocated memory");
    }

    #[test]
    fn the_dummy_costs_as_much_as_a_new_hash_and_matches_nothing() {
        let mut memory = Memory::new();
        let (verdict, scheme) = verify(&mut memory, EXPENSIVE, None, &PasswordInput::new(&"".into()));
        assert!(matches!(verdict, Verdict::Wrong));
        assert_eq!(scheme, HashScheme::ours(EXPENSIVE));
        assert_eq!(memory.len(), 16, "the dummy was run");
    }
}
