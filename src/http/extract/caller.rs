//! Who is calling.
//!
//! Rule: a handler that needs a caller has a [`Caller`] argument, whose type names the scope that the route requires; it cannot
//! run without the check. Threat: a route that somebody forgot to protect.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header::AUTHORIZATION, request::Parts},
};

use crate::{
    auth::{Actor, Authenticated, Creator, Grant},
    error::Error,
    http::{App, problem::Problem, request_context::RequestContext},
    model::{AuditMethod, Origin, Scope, Step},
};

/// A known caller whose credential has the scope that `S` requires. Without one the handler does not run.
pub struct Caller<S> {
    /// Who is calling.
    pub principal: Arc<Authenticated>,
    /// Where the request comes from.
    pub origin: Origin,
    required: PhantomData<S>,
}

/// What a route requires of its caller.
pub trait RequiredScope {
    /// The scope that the credential must have; none admits every known caller.
    const SCOPE: Option<Scope>;
    /// The step that this route completes: it admits callers who must do that before anything else.
    const COMPLETES: Option<Step> = None;
}

/// The scope `profile`, to change one's own password.
pub struct PasswordChange;

impl RequiredScope for PasswordChange {
    const SCOPE: Option<Scope> = Some(Scope::Profile);
    const COMPLETES: Option<Step> = Some(Step::ChangePassword);
}

macro_rules! required_scopes {
    ($($(#[$doc:meta])* $Name:ident = $scope:expr;)*) => {$(
        $(#[$doc])*
        pub struct $Name;
        impl RequiredScope for $Name {
            const SCOPE: Option<Scope> = $scope;
        }
    )*};
}

required_scopes! {
    /// No scope: any known caller.
    Anyone = None;
    /// The scope `profile`.
    Profile = Some(Scope::Profile);
    /// The scope `users:read`.
    UsersRead = Some(Scope::UsersRead);
    /// The scope `tokens`.
    Tokens = Some(Scope::Tokens);
    /// The scope `introspect`.
    Introspect = Some(Scope::Introspect);
    /// The scope `admin`.
    Admin = Some(Scope::Admin);
}

impl<S: RequiredScope> FromRequestParts<App> for Caller<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let context = RequestContext::of(&parts.extensions)?;
        let header = authorization(&parts.headers)?.ok_or(Error::Unauthenticated)?;
        let principal = app.auth().authenticate(header, context.origin()).await?;
        context.record_caller(&principal);
        let caller = Self::admit(principal, context.origin())?;
        caller.leave_grant(parts);
        Ok(caller)
    }
}

impl<S: RequiredScope> Caller<S> {
    fn admit(principal: Arc<Authenticated>, origin: Origin) -> Result<Self, Error> {
        match (principal.user.pending_step(), S::SCOPE) {
            (Some(step), _) if S::COMPLETES != Some(step) => Err(Error::StepRequired(step)),
            (_, Some(scope)) if !principal.scopes.contains(scope) => Err(Error::Forbidden(scope)),
            _ => Ok(Self { principal, origin, required: PhantomData }),
        }
    }

    /// Leaves the [`Grant`] in the request of an unsafe method, so that the caller is checked again when the body is there,
    /// which may be seconds later.
    fn leave_grant(&self, parts: &mut Parts) {
        if !parts.method.is_safe() {
            parts.extensions.insert(Grant::of(&self.principal, S::SCOPE));
        }
    }

    /// The caller as the audit trail names them.
    pub fn actor(&self) -> Actor {
        Actor::caller(&self.principal, self.origin)
    }
}

/// The one `Authorization` header, or none. Of two, a proxy might read one and we the other.
pub fn authorization(headers: &HeaderMap) -> Result<Option<&[u8]>, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (header, None) => Ok(header.map(HeaderValue::as_bytes)),
        (_, Some(_)) => Err(Error::AmbiguousCredential),
    }
}

/// Who may create users: an administrator, or while there is none, the holder of the setup token, which is looked up only
/// when the bearer is no other valid token.
impl FromRequestParts<App> for Creator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let context = RequestContext::of(&parts.extensions)?;
        let (origin, header) = (context.origin(), authorization(&parts.headers)?.ok_or(Error::Unauthenticated)?);
        match app.auth().authenticate(header, origin).await {
            Err(Error::InvalidToken) => {
                let token = app.auth().setup_token(header).await?.ok_or(Error::InvalidToken)?;
                context.record_setup();
                Ok(Self::Setup(token, Actor::Unknown { method: AuditMethod::Setup, origin }))
            }
            principal => {
                let principal = principal?;
                context.record_caller(&principal);
                let caller = Caller::<Admin>::admit(principal, origin)?;
                caller.leave_grant(parts);
                Ok(Self::Admin(caller.actor()))
            }
        }
    }
}
