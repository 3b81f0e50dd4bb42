//! What a request says: its body, its query, an id in its path.

use std::{str::FromStr, time::Duration};

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, MatchedPath, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{
    auth::{Grant, IdempotentRequest},
    error::FieldError,
    http::{
        App,
        problem::{self, Problem},
    },
    model::TokenHash,
};

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
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
pub struct IdempotentJson<T>(pub T, pub Option<IdempotentRequest>);

impl<T: DeserializeOwned> FromRequest<App> for IdempotentJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        if !has_type(request.headers(), "application/json") {
            return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE));
        }
        let key = idempotency_key(request.headers())?;
        let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
        let body = body(request, app).await?;
        let once =
            key.map(|key| IdempotentRequest { key, route: route.unwrap_or_default(), body: TokenHash::of(&body) });
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
    let grant = request.extensions().get::<Grant>().copied();
    match tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, app)).await {
        Ok(Ok(bytes)) => {
            if let Some(grant) = grant {
                app.auth().recheck(grant).await?;
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

/// Tells a field that is null from one that is not there.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
