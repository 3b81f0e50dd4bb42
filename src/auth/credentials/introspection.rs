//! Token introspection (RFC 7662) and revocation (RFC 7009), for services that were presented a token.
//!
//! Rule: a token is checked as if its holder had presented it here. About a token that is not active, a service learns
//! nothing else. Threat: learning about tokens by asking.

use std::sync::Arc;

use crate::auth::credentials::parse::{AuthScheme, RawCredential};
use crate::auth::{Actor, Auth, Authenticated};
use crate::error::Error;
use crate::model::{Origin, Principal, Scope};

impl Auth {
    /// The principal of a bearer token of any kind or of the value of HTTP Basic; none when it is not active.
    pub async fn introspect(&self, token: &str, origin: Origin) -> Result<Option<Arc<Authenticated>>, Error> {
        let Some(presented) = RawCredential::from_value(token) else { return Ok(None) };
        match self.check(presented, origin).await {
            // A credential that only permits to change the password permits nothing at other services.
            Ok(principal) => Ok(Some(principal).filter(|principal| principal.user.pending_step().is_none())),
            Err(Error::InvalidToken | Error::InvalidCredentials) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Revokes a personal token, or the session of any other token with all tokens of that session. The caller needs
    /// the scope `introspect` for a token of another user. A token that is not active is no error (RFC 7009, section
    /// 2.2). A password is not a token: [`Error::UnsupportedTokenType`].
    pub async fn revoke(&self, principal: &Principal, actor: Actor, token: &str, origin: Origin) -> Result<(), Error> {
        let presented = match RawCredential::from_value(token) {
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
            // A concurrent request revoked it first.
            Err(Error::NotFound) => Ok(()),
            revoked => revoked,
        }
    }
}
