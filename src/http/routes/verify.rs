//! `/verify`: forward authentication, for reverse proxies that ask before they forward a request.
//!
//! The proxy sends the request's headers. On a 2xx it forwards the request with the `X-Auth-*` headers of the response.
//! All of them are always set, even if empty, so that a proxy that copies them overwrites what its client sent.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::auth::Authenticated;
use crate::error::{Error, FieldError};
use crate::http::App;
use crate::http::extract::{Anyone, Caller, authorization};
use crate::http::openapi::{AuthErrors, InvalidQuery};
use crate::http::pages::ReturnTo;
use crate::http::problem::Problem;
use crate::model::{Principal, Scope};

/// What the proxy requires of an authenticated caller: every role and every scope in the query.
#[derive(Default)]
pub struct Requirements {
    roles: Vec<String>,
    scopes: Vec<Scope>,
}

impl Requirements {
    /// Parses a query string. An unknown parameter is an error, since it may be a misspelt requirement.
    fn parse(query: &str) -> Result<Self, Error> {
        let mut requirements = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "role" => requirements.roles.push(value.into_owned()),
                "scope" => {
                    for word in value.split(' ') {
                        let unknown = || Error::Invalid(vec![FieldError::new("scope", "unknown", "is not a scope")]);
                        requirements.scopes.push(word.parse().map_err(|_| unknown())?);
                    }
                }
                "redirect" if value == "header" => {}
                _ => {
                    let message = "is not a parameter of this route: role, scope and redirect=header are";
                    let field = FieldError::new("", "unknown", message);
                    return Err(Error::Invalid(vec![field]));
                }
            }
        }
        Ok(requirements)
    }

    fn check(&self, principal: &Principal) -> Result<(), Error> {
        if let Some(scope) = self.scopes.iter().find(|scope| !principal.scopes.contains(**scope)) {
            return Err(Error::Forbidden(*scope));
        }
        let has = |role: &String| principal.roles().any(|one| one == role);
        if self.roles.iter().all(has) { Ok(()) } else { Err(Error::MissingRole) }
    }
}

/// Whoever sent the request that the proxy asks about: by the `Authorization` header or, for want of one, by the cookie of a
/// browser's session. A browser that opens a page without either is sent to sign in, and back to the page.
pub struct Visitor(Arc<Authenticated>);

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        if authorization(&parts.headers).map_err(|error| Problem::from(error).into_response())?.is_some() {
            let caller = Caller::<Anyone>::from_request_parts(parts, app).await;
            return caller.map(|caller| Self(caller.principal)).map_err(IntoResponse::into_response);
        }
        match Caller::<Anyone>::from_cookie(parts, app).await {
            Ok(Some(caller)) => Ok(Self(caller.principal)),
            Ok(None) => Err(refuse(parts, app)),
            Err(problem) => Err(problem.into_response()),
        }
    }
}

/// The answer to a request without a credential. With `redirect=header` a browser is sent to sign in by a 401 that says where,
/// since the `auth_request` of nginx passes on no redirect.
fn refuse(parts: &Parts, app: &App) -> Response {
    let query = parts.uri.query().unwrap_or_default();
    let in_header =
        form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "redirect" && value == "header");
    let location = sign_in(&parts.headers, app).map(|location| [(LOCATION, location)]);
    match (location, in_header) {
        (None, _) => Problem::from(Error::Unauthenticated).into_response(),
        (Some(location), true) => (location, Problem::from(Error::Unauthenticated)).into_response(),
        (Some(location), false) => (StatusCode::FOUND, location).into_response(),
    }
}

/// Where a browser signs in, if this is one that opens a page of an origin in `COUNTERSIGN_RETURN_TO`.
fn sign_in(headers: &HeaderMap, app: &App) -> Option<HeaderValue> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_page = text("sec-fetch-mode").map_or_else(
        // Not said over plain HTTP, nor by old browsers.
        || text("accept").is_some_and(|types| types.contains("text/html")),
        |mode| mode == "navigate",
    );
    if !is_page || !text("x-forwarded-method").is_none_or(|method| method == "GET" || method == "HEAD") {
        return None;
    }
    let [scheme, host, target] = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri"].map(text);
    let page = ReturnTo::parse(&format!("{}://{}{}", scheme?, host?, target?), app.return_to())?;
    // Of another service: whoever asks for a page of this one is no proxy.
    let ReturnTo::Other { url, .. } = page else { return None };
    let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("return_to", &url).finish();
    let location = format!("{}/signin?{query}", app.auth().public_url().trim_end_matches('/'));
    HeaderValue::try_from(location).ok()
}

impl FromRequestParts<App> for Requirements {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default())?)
    }
}

/// Authenticates a request for a reverse proxy, and returns the caller in headers. Accepts any method.
#[utoipa::path(
    method(get, head, post, put, patch, delete), path = "/verify", tag = "check callers",
    operation_id = "verify",
    params(
        ("role" = Option<Vec<String>>, Query, description = "A role the caller must have"),
        ("scope" = Option<Vec<String>>, Query, description = "A scope the credential must have"),
        ("redirect" = Option<String>, Query, description = "`header`: in place of a redirect to sign in, a 401 that has the address in `Location`"),
    ),
    security(("basic" = []), ("bearer" = [])),
    responses(
        (status = 200, description = "The proxy may forward the request", headers(
            ("X-Auth-User", description = "The username, in UTF-8"),
            ("X-Auth-User-Id", description = "The user's id"),
            ("X-Auth-Roles", description = "The roles, separated by commas, without those that grant a scope which the credential lacks"),
            ("X-Auth-Scopes", description = "The scopes, separated by spaces"),
            ("X-Auth-Method", description = "basic, opaque, jwt or personal"),
        )),
        (status = 302, description = "A browser that opens a page of an origin in COUNTERSIGN_RETURN_TO signs in first", headers(("Location"))),
        AuthErrors, InvalidQuery,
    ),
)]
pub async fn verify(Visitor(principal): Visitor, requirements: Requirements) -> Result<Response, Problem> {
    requirements.check(&principal)?;
    let roles: Vec<_> = principal.roles().collect();
    let identity = [
        ("x-auth-user", principal.user.username.as_str()),
        ("x-auth-user-id", &principal.user.id.to_string()),
        ("x-auth-roles", &roles.join(",")),
        ("x-auth-scopes", &principal.scopes.to_string()),
        ("x-auth-method", principal.method.as_str()),
    ];
    let mut response = StatusCode::OK.into_response();
    for (name, value) in identity {
        // Cannot fail: usernames have no control characters, and all else is ASCII. If it did, the proxy must refuse.
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| Error::Internal(error.into()))?;
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Ok(response)
}
