//! What is known of a request beyond the request itself: its id, where it comes from, and who turned out to be calling.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use axum::{
    extract::FromRequestParts,
    http::{Extensions, request::Parts},
};
use uuid::Uuid;

use crate::{
    http::{
        App,
        problem::{self, Problem},
    },
    model::{AuditMethod, Origin, Principal, User, UserId},
};

/// The context of one request. The middleware makes it; extractors and handlers record in it who is calling, for the log.
/// Cloning it gives another handle to the same one.
#[derive(Clone)]
pub struct RequestContext(Arc<Inner>);

struct Inner {
    origin: Origin,
    caller: OnceLock<(Option<UserId>, AuditMethod)>,
}

impl RequestContext {
    /// The context of a request from this address.
    pub fn new(request_id: Uuid, address: IpAddr) -> Self {
        Self(Arc::new(Inner { origin: Origin { address, request_id }, caller: OnceLock::new() }))
    }

    /// The context of the request with these extensions.
    pub fn of(extensions: &Extensions) -> Result<&Self, Problem> {
        extensions.get::<Self>().ok_or_else(|| Problem::new(&problem::INTERNAL))
    }

    /// Where the request comes from, and its id.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The user who is calling, if one is, and how they proved it, once that is known.
    pub fn caller(&self) -> Option<(Option<UserId>, AuditMethod)> {
        self.0.caller.get().copied()
    }

    /// Records who is calling, and how they proved it.
    pub fn record_caller(&self, principal: &Principal) {
        let _already = self.0.caller.set((Some(principal.user.id), principal.method.into()));
    }

    /// Records who logged in.
    pub fn record_login(&self, user: &User) {
        let _already = self.0.caller.set((Some(user.id), AuditMethod::Password));
    }

    /// Records that the caller holds the setup token.
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
