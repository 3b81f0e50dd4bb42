//! A tower layer that requires a JWT of Countersign.
//!
//! The layer checks the signature with the key set (RFC 7517), the claims (RFC 9068), and the revocation with the
//! status list that the token names (draft-ietf-oauth-status-list). Without keys or list it fails closed with a 503.

use std::collections::HashMap;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tower::{Layer, Service};

/// The algorithm set by `COUNTERSIGN_JWT_ALGORITHM`. The header of a token does not choose it.
const ALGORITHM: Algorithm = Algorithm::ES256;
/// The `max-age` of the key set.
const KEYS_MAX_AGE: Duration = Duration::from_secs(300);
/// The shortest time between two fetches after an unknown key or a failure, however many tokens ask for one.
const REFETCH: Duration = Duration::from_secs(1);
/// The most cached lists, and the most bytes of one.
const MAX_LISTS: usize = 32;
const MAX_LIST_BYTES: u64 = 1 << 20;
/// How far Countersign's clock may be ahead of ours, in seconds.
const CLOCK_SKEW: u64 = 5;

/// The authenticated user. Handlers extract it as `Extension<User>`.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// The id, which never changes.
    pub sub: String,
    /// The display name.
    pub name: String,
    /// The roles at the time of issue.
    pub roles: Vec<String>,
    status: Status,
    exp: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Status {
    status_list: StatusRef,
}

#[derive(Clone, Debug, Deserialize)]
struct StatusRef {
    idx: usize,
    uri: String,
}

#[derive(Deserialize)]
struct ListClaims {
    ttl: u64,
    status_list: Bits,
}

#[derive(Deserialize)]
struct Bits {
    bits: u8,
    lst: String,
}

/// Why a request is refused.
#[derive(Debug)]
pub enum Refusal {
    /// There is no bearer token.
    Missing,
    /// There is more than one credential. A proxy before us could have checked another one than we would.
    Ambiguous,
    /// The token is invalid, expired or revoked.
    Invalid,
    /// The user lacks the role.
    Role,
    /// The token cannot be checked at the moment.
    Unavailable,
}

/// A client of Countersign with its caches. Clones share them.
#[derive(Clone)]
pub struct Countersign(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    url: String,
    issuer: String,
    audience: String,
    keys: Mutex<Keys>,
    lists: Mutex<HashMap<String, Cached>>,
}

#[derive(Default)]
struct Keys {
    by_kid: HashMap<String, DecodingKey>,
    fetched_at: Option<Instant>,
    asked_at: Option<Instant>,
}

/// A status list, or a failure to fetch it.
struct Cached {
    bits: Option<Arc<Vec<u8>>>,
    until: Instant,
}

impl Countersign {
    /// A client for the Countersign at `url`, which issues tokens as `issuer` for `audience`.
    pub fn new(url: &str, issuer: &str, audience: &str) -> Result<Self, reqwest::Error> {
        // A redirect could lead to an untrusted server.
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self(Arc::new(Inner {
            http,
            url: url.trim_end_matches('/').to_owned(),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            keys: Mutex::default(),
            lists: Mutex::default(),
        })))
    }

    /// A layer that requires a user.
    pub fn require_user(&self) -> RequireUser {
        RequireUser { countersign: self.clone(), role: None }
    }

    /// A layer that requires a user with this role.
    pub fn require_role(&self, role: &'static str) -> RequireUser {
        RequireUser { countersign: self.clone(), role: Some(role) }
    }

    /// Verifies a token and returns its user.
    pub async fn verify(&self, token: &str) -> Result<User, Refusal> {
        let mut validation = Validation::new(ALGORITHM);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.0.issuer]);
        validation.set_audience(&[&self.0.audience]);
        validation.validate_nbf = true;
        validation.leeway = CLOCK_SKEW;
        let user: User = self.decode(token, "at+jwt", &validation).await?;
        // The leeway is for `nbf`. The expiry is exact.
        if user.exp <= jsonwebtoken::get_current_timestamp() || self.is_revoked(&user.status.status_list).await? {
            return Err(Refusal::Invalid);
        }
        Ok(user)
    }

    /// Verifies the signature and type of a token and returns its claims.
    async fn decode<C: DeserializeOwned>(&self, token: &str, typ: &str, validation: &Validation) -> Result<C, Refusal> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Invalid)?;
        if header.typ.as_deref() != Some(typ) {
            return Err(Refusal::Invalid);
        }
        let key = self.key(&header).await?;
        jsonwebtoken::decode(token, &key, validation).map(|token| token.claims).map_err(|_| Refusal::Invalid)
    }

    async fn key(&self, header: &Header) -> Result<DecodingKey, Refusal> {
        let kid = header.kid.as_deref().ok_or(Refusal::Invalid)?;
        // Concurrent requests wait here for the one that fetches the keys.
        let mut keys = self.0.keys.lock().await;
        let within = |at: Option<Instant>, time| at.is_some_and(|at: Instant| at.elapsed() < time);
        let is_known = keys.by_kid.contains_key(kid) && within(keys.fetched_at, KEYS_MAX_AGE);
        if !is_known && !within(keys.asked_at, REFETCH) {
            keys.asked_at = Some(Instant::now());
            let set = self.get("/.well-known/jwks.json").await?;
            let set: JwkSet = serde_json::from_slice(&set).map_err(|_| Refusal::Unavailable)?;
            let named = |jwk: &Jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?));
            keys.by_kid = set.keys.iter().filter_map(named).collect();
            keys.fetched_at = Some(Instant::now());
        }
        if !within(keys.fetched_at, KEYS_MAX_AGE) {
            return Err(Refusal::Unavailable);
        }
        keys.by_kid.get(kid).cloned().ok_or(Refusal::Invalid)
    }

    async fn is_revoked(&self, reference: &StatusRef) -> Result<bool, Refusal> {
        // A token must not make us fetch another host, or another route by `..`.
        let id = reference
            .uri
            .strip_prefix(self.0.issuer.trim_end_matches('/'))
            .and_then(|path| path.strip_prefix("/statuslists/"));
        let id = id.filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')).ok_or(Refusal::Invalid)?;
        let mut lists = self.0.lists.lock().await;
        if lists.get(id).is_none_or(|list| Instant::now() >= list.until) {
            let fetched = self.fetch_list(id, &reference.uri).await;
            lists.retain(|_, list| Instant::now() < list.until);
            if lists.len() >= MAX_LISTS {
                lists.clear();
            }
            lists.insert(id.to_owned(), fetched.unwrap_or(Cached { bits: None, until: Instant::now() + REFETCH }));
        }
        let bits = lists.get(id).and_then(|list| list.bits.clone()).ok_or(Refusal::Unavailable)?;
        drop(lists);
        let byte = bits.get(reference.idx / 8).ok_or(Refusal::Invalid)?;
        Ok(byte >> (reference.idx % 8) & 1 == 1)
    }

    async fn fetch_list(&self, id: &str, uri: &str) -> Result<Cached, Refusal> {
        let asked_at = Instant::now();
        let token = self.get(&format!("/statuslists/{id}")).await?;
        let token = str::from_utf8(&token).map_err(|_| Refusal::Unavailable)?;
        let mut validation = Validation::new(ALGORITHM);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.sub = Some(uri.to_owned());
        validation.validate_aud = false;
        validation.leeway = 0;
        // A faulty list says nothing about the token.
        let list: ListClaims =
            self.decode(token, "statuslist+jwt", &validation).await.map_err(|_| Refusal::Unavailable)?;
        let bits = decode_list(&list.status_list).ok_or(Refusal::Unavailable)?;
        Ok(Cached { bits: Some(Arc::new(bits)), until: asked_at + Duration::from_secs(list.ttl) })
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, Refusal> {
        let answer = self.0.http.get(format!("{}{path}", self.0.url)).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status).map_err(|_| Refusal::Unavailable)?;
        Ok(answer.bytes().await.map_err(|_| Refusal::Unavailable)?.to_vec())
    }
}

/// Decodes a list with one bit per token.
fn decode_list(list: &Bits) -> Option<Vec<u8>> {
    let packed = URL_SAFE_NO_PAD.decode(&list.lst).ok().filter(|_| list.bits == 1)?;
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(packed.as_slice()).take(MAX_LIST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A layer that requires a user, and a role if one is set. It adds the [`User`] to the extensions of the request.
#[derive(Clone)]
pub struct RequireUser {
    countersign: Countersign,
    role: Option<&'static str>,
}

impl<S> Layer<S> for RequireUser {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A service behind [`RequireUser`].
#[derive(Clone)]
pub struct Guarded<S> {
    guard: RequireUser,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (guard, token) = (self.guard.clone(), bearer_token(request.headers()));
        // Call the service that `poll_ready` found ready, and keep its clone for the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            match guard.authorize(token).await {
                Ok(user) => {
                    request.extensions_mut().insert(user);
                    inner.call(request).await
                }
                Err(refusal) => Ok(refusal.into_response()),
            }
        })
    }
}

impl RequireUser {
    async fn authorize(&self, token: Result<String, Refusal>) -> Result<User, Refusal> {
        let user = self.countersign.verify(&token?).await?;
        match self.role {
            Some(role) if !user.roles.iter().any(|has| has == role) => Err(Refusal::Role),
            _ => Ok(user),
        }
    }
}

/// Extracts the bearer token of a request.
fn bearer_token(headers: &HeaderMap) -> Result<String, Refusal> {
    let mut headers = headers.get_all(header::AUTHORIZATION).iter();
    let header = match (headers.next(), headers.next()) {
        (_, Some(_)) => return Err(Refusal::Ambiguous),
        (header, None) => header.and_then(|value| value.to_str().ok()).ok_or(Refusal::Missing)?,
    };
    match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim_start().to_owned()),
        _ => Err(Refusal::Missing),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, name, value, text) = match self {
            Self::Missing => {
                (StatusCode::UNAUTHORIZED, header::WWW_AUTHENTICATE, "Bearer", "A bearer token is needed.\n")
            }
            Self::Invalid => (
                StatusCode::UNAUTHORIZED,
                header::WWW_AUTHENTICATE,
                r#"Bearer error="invalid_token""#,
                "The token is not valid, or no longer.\n",
            ),
            Self::Role => (
                StatusCode::FORBIDDEN,
                header::WWW_AUTHENTICATE,
                r#"Bearer error="insufficient_scope""#,
                "You do not have the role for this.\n",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                header::RETRY_AFTER,
                "1",
                "Whether the token is valid cannot be told now.\n",
            ),
            Self::Ambiguous => {
                return (StatusCode::BAD_REQUEST, "There is more than one Authorization header.\n").into_response();
            }
        };
        (status, [(name, value)], text).into_response()
    }
}
