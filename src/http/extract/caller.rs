//! Extractors that authenticate and authorize the caller.
//!
//! Rule: a handler that needs a caller takes a [`Caller`] argument, whose type names the required scope. The handler
//! cannot run without the check. Threat: a route that somebody forgot to protect.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use crate::auth::{Actor, Authenticated, Creator, Grant};
use crate::error::Error;
use crate::http::App;
use crate::http::extract::foreign_page::refuse_foreign_page;
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;
use crate::model::{AuditMethod, Method, Origin, Principal, Scope, Step};

/// An authenticated caller whose credential has the scope that `S` requires.
pub struct Caller<S> {
    /// The authenticated user and credential.
    pub principal: Arc<Authenticated>,
    /// The client address and the request id.
    pub origin: Origin,
    required: PhantomData<S>,
}

/// What a route requires of its caller.
pub trait RequiredScope: Send {
    /// The scope that the credential must have; `None` admits every authenticated caller.
    const SCOPE: Option<Scope>;
    /// The pending step that this route completes. Callers with that step are admitted here and nowhere else.
    const COMPLETES: Option<Step> = None;
    /// Whether the answer gives so much away that no page of another site may cause it, though it changes nothing.
    const GIVES_MUCH_AWAY: bool = false;
}

/// The scope `admin`, to read everything at once.
pub struct Export;

impl RequiredScope for Export {
    const SCOPE: Option<Scope> = Some(Scope::Admin);
    const GIVES_MUCH_AWAY: bool = true;
}

/// The scope `profile`; also admits callers who must change their password.
pub struct PasswordChange;

impl RequiredScope for PasswordChange {
    const SCOPE: Option<Scope> = Some(Scope::Profile);
    const COMPLETES: Option<Step> = Some(Step::ChangePassword);
}

macro_rules! required_scopes {
    ($($Name:ident = $scope:expr;)*) => {$(
        pub struct $Name;
        impl RequiredScope for $Name {
            const SCOPE: Option<Scope> = $scope;
        }
    )*};
}

required_scopes! {
    Anyone = None;
    Profile = Some(Scope::Profile);
    UsersRead = Some(Scope::UsersRead);
    Tokens = Some(Scope::Tokens);
    Introspect = Some(Scope::Introspect);
    Admin = Some(Scope::Admin);
}

impl<S: RequiredScope> FromRequestParts<App> for Caller<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let context = RequestContext::of(&parts.extensions)?;
        let header = authorization(&parts.headers)?.ok_or(Error::Unauthenticated)?;
        let principal = app.auth().authenticate(header, context.origin()).await?;
        context.record_caller(&principal);
        refuse_ambient_password(&principal, parts, app, S::GIVES_MUCH_AWAY)?;
        let caller = Self::authorize(principal, context.origin())?;
        caller.attach_grant(parts);
        Ok(caller)
    }
}

/// Refuses a password that a browser may have sent by itself, where that could do harm.
fn refuse_ambient_password(
    principal: &Principal,
    parts: &Parts,
    app: &App,
    gives_much_away: bool,
) -> Result<(), Error> {
    if principal.method != Method::Basic || (parts.method.is_safe() && !gives_much_away) {
        return Ok(());
    }
    refuse_foreign_page(&parts.headers, app.auth().public_url())
}

impl<S: RequiredScope> Caller<S> {
    /// The caller by the cookie of a browser's session; none without a live one. Only pages and `/verify` ask for this.
    pub async fn from_cookie(parts: &mut Parts, app: &App) -> Result<Option<Self>, Problem> {
        let Some(token) = app.cookie().of(&parts.headers) else { return Ok(None) };
        let context = RequestContext::of(&parts.extensions)?;
        let principal = match app.auth().authenticate_session(token, context.origin()).await {
            Err(Error::InvalidToken) => return Ok(None),
            principal => principal?,
        };
        context.record_caller(&principal);
        let caller = Self::authorize(principal, context.origin())?;
        caller.attach_grant(parts);
        Ok(Some(caller))
    }

    fn authorize(principal: Arc<Authenticated>, origin: Origin) -> Result<Self, Error> {
        match (principal.user.pending_step(), S::SCOPE) {
            (Some(step), _) if S::COMPLETES != Some(step) => Err(Error::StepRequired(step)),
            (_, Some(scope)) if !principal.scopes.contains(scope) => Err(Error::Forbidden(scope)),
            _ => Ok(Self { principal, origin, required: PhantomData }),
        }
    }

    /// Attaches the [`Grant`] to a request with an unsafe method, so that the caller is rechecked when the body has
    /// arrived, which may be seconds later, and before a password is hashed. Writes confirm it once more.
    fn attach_grant(&self, parts: &mut Parts) {
        if !parts.method.is_safe() {
            parts.extensions.insert(self.grant());
        }
    }

    /// Why the caller may act, to be confirmed later.
    pub fn grant(&self) -> Grant {
        self.principal.grant(S::SCOPE, S::COMPLETES)
    }

    /// The caller as the actor of an audit record.
    pub fn actor(&self) -> Actor {
        Actor::caller(&self.principal, self.origin, self.grant())
    }
}

/// Returns the single `Authorization` header, if any. Two are an error: a proxy might read one and we the other.
pub fn authorization(headers: &HeaderMap) -> Result<Option<&[u8]>, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (header, None) => Ok(header.map(HeaderValue::as_bytes)),
        (_, Some(_)) => Err(Error::AmbiguousCredential),
    }
}

/// Who may create users: an admin or, while there is none, the holder of the setup token. The setup token is looked up
/// only when the bearer token is not valid otherwise.
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
                refuse_ambient_password(&principal, parts, app, false)?;
                let caller = Caller::<Admin>::authorize(principal, origin)?;
                caller.attach_grant(parts);
                Ok(Self::Admin(caller.actor()))
            }
        }
    }
}
