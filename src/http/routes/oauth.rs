//! `/oauth`: introspection (RFC 7662) and revocation (RFC 7009), as OAuth libraries expect them. Requests are forms;
//! unknown parameters are ignored (RFC 6749, section 3.2). Errors have the additional member `error`.

use axum::Json;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::http::App;
use crate::http::extract::{Anyone, Caller, Introspect, body, has_type};
use crate::http::openapi::{AuthErrors, InvalidTokenRequest};
use crate::http::problem::{self, Problem};
use crate::model::{Method, Principal, Roles, SessionId, Timestamp, UserId};

/// The token to introspect or revoke.
#[derive(ToSchema)]
pub struct TokenRequest {
    /// An opaque token, a JWT, a personal access token, or the value of HTTP Basic.
    #[schema(value_type = String, format = Password)]
    token: Zeroizing<String>,
    /// Ignored: the shape of a token determines its kind.
    #[expect(dead_code, reason = "for the API document")]
    #[schema(example = "access_token")]
    token_type_hint: Option<String>,
}

impl FromRequest<App> for TokenRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        if !has_type(request.headers(), "application/x-www-form-urlencoded") {
            return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE)
                .with_detail("Send application/x-www-form-urlencoded, with the token as `token`."));
        }
        let body = body(request, app).await?;
        let mut tokens = form_urlencoded::parse(&body).filter(|(name, _)| name == "token").map(|(_, token)| token);
        match (tokens.next(), tokens.next()) {
            (Some(token), None) if !token.is_empty() => {
                Ok(Self { token: Zeroizing::new(token.into_owned()), token_type_hint: None })
            }
            _ => Err(Problem::new(&problem::INVALID_REQUEST)),
        }
    }
}

/// The state of a token (RFC 7662, section 2.2). For an inactive token, `active` is the only member.
#[derive(Default, Serialize, ToSchema)]
pub struct Introspection {
    #[schema(example = true)]
    active: bool,
    /// The scopes of the token, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "profile users:read tokens")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "sergio")]
    username: Option<String>,
    /// `Bearer`, or `Basic` for a username and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Bearer")]
    token_type: Option<&'static str>,
    /// When the token expires, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1_798_000_000)]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1_797_998_200)]
    iat: Option<i64>,
    /// The user's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>)]
    sub: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "countersign")]
    aud: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "http://localhost:5000")]
    iss: Option<String>,
    /// The id of the token's session, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>)]
    sid: Option<SessionId>,
    /// The display name of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Sergio R.")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, example = json!(["user"]))]
    roles: Option<Roles>,
    /// `opaque`, `jwt`, `personal` or `basic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "opaque")]
    method: Option<Method>,
}

impl Introspection {
    fn of(app: &App, principal: &Principal) -> Self {
        let token_type = if principal.method == Method::Basic { "Basic" } else { "Bearer" };
        Self {
            active: true,
            scope: Some(principal.scopes.to_string()),
            token_type: Some(token_type),
            exp: principal.expires_at.map(Timestamp::as_unix_seconds),
            iat: principal.issued_at.map(Timestamp::as_unix_seconds),
            sub: Some(principal.user.id),
            aud: Some(app.auth().audience().to_owned()),
            iss: Some(app.auth().issuer().to_owned()),
            sid: principal.session,
            name: Some(principal.user.display_name().to_owned()),
            username: Some(principal.user.username.clone()),
            roles: Some(principal.roles().collect()),
            method: Some(principal.method),
        }
    }
}

/// Returns whether a token is active, and its user and scopes (RFC 7662).
#[utoipa::path(
    post, path = "/oauth/introspect", tag = "check callers", security(("basic" = []), ("bearer" = ["introspect"])),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Introspection), InvalidTokenRequest, AuthErrors),
)]
pub async fn introspect_token(
    app: App,
    caller: Caller<Introspect>,
    request: TokenRequest,
) -> Result<Json<Introspection>, Problem> {
    let principal = app.auth().introspect(&request.token, caller.origin).await?;
    Ok(Json(principal.map_or_else(Introspection::default, |principal| Introspection::of(&app, &principal))))
}

/// Revokes a token, and ends its session if it has one (RFC 7009). Callers may revoke their own tokens; others require
/// the scope `introspect`. An inactive token is not an error.
#[utoipa::path(
    post, path = "/oauth/revoke", tag = "check callers", security(("basic" = []), ("bearer" = [])),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200), InvalidTokenRequest, AuthErrors),
)]
pub async fn revoke_presented_token(
    app: App,
    caller: Caller<Anyone>,
    request: TokenRequest,
) -> Result<StatusCode, Problem> {
    app.auth().revoke(&caller.principal, caller.actor(), &request.token, caller.origin).await?;
    Ok(StatusCode::OK)
}
