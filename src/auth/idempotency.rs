//! Requests that may come again because their answer was lost (Idempotency-Key).
//!
//! Rule: the answer is noted in the transaction that does the work, and a repeat within a day gets the same and does
//! nothing; under the same key another request is refused. What is noted is sealed, for it may hold a token, and the hash of
//! a body that holds a password would be an easy one to guess from. Threat: a repeat that makes a second user or token.

use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    auth::{Actor, Auth},
    error::Error,
    model::{Timestamp, TokenHash, hex},
    store::Tx,
};

/// How long a key is remembered.
pub(super) const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// A request that may come again.
#[derive(Clone, Debug)]
pub struct IdempotentRequest {
    /// What its sender calls it.
    pub key: String,
    /// What it is about: no two routes share a key.
    pub route: String,
    /// Its body, hashed.
    pub body: TokenHash,
}

#[derive(Serialize, Deserialize)]
struct Noted<T> {
    body: Vec<u8>,
    answer: T,
}

impl IdempotentRequest {
    /// The key of this sender, at this route.
    fn key_of(&self, actor: Actor) -> TokenHash {
        let sender = match actor {
            Actor::User { id, .. } => id.to_string(),
            Actor::Unknown { method, .. } => method.as_str().to_owned(),
            Actor::Operator | Actor::System => String::new(),
        };
        TokenHash::of(format!("{sender} {} {}", self.route, self.key).as_bytes())
    }
}

impl Auth {
    /// What the same request was answered before. [`Error::KeyReused`] when it was another one.
    pub(super) async fn stored_response<T: DeserializeOwned>(
        &self,
        tx: &mut Tx,
        actor: Actor,
        once: Option<&IdempotentRequest>,
        now: Timestamp,
    ) -> Result<Option<T>, Error> {
        let Some(once) = once else { return Ok(None) };
        let key = once.key_of(actor);
        let Some(sealed) = tx.stored_response(key, now.before(REMEMBERED)).await? else { return Ok(None) };
        // What another secret key sealed cannot be told again, nor may it be done again.
        let opened = self.secret.open(&name(key), &sealed).ok_or(Error::KeyReused)?;
        let noted: Noted<T> = serde_json::from_slice(&opened).map_err(|_| Error::KeyReused)?;
        if once.body.matches(&noted.body) { Ok(Some(noted.answer)) } else { Err(Error::KeyReused) }
    }

    /// Notes the answer for whoever asks again. [`Error::Busy`] when the same request is being done elsewhere: it is to be
    /// sent again, and gets that one's answer.
    pub(super) async fn store_response<T: Serialize>(
        &self,
        tx: &mut Tx,
        actor: Actor,
        once: Option<&IdempotentRequest>,
        answer: &T,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(once) = once else { return Ok(()) };
        let key = once.key_of(actor);
        let noted = serde_json::to_vec(&Noted { body: once.body.as_bytes().to_vec(), answer });
        let sealed = self.secret.seal(&name(key), &noted.map_err(|error| Error::Internal(error.into()))?)?;
        if tx.store_response(key, &sealed, now.before(REMEMBERED), now).await? {
            Ok(())
        } else {
            Err(Error::Busy { retry_after: Duration::from_secs(1) })
        }
    }
}

/// What a noted answer is sealed under.
fn name(key: TokenHash) -> String {
    hex(key.as_bytes())
}
