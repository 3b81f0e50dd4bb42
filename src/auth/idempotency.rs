//! Idempotent requests (`Idempotency-Key`): a client may retry one whose response was lost.
//!
//! Rule: the transaction that does the work stores the response. A retry within a day gets that response and does
//! nothing; another request with the same key is refused. The response and the hash of the request body are sealed: one
//! may contain a token, and from the other a password could be guessed. Threat: a retry creates a second user or token.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::auth::{Actor, Auth};
use crate::error::Error;
use crate::model::{CredentialId, Timestamp, TokenHash};
use crate::store::Tx;

/// How long a response is stored.
pub(super) const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// A request that the client may retry.
#[derive(Clone, Debug)]
pub struct IdempotentRequest {
    /// The `Idempotency-Key` that the client chose.
    pub key: String,
    /// The route: each route has keys of its own.
    pub route: String,
    /// The hash of the request body.
    pub body: TokenHash,
}

#[derive(Serialize, Deserialize)]
struct StoredResponse<T> {
    body: Vec<u8>,
    answer: T,
}

impl IdempotentRequest {
    /// The key in the database. It is specific to the credential of the sender and the route: another credential of the same
    /// user may have other scopes, and must not get what this one was given.
    fn storage_key(&self, actor: Actor) -> TokenHash {
        let sender = match actor {
            Actor::User { id, grant, .. } => match grant.map(|grant| grant.credential()) {
                Some(CredentialId::Session(session)) => format!("{id} session {session}"),
                Some(CredentialId::Token(token)) => format!("{id} token {token}"),
                Some(CredentialId::Password(_)) | None => id.to_string(),
            },
            Actor::Unknown { method, .. } => method.as_str().to_owned(),
            Actor::Operator | Actor::System => String::new(),
        };
        TokenHash::of(format!("{sender} {} {}", self.route, self.key).as_bytes())
    }
}

impl Auth {
    /// The stored response to this request. [`Error::KeyReused`] when the key was used for another request.
    pub(super) async fn stored_response<T: DeserializeOwned>(
        &self,
        tx: &mut Tx,
        actor: Actor,
        once: Option<&IdempotentRequest>,
        now: Timestamp,
    ) -> Result<Option<T>, Error> {
        let Some(once) = once else { return Ok(None) };
        let key = once.storage_key(actor);
        let Some(sealed) = tx.stored_response(key, now.before(REMEMBERED)).await? else { return Ok(None) };
        // A response sealed under another secret key cannot be returned, and the work must not be done twice.
        let opened = self.secret.open(&seal_name(key), &sealed).ok_or(Error::KeyReused)?;
        let stored: StoredResponse<T> = serde_json::from_slice(&opened).map_err(|_| Error::KeyReused)?;
        if once.body.matches(&stored.body) { Ok(Some(stored.answer)) } else { Err(Error::KeyReused) }
    }

    /// Stores the response for retries. [`Error::Busy`] when a concurrent request with the same key was first: a retry
    /// gets the response of that one.
    pub(super) async fn store_response<T: Serialize>(
        &self,
        tx: &mut Tx,
        actor: Actor,
        once: Option<&IdempotentRequest>,
        answer: &T,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(once) = once else { return Ok(()) };
        let key = once.storage_key(actor);
        let response = serde_json::to_vec(&StoredResponse { body: once.body.as_bytes().to_vec(), answer });
        let sealed = self.secret.seal(&seal_name(key), &response.map_err(|error| Error::Internal(error.into()))?)?;
        if tx.store_response(key, &sealed, now.before(REMEMBERED), now).await? {
            Ok(())
        } else {
            Err(Error::Busy { retry_after: Duration::from_secs(1) })
        }
    }
}

/// The name that a stored response is sealed under.
fn seal_name(key: TokenHash) -> String {
    hex::encode(key.as_bytes())
}
