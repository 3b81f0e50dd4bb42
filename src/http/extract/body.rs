//! Extractors for the body, the query and an id in the path.

use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, MatchedPath, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use serde_path_to_error::Segment;

use crate::auth::{Grant, IdempotentRequest};
use crate::error::FieldError;
use crate::http::App;
use crate::http::problem::{self, Problem};
use crate::model::TokenHash;

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most fields of a wrong shape that are named: each costs a look at the whole body.
const MAX_SHAPE_ERRORS: usize = 16;
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

/// A JSON body, and the `Idempotency-Key` of the request if it has one.
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
        let request =
            key.map(|key| IdempotentRequest { key, route: route.unwrap_or_default(), body: TokenHash::of(&body) });
        Ok(Self(from_json(&body)?, request))
    }
}

/// Returns the single `Idempotency-Key`: 1 to 255 visible characters.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let invalid = || {
        let message = "must come once and be 1 to 255 visible characters";
        Problem::validation(vec![FieldError::new("Idempotency-Key", "malformed", message)])
    };
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key.to_owned())),
            _ => Err(invalid()),
        },
        _ => Err(invalid()),
    }
}

/// The query string. An unknown parameter is an error, as in a body.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        from_form(parts.uri.query().unwrap_or_default().as_bytes()).map(Self)
    }
}

/// An id in the path. A malformed id gets 404, like an unknown one.
pub struct PathId<T>(pub T);

impl<T: FromStr> FromRequestParts<App> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let id = axum::extract::Path::<String>::from_request_parts(parts, app).await.ok();
        id.and_then(|id| id.parse().ok()).map(Self).ok_or_else(|| Problem::new(&problem::NOT_FOUND))
    }
}

/// Reads the whole body, within the limits of size and time. Then rechecks the [`Grant`] of the caller, if there is
/// one: a session or token that was revoked during a slow upload must have no effect.
pub async fn body(mut request: Request, app: &App) -> Result<Bytes, Problem> {
    refuse_encoding(request.headers())?;
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

/// Refuses a compressed body: what 64 KiB of it expand to, nobody knows before.
pub fn refuse_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Ok(());
    }
    let detail = "The body is compressed. Send it without Content-Encoding.";
    Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE).with_detail(detail))
}

/// Returns whether `Content-Type` is this media type, ignoring parameters.
pub fn has_type(headers: &HeaderMap, media_type: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type))
}

/// Deserializes a JSON object. An array is refused, since serde would read one as the fields in order.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::new(&problem::MALFORMED_JSON).with_detail("The body must be a JSON object."));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        if error.inner().is_data() {
            Problem::validation(shape_errors::<T>(bytes, wrong_shape(&error)))
        } else {
            Problem::new(&problem::MALFORMED_JSON)
        }
    })?;
    json.end().map_err(|_| Problem::new(&problem::MALFORMED_JSON))?;
    Ok(value)
}

/// All fields of an object that are missing, unknown or of the wrong type, beginning with the first, at which serde stopped.
/// Each is mended, and the rest looked at again.
fn shape_errors<T: DeserializeOwned>(bytes: &[u8], first: FieldError) -> Vec<FieldError> {
    let mut found = vec![first];
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(bytes) else { return found };
    for _ in 0..MAX_SHAPE_ERRORS {
        let Some((name, wrong)) = first_wrong::<T>(&fields) else { break };
        if !found.contains(&wrong) {
            found.push(wrong);
        }
        // What has to be there gets a value of another type in its place, until one fits.
        fields.remove(&name);
        let mut others = [json!(""), json!(0), json!(false), json!([]), json!({})].into_iter();
        while first_wrong::<T>(&fields).is_some_and(|(other, _)| other == name) {
            let Some(other) = others.next() else { return found };
            fields.insert(name.clone(), other);
        }
    }
    found
}

/// The first field of a wrong shape: its name as the caller wrote it, that of the outermost one where it is within another.
fn first_wrong<T: DeserializeOwned>(fields: &Map<String, Value>) -> Option<(String, FieldError)> {
    let error = serde_path_to_error::deserialize::<_, T>(fields).err()?;
    let wrong = wrong_shape(&error);
    let outermost = error.path().iter().find_map(|segment| match segment {
        Segment::Map { key } => Some(key.clone()),
        _ => None,
    });
    Some((outermost.unwrap_or_else(|| wrong.field.clone()), wrong))
}

fn wrong_shape<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>) -> FieldError {
    FieldError::wrong_shape(&error.path().to_string(), error.inner())
}

/// Deserializes a form or a query string.
pub fn from_form<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let form = serde_urlencoded::Deserializer::new(form_urlencoded::parse(bytes));
    serde_path_to_error::deserialize(form).map_err(|error| Problem::validation(vec![wrong_shape(&error)]))
}

/// Deserializes an optional field so that null (`Some(None)`) differs from an absent field (`None`, by `default`).
pub fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(source: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(source).map(Some)
}
