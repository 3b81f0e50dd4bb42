//! What the service knows about a request beyond its contents: the request id, the client address and the caller.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;
use uuid::Uuid;

use crate::auth::{Actor, Authenticated};
use crate::http::App;
use crate::http::problem::{self, Problem};
use crate::model::{AuditMethod, Origin, Principal, User, UserId};

/// The context of one request. The middleware creates it; extractors and handlers record the caller in it, for the
/// access log. Clones share one context.
#[derive(Clone)]
pub struct RequestContext(Arc<Inner>);

struct Inner {
    origin: Origin,
    caller: OnceLock<(Option<UserId>, AuditMethod)>,
}

impl RequestContext {
    /// Creates the context of a request from `address`, with no caller yet.
    pub fn new(request_id: Uuid, address: IpAddr) -> Self {
        Self(Arc::new(Inner { origin: Origin { address, request_id }, caller: OnceLock::new() }))
    }

    /// Returns the context that the middleware stored in these request extensions.
    pub fn of(extensions: &Extensions) -> Result<&Self, Problem> {
        extensions.get::<Self>().ok_or_else(|| Problem::new(&problem::INTERNAL))
    }

    /// The client address and the request id.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The caller and the authentication method, once known. The holder of the setup token has no user id.
    pub fn caller(&self) -> Option<(Option<UserId>, AuditMethod)> {
        self.0.caller.get().copied()
    }

    /// The caller with this credential as an actor who needs no scope, such as one who logs out.
    pub fn actor(&self, principal: &Authenticated) -> Actor {
        Actor::caller(principal, self.0.origin, principal.grant(None, None))
    }

    /// Records the authenticated caller.
    pub fn record_caller(&self, principal: &Principal) {
        let _already = self.0.caller.set((Some(principal.user.id), principal.method.into()));
    }

    /// Records the user who logged in with a password.
    pub fn record_login(&self, user: &User) {
        let _already = self.0.caller.set((Some(user.id), AuditMethod::Password));
    }

    /// Records the user whom a one-time link was made for.
    pub fn record_link(&self, user: &User) {
        let _already = self.0.caller.set((Some(user.id), AuditMethod::Link));
    }

    /// Records that the caller authenticated with the setup token.
    pub fn record_setup(&self) {
        let _already = self.0.caller.set((None, AuditMethod::Setup));
    }
}

impl FromRequestParts<App> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Self::of(&parts.extensions).cloned()
    }
}
