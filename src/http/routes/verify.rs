//! `/verify`: forward-auth, for proxies that ask before they let a request through.
//!
//! The proxy sends us the request's headers; a 2xx lets it through and our `X-Auth-*` headers go on with it. All of them are
//! set, also when there is nothing to say, so that a proxy which copies them overwrites what its client sent.

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};

use crate::{
    error::{Error, FieldError},
    http::{
        App,
        extract::{Anyone, Caller},
        openapi::{AuthErrors, InvalidQuery},
        problem::Problem,
    },
    model::{Principal, Scope},
};

/// What the proxy demands of the caller, besides being known: every role and every scope it names.
#[derive(Default)]
pub struct Demanded {
    roles: Vec<String>,
    scopes: Vec<Scope>,
}

impl Demanded {
    /// Reads a query. A word that is not known must not be passed over: it may be a demand, misspelt.
    fn parse(query: &str) -> Result<Self, Error> {
        let mut demanded = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "role" => demanded.roles.push(value.into_owned()),
                "scope" => {
                    for word in value.split(' ') {
                        let unknown = || Error::Invalid(vec![FieldError::new("scope", "unknown", "is not a scope")]);
                        demanded.scopes.push(word.parse().map_err(|_| unknown())?);
                    }
                }
                _ => {
                    let field = FieldError::new("", "unknown", "is not a parameter of this route: role and scope are");
                    return Err(Error::Invalid(vec![field]));
                }
            }
        }
        Ok(demanded)
    }

    fn are_met_by(&self, principal: &Principal) -> Result<(), Error> {
        if let Some(scope) = self.scopes.iter().find(|scope| !principal.scopes.contains(**scope)) {
            return Err(Error::Forbidden(*scope));
        }
        if self.roles.iter().all(|role| principal.user.roles.contains(role)) { Ok(()) } else { Err(Error::MissingRole) }
    }
}

impl FromRequestParts<App> for Demanded {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default())?)
    }
}

/// Who is calling, in headers, for a proxy that asks before it lets a request through. Any method will do.
#[utoipa::path(
    method(get, head, post, put, patch, delete), path = "/verify", tag = "services",
    operation_id = "verify",
    params(
        ("role" = Option<Vec<String>>, Query, description = "A role the caller must have"),
        ("scope" = Option<Vec<String>>, Query, description = "A scope the credential must have"),
    ),
    security(("basic" = []), ("bearer" = [])),
    responses(
        (status = 200, description = "Let it through", headers(
            ("X-Auth-User", description = "The username, in UTF-8"),
            ("X-Auth-User-Id", description = "The user's id"),
            ("X-Auth-Roles", description = "The roles, with commas between"),
            ("X-Auth-Scopes", description = "The scopes, with spaces between"),
            ("X-Auth-Method", description = "basic, opaque, jwt or personal"),
        )),
        AuthErrors, InvalidQuery,
    ),
)]
pub async fn verify(caller: Caller<Anyone>, demanded: Demanded) -> Result<Response, Problem> {
    let principal = caller.principal;
    demanded.are_met_by(&principal)?;
    let roles: Vec<_> = principal.user.roles.iter().collect();
    let identity = [
        ("x-auth-user", principal.user.username.as_str()),
        ("x-auth-user-id", &principal.user.id.to_string()),
        ("x-auth-roles", &roles.join(",")),
        ("x-auth-scopes", &principal.scopes.to_string()),
        ("x-auth-method", principal.method.as_str()),
    ];
    let mut response = StatusCode::OK.into_response();
    for (name, value) in identity {
        // A username has no control character, and everything else is ASCII; if that were not so, nobody comes in.
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| Error::Internal(error.into()))?;
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Ok(response)
}
