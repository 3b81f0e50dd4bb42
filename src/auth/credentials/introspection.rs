//! What services ask of a token that was shown to them: whether it lives and whose it is (RFC 7662), and to end it (RFC
//! 7009).
//!
//! Rule: a token is checked as if its holder had presented it here; what does not live is told by one word and nothing
//! else. Threat: learning about tokens by asking.

use std::sync::Arc;

use crate::{
    auth::{
        Actor, Auth, Authenticated,
        credentials::parse::{AuthScheme, RawCredential},
    },
    error::Error,
    model::{Origin, Principal, Scope},
};

impl Auth {
    /// Whose this token is, if it lives: an opaque token, a JWT, a personal token, or the value of HTTP Basic.
    pub async fn introspect(&self, token: &str, origin: Origin) -> Result<Option<Arc<Authenticated>>, Error> {
        let Some(presented) = RawCredential::as_value(token) else { return Ok(None) };
        match self.check(presented, origin).await {
            // What is only good for choosing another password is good for nothing elsewhere.
            Ok(principal) => Ok(Some(principal).filter(|principal| principal.user.pending_step().is_none())),
            Err(Error::InvalidToken | Error::InvalidCredentials) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends a token: its session, with every other token of it, or the personal token. The caller's own, or with the scope
    /// `introspect` anyone's. One that does not live is nothing to complain about (RFC 7009, section 2.2); a password is
    /// no token: [`Error::UnsupportedTokenType`].
    pub async fn revoke(&self, principal: &Principal, actor: Actor, token: &str, origin: Origin) -> Result<(), Error> {
        let presented = match RawCredential::as_value(token) {
            None => return Ok(()),
            Some(RawCredential { scheme: AuthScheme::Basic, .. }) => return Err(Error::UnsupportedTokenType),
            Some(presented) => presented,
        };
        let target = match self.check(presented, origin).await {
            Err(Error::InvalidToken) => return Ok(()),
            target => target?,
        };
        if target.user.id != principal.user.id && !principal.scopes.contains(Scope::Introspect) {
            return Err(Error::Forbidden(Scope::Introspect));
        }
        let revoked = match (target.session, target.token) {
            (Some(session), _) => self.end_session(actor, None, session).await,
            (None, Some(token)) => self.revoke_token(actor, None, token).await,
            (None, None) => Ok(()),
        };
        match revoked {
            // Someone else was quicker.
            Err(Error::NotFound) => Ok(()),
            revoked => revoked,
        }
    }
}
