//! From a request to what a handler asks for: who is calling, the body, the query, an id in the path.

use std::{marker::PhantomData, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, MatchedPath, Request},
    http::{
        Extensions, HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
        request::Parts,
    },
};
use serde::de::DeserializeOwned;

use super::{
    App,
    observe::Seen,
    problem::{self, Problem},
};
use crate::{
    auth::{self, Actor, Creator, Once, Proven},
    error::{Error, FieldError},
    model::{Client, Origin, Scope, TokenHash},
};

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// How much of a `User-Agent` is kept.
const MAX_USER_AGENT: usize = 256;

/// A known caller whose credential has the scope of `D`. Without one the handler does not run.
pub struct Caller<D> {
    /// Who.
    pub principal: Arc<Proven>,
    /// From where.
    pub origin: Origin,
    demand: PhantomData<D>,
}

/// What a route demands of its caller.
pub trait Demand {
    /// The scope it takes; none lets in anyone who is known.
    const SCOPE: Option<Scope>;
    /// Whether someone may come in who must choose another password first.
    const IS_PASSWORD_CHANGE: bool = false;
}

/// The scope `profile`, to change one's password with.
pub struct PasswordChange;

impl Demand for PasswordChange {
    const SCOPE: Option<Scope> = Some(Scope::Profile);
    const IS_PASSWORD_CHANGE: bool = true;
}

macro_rules! demands {
    ($($(#[$doc:meta])* $Name:ident = $scope:expr;)*) => {$(
        $(#[$doc])*
        pub struct $Name;
        impl Demand for $Name {
            const SCOPE: Option<Scope> = $scope;
        }
    )*};
}

demands! {
    /// Nothing but to be known.
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

impl<D: Demand> FromRequestParts<App> for Caller<D> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let (seen, origin) = Seen::with_origin(&parts.extensions)?;
        let header = authorization(&parts.headers)?.ok_or(Error::Unauthenticated)?;
        let principal = app.auth().authenticate(header, origin).await?;
        seen.note(&principal);
        let caller = Self::admit(principal, origin)?;
        caller.stand(parts);
        Ok(caller)
    }
}

/// Who was let in, and with what: to be asked again once the body is there, which may be seconds later.
#[derive(Clone, Copy)]
struct Standing(auth::Standing);

impl<D: Demand> Caller<D> {
    fn admit(principal: Arc<Proven>, origin: Origin) -> Result<Self, Error> {
        match D::SCOPE {
            _ if principal.user.must_change_password && !D::IS_PASSWORD_CHANGE => Err(Error::PasswordChangeRequired),
            Some(scope) if !principal.scopes.contains(scope) => Err(Error::Forbidden(scope)),
            _ => Ok(Self { principal, origin, demand: PhantomData }),
        }
    }

    /// Leaves word of who was let in for [`body`], if one can follow.
    fn stand(&self, parts: &mut Parts) {
        if !parts.method.is_safe() {
            parts.extensions.insert(Standing(auth::Standing::of(&self.principal, D::SCOPE)));
        }
    }

    /// The caller as the audit trail names them.
    pub fn actor(&self) -> Actor {
        Actor::caller(&self.principal, self.origin)
    }
}

/// The one `Authorization` header, or none. Two could be read as one by us and as the other by a proxy.
pub fn authorization(headers: &HeaderMap) -> Result<Option<&[u8]>, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (header, None) => Ok(header.map(HeaderValue::as_bytes)),
        (_, Some(_)) => Err(Error::AmbiguousCredential),
    }
}

/// Who may create users: an admin, or while there is none, the holder of the setup token, which is asked for only when
/// the bearer opens nothing else.
impl FromRequestParts<App> for Creator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let (seen, origin) = Seen::with_origin(&parts.extensions)?;
        let header = authorization(&parts.headers)?.ok_or(Error::Unauthenticated)?;
        match app.auth().authenticate(header, origin).await {
            Err(Error::InvalidToken) => {
                let token = app.auth().setup_token(header).await?.ok_or(Error::InvalidToken)?;
                seen.note_setup();
                Ok(Self::Setup(token, Actor::Unknown { method: "setup", origin }))
            }
            principal => {
                let principal = principal?;
                seen.note(&principal);
                let caller = Caller::<Admin>::admit(principal, origin)?;
                caller.stand(parts);
                Ok(Self::Admin(caller.actor()))
            }
        }
    }
}

impl Seen {
    /// What is known of a request, and where it came from.
    fn with_origin(extensions: &Extensions) -> Result<(&Self, Origin), Problem> {
        let found = extensions.get::<Self>().zip(extensions.get::<Peer>());
        let (seen, Peer(peer)) = found.ok_or_else(|| Problem::new(&problem::INTERNAL))?;
        Ok((seen, Origin { address: peer.ip().to_canonical(), request_id: seen.request_id() }))
    }
}

/// Where a handler notes for the log whom it turned out to serve.
impl FromRequestParts<App> for Seen {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| Problem::new(&problem::INTERNAL))
    }
}

/// The address at the other end of the connection.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl FromRequestParts<App> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Seen::with_origin(&parts.extensions).map(|(_, origin)| origin)
    }
}

impl FromRequestParts<App> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let origin = Origin::from_request_parts(parts, app).await?;
        let user_agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self { origin, user_agent: user_agent.map(|agent| agent.chars().take(MAX_USER_AGENT).collect()) })
    }
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        if !has_type(request.headers(), "application/json") {
            return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE));
        }
        from_json(&body(request, app).await?).map(Self)
    }
}

/// A JSON body that may come again, with its `Idempotency-Key` if it has one.
pub struct JsonOnce<T>(pub T, pub Option<Once>);

impl<T: DeserializeOwned> FromRequest<App> for JsonOnce<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        if !has_type(request.headers(), "application/json") {
            return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE));
        }
        let key = idempotency_key(request.headers())?;
        let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
        let body = body(request, app).await?;
        let once = key.map(|key| Once { key, route: route.unwrap_or_default(), body: TokenHash::of(&body) });
        Ok(Self(from_json(&body)?, once))
    }
}

/// The one `Idempotency-Key`, up to 255 visible characters.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let wrong = || {
        let mend = "must come once and be 1 to 255 visible characters";
        Problem::validation(vec![FieldError::new("Idempotency-Key", "malformed", mend)])
    };
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key.to_owned())),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// A query string. What is not asked for is an error, as it is in a body.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        from_form(parts.uri.query().unwrap_or_default().as_bytes()).map(Self)
    }
}

/// An id in the path. One that cannot be an id is the id of nothing: 404.
pub struct PathId<T>(pub T);

impl<T: FromStr> FromRequestParts<App> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let id = axum::extract::Path::<String>::from_request_parts(parts, app).await.ok();
        id.and_then(|id| id.parse().ok()).map(Self).ok_or_else(|| Problem::new(&problem::NOT_FOUND))
    }
}

/// The whole body, within its limits of size and time. Whoever sends it slowly must still be let in at its end: a
/// credential that was ended meanwhile does nothing any more.
pub async fn body(mut request: Request, app: &App) -> Result<Bytes, Problem> {
    DefaultBodyLimit::max(MAX_BODY_BYTES).apply(&mut request);
    let standing = request.extensions().get::<Standing>().copied();
    match tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, app)).await {
        Ok(Ok(bytes)) => {
            if let Some(Standing(standing)) = standing {
                app.auth().confirm(standing).await?;
            }
            Ok(bytes)
        }
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(Problem::new(&problem::BODY_TOO_LARGE))
        }
        Ok(Err(_)) => Err(Problem::new(&problem::MALFORMED_REQUEST)),
        Err(_elapsed) => Err(Problem::new(&problem::REQUEST_TIMEOUT)),
    }
}

/// Whether the body says to be of this media type, parameters aside.
pub fn has_type(headers: &HeaderMap, media_type: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type))
}

/// Reads a JSON object of a known shape. serde would take an array for one too, by the order of its fields.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::new(&problem::MALFORMED_JSON).with_detail("The body must be a JSON object."));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        if error.inner().is_data() {
            Problem::validation(vec![FieldError::wrong_shape(&error.path().to_string(), error.inner())])
        } else {
            Problem::new(&problem::MALFORMED_JSON)
        }
    })?;
    json.end().map_err(|_| Problem::new(&problem::MALFORMED_JSON))?;
    Ok(value)
}

/// Reads a form of a known shape.
pub fn from_form<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let form = serde_urlencoded::Deserializer::new(form_urlencoded::parse(bytes));
    serde_path_to_error::deserialize(form)
        .map_err(|error| Problem::validation(vec![FieldError::wrong_shape(&error.path().to_string(), error.inner())]))
}
