//! The grounds on which a caller was let in, to be confirmed where the caller acts (`credentials/confirm.rs`).
//!
//! Rule: a grant holds while the user is active and has to do nothing first, the session or the personal token lives, the
//! password is the one that was checked, the credential has not expired, and its scopes include the one that the route
//! requires. Threat: a request that outlives the right to make it.

use crate::error::Error;
use crate::model::{CredentialId, Holder, PasswordHash, Principal, Scope, Status, Step, Timestamp, TokenHash, UserId};

/// The grounds on which a caller was authorized, without the credential: enough to check again later.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    user: UserId,
    credential: CredentialId,
    /// The hash of the password hash that the password matched.
    password: Option<TokenHash>,
    expires_at: Option<Timestamp>,
    scope: Option<Scope>,
    completes: Option<Step>,
}

impl Grant {
    /// The grant of an authorized caller, and of the password hash that a password matched.
    pub(super) fn new(
        principal: &Principal,
        password: Option<&PasswordHash>,
        scope: Option<Scope>,
        completes: Option<Step>,
    ) -> Self {
        Self {
            user: principal.user.id,
            credential: principal.credential_id(),
            password: password.map(|hash| TokenHash::of(hash.0.as_bytes())),
            expires_at: principal.expires_at,
            scope,
            completes,
        }
    }

    /// The credential that was presented.
    pub(super) fn credential(&self) -> CredentialId {
        self.credential
    }

    /// Checks the grant against what the database says now.
    pub(super) fn check(&self, holder: Option<Holder>, now: Timestamp) -> Result<(), Error> {
        let refused = || match self.credential {
            CredentialId::Password(_) => Error::InvalidCredentials,
            CredentialId::Session(_) | CredentialId::Token(_) => Error::InvalidToken,
        };
        let Holder { user, scopes, password } = holder.ok_or_else(refused)?;
        let same_password = match (&self.password, &password) {
            (Some(checked), Some(stored)) => checked.matches(TokenHash::of(stored.0.as_bytes()).as_bytes()),
            (None, _) => true,
            (Some(_), None) => false,
        };
        let has_expired = self.expires_at.is_some_and(|end| end <= now);
        if user.id != self.user || user.status != Status::Active || !same_password || has_expired {
            return Err(refused());
        }
        match (user.pending_step(), self.scope) {
            (Some(step), _) if self.completes != Some(step) => Err(Error::StepRequired(step)),
            (_, Some(scope)) if !user.roles.scopes().and(scopes).contains(scope) => Err(Error::Forbidden(scope)),
            _ => Ok(()),
        }
    }
}
