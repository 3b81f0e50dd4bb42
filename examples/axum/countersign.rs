//! A tower layer that lets in who has a JWT of Countersign's.
//!
//! The signature is checked with the key set (RFC 7517), the claims as RFC 9068 says, and the revocation with the status
//! list that the token names (draft-ietf-oauth-status-list). When keys or list cannot be had, nobody is let in and nobody
//! is told that their token is bad: 503.

use std::{
    collections::HashMap,
    io::Read,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation,
    jwk::{Jwk, JwkSet},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::Mutex;
use tower::{Layer, Service};

/// As set by `COUNTERSIGN_JWT_ALGORITHM`. A token does not choose.
const ALGORITHM: Algorithm = Algorithm::ES256;
/// How long Countersign says that its key set may be kept.
const KEYS_FOR: Duration = Duration::from_secs(300);
/// How soon we ask again when a key is not known or nothing was to be had, however many tokens make us want to.
const AGAIN: Duration = Duration::from_secs(1);
/// The most lists that are kept, and the most bytes of one.
const MAX_LISTS: usize = 32;
const MAX_LIST_BYTES: u64 = 1 << 20;
/// How far Countersign's clock may be ahead of ours, in seconds.
const CLOCK_SKEW: u64 = 5;

/// Who is calling, for handlers to take as `Extension<User>`.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// The id, which stays.
    pub sub: String,
    /// What they are called.
    pub name: String,
    /// What they were when the token was issued.
    pub roles: Vec<String>,
    status: Status,
    exp: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Status {
    status_list: Place,
}

#[derive(Clone, Debug, Deserialize)]
struct Place {
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

/// Why nobody is let in.
#[derive(Debug)]
pub enum Refusal {
    /// There is no bearer token.
    Missing,
    /// There is more than one credential: we would take one, and a proxy before us perhaps the other.
    Ambiguous,
    /// The token is not valid, or not any more.
    Invalid,
    /// The user has not the role.
    Role,
    /// Whether the token is valid cannot be told now.
    Unavailable,
}

/// Countersign, as its clients know it. Cloning it gives another handle to the same one.
#[derive(Clone)]
pub struct Countersign(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    url: String,
    issuer: String,
    audience: String,
    keys: Mutex<Keys>,
    lists: Mutex<HashMap<String, Kept>>,
}

#[derive(Default)]
struct Keys {
    by_kid: HashMap<String, DecodingKey>,
    fetched_at: Option<Instant>,
    asked_at: Option<Instant>,
}

/// A list, or that there was none to be had.
struct Kept {
    bits: Option<Arc<Vec<u8>>>,
    until: Instant,
}

impl Countersign {
    /// The one that is reached at `url` and issues tokens as `issuer` for `audience`.
    pub fn new(url: &str, issuer: &str, audience: &str) -> Result<Self, reqwest::Error> {
        // A redirect could lead anywhere.
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

    /// A layer that lets in every user.
    pub fn require_user(&self) -> RequireUser {
        RequireUser { countersign: self.clone(), role: None }
    }

    /// A layer that lets in users with this role.
    pub fn require_role(&self, role: &'static str) -> RequireUser {
        RequireUser { countersign: self.clone(), role: Some(role) }
    }

    /// Whose token this is.
    pub async fn verify(&self, token: &str) -> Result<User, Refusal> {
        let mut validation = Validation::new(ALGORITHM);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.0.issuer]);
        validation.set_audience(&[&self.0.audience]);
        validation.validate_nbf = true;
        validation.leeway = CLOCK_SKEW;
        let user: User = self.decode(token, "at+jwt", &validation).await?;
        // The skew is for tokens that seem to be from the future; one that has run out has run out.
        if user.exp <= jsonwebtoken::get_current_timestamp() || self.is_revoked(&user.status.status_list).await? {
            return Err(Refusal::Invalid);
        }
        Ok(user)
    }

    /// The claims of a token of this type, if one of Countersign's keys signed it.
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
        // Whoever comes while the keys are on their way waits for them here and asks no second time.
        let mut keys = self.0.keys.lock().await;
        let within = |at: Option<Instant>, time| at.is_some_and(|at: Instant| at.elapsed() < time);
        let is_known = keys.by_kid.contains_key(kid) && within(keys.fetched_at, KEYS_FOR);
        if !is_known && !within(keys.asked_at, AGAIN) {
            keys.asked_at = Some(Instant::now());
            let set = self.get("/.well-known/jwks.json").await?;
            let set: JwkSet = serde_json::from_slice(&set).map_err(|_| Refusal::Unavailable)?;
            let named = |jwk: &Jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?));
            keys.by_kid = set.keys.iter().filter_map(named).collect();
            keys.fetched_at = Some(Instant::now());
        }
        if !within(keys.fetched_at, KEYS_FOR) {
            return Err(Refusal::Unavailable);
        }
        keys.by_kid.get(kid).cloned().ok_or(Refusal::Invalid)
    }

    async fn is_revoked(&self, place: &Place) -> Result<bool, Refusal> {
        // A token must not send us to any other place, nor by `..` to another route.
        let id = place
            .uri
            .strip_prefix(self.0.issuer.trim_end_matches('/'))
            .and_then(|path| path.strip_prefix("/statuslists/"));
        let id = id.filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')).ok_or(Refusal::Invalid)?;
        let mut lists = self.0.lists.lock().await;
        if lists.get(id).is_none_or(|list| Instant::now() >= list.until) {
            let fetched = self.fetch_list(id, &place.uri).await;
            lists.retain(|_, list| Instant::now() < list.until);
            if lists.len() >= MAX_LISTS {
                lists.clear();
            }
            lists.insert(id.to_owned(), fetched.unwrap_or(Kept { bits: None, until: Instant::now() + AGAIN }));
        }
        let bits = lists.get(id).and_then(|list| list.bits.clone()).ok_or(Refusal::Unavailable)?;
        drop(lists);
        let byte = bits.get(place.idx / 8).ok_or(Refusal::Invalid)?;
        Ok(byte >> (place.idx % 8) & 1 == 1)
    }

    async fn fetch_list(&self, id: &str, uri: &str) -> Result<Kept, Refusal> {
        let asked_at = Instant::now();
        let token = self.get(&format!("/statuslists/{id}")).await?;
        let token = str::from_utf8(&token).map_err(|_| Refusal::Unavailable)?;
        let mut validation = Validation::new(ALGORITHM);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.sub = Some(uri.to_owned());
        validation.validate_aud = false;
        validation.leeway = 0;
        // Whatever is wrong with a list is not the fault of whoever shows a token.
        let list: ListClaims =
            self.decode(token, "statuslist+jwt", &validation).await.map_err(|_| Refusal::Unavailable)?;
        let bits = unpacked(&list.status_list).ok_or(Refusal::Unavailable)?;
        Ok(Kept { bits: Some(Arc::new(bits)), until: asked_at + Duration::from_secs(list.ttl) })
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, Refusal> {
        let answer = self.0.http.get(format!("{}{path}", self.0.url)).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status).map_err(|_| Refusal::Unavailable)?;
        Ok(answer.bytes().await.map_err(|_| Refusal::Unavailable)?.to_vec())
    }
}

/// The bytes of a list of single bits.
fn unpacked(list: &Bits) -> Option<Vec<u8>> {
    let packed = URL_SAFE_NO_PAD.decode(&list.lst).ok().filter(|_| list.bits == 1)?;
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(packed.as_slice()).take(MAX_LIST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Lets in users, with a role if one is asked for, and puts the [`User`] where handlers find it.
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
        let (guard, token) = (self.guard.clone(), presented(request.headers()));
        // The service that was asked whether it is ready is the one to call; a clone stays here for the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            match guard.admit(token).await {
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
    async fn admit(&self, token: Result<String, Refusal>) -> Result<User, Refusal> {
        let user = self.countersign.verify(&token?).await?;
        match self.role {
            Some(role) if !user.roles.iter().any(|has| has == role) => Err(Refusal::Role),
            _ => Ok(user),
        }
    }
}

/// The bearer token of a request.
fn presented(headers: &HeaderMap) -> Result<String, Refusal> {
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
