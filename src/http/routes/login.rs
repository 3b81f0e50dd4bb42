//! `/login`, `/refresh` and `/logout`.

use axum::Json;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Credential, Login, LoginOutcome, Refreshed};
use crate::error::Error;
use crate::http::App;
use crate::http::extract::{
    Anyone, Caller, Query, authorization, body, from_form, from_json, has_type, refuse_foreign_page,
};
use crate::http::openapi::{AuthErrors, InvalidBody, InvalidQuery, NoSession, OpaqueRequired, WrongPassword};
use crate::http::problem::{self, Problem};
use crate::http::request_context::RequestContext;
use crate::model::{Client, Roles, UserId};

/// Username and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Case is ignored.
    #[schema(example = "sergio")]
    username: String,
    #[schema(value_type = String, format = Password, example = "my-password")]
    password: SecretString,
}

/// A new session and its two tokens. Either token authenticates; ending the session revokes both.
#[derive(Serialize, ToSchema)]
pub struct LoginView {
    /// A JWT (RFC 9068), verified by its signature.
    #[schema(example = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiJ9…")]
    token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the JWT expires.
    #[schema(example = 1800)]
    expires_in: u64,
    /// A random UUID, looked up in the database.
    #[schema(value_type = uuid::Uuid)]
    opaque_token: String,
    /// Seconds until the opaque token and the session expire.
    #[schema(example = 2_592_000)]
    opaque_expires_in: u64,
    user: LoginUser,
}

/// The user who logged in.
#[derive(Serialize, ToSchema)]
pub struct LoginUser {
    #[schema(value_type = uuid::Uuid)]
    id: UserId,
    #[schema(example = "sergio")]
    username: String,
    #[schema(example = "Sergio R.")]
    name: String,
    #[schema(value_type = Vec<String>, example = json!(["user"]))]
    roles: Roles,
}

impl From<Login> for LoginView {
    fn from(login: Login) -> Self {
        Self {
            token: login.jwt.token,
            token_type: "Bearer",
            expires_in: login.jwt.expires_in.as_secs(),
            opaque_token: login.opaque.reveal(),
            opaque_expires_in: login.opaque_expires_in.as_secs(),
            user: LoginUser {
                id: login.user.id,
                name: login.user.display_name().to_owned(),
                username: login.user.username,
                roles: login.user.roles,
            },
        }
    }
}

/// Logs in with username and password: starts a session with two tokens.
#[utoipa::path(
    post, path = "/login", tag = "log in",
    request_body(content((LoginRequest = "application/json"), (LoginRequest = "application/x-www-form-urlencoded"))),
    security((), ("basic" = [])),
    responses((status = 200, body = LoginView), WrongPassword, InvalidBody),
)]
pub async fn login(
    app: App,
    context: RequestContext,
    client: Client,
    credentials: LoginRequest,
) -> Result<Json<LoginView>, Problem> {
    match app.auth().login(&credentials.username, &credentials.password, client).await? {
        LoginOutcome::Session(login) => {
            context.record_login(&login.user);
            Ok(Json((*login).into()))
        }
        LoginOutcome::Pending(step) => Err(Error::StepRequired(step).into()),
    }
}

/// The new tokens of a refreshed session.
#[derive(Serialize, ToSchema)]
pub struct RefreshView {
    /// The new JWT.
    #[schema(example = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiJ9…")]
    token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the JWT expires.
    #[schema(example = 1800)]
    expires_in: u64,
    /// The new opaque token, only with `rotate=true`. The presented one is then no longer valid.
    #[schema(value_type = Option<uuid::Uuid>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    opaque_token: Option<String>,
    /// Seconds until the session and its opaque token expire.
    #[schema(example = 2_592_000)]
    opaque_expires_in: u64,
}

impl From<Refreshed> for RefreshView {
    fn from(refreshed: Refreshed) -> Self {
        Self {
            token: refreshed.jwt.token,
            token_type: "Bearer",
            expires_in: refreshed.jwt.expires_in.as_secs(),
            opaque_token: refreshed.opaque.map(|token| token.reveal()),
            opaque_expires_in: refreshed.opaque_expires_in.as_secs(),
        }
    }
}

/// The options of a refresh.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RefreshQuery {
    /// Whether to rotate the opaque token as well.
    #[serde(default)]
    rotate: bool,
}

/// Issues a new JWT for the session of the presented opaque token; with `rotate=true` also a new opaque token.
/// Presenting an exchanged token again, on any route, ends its session.
#[utoipa::path(
    post, path = "/refresh", tag = "log in", params(RefreshQuery), security(("bearer" = [])),
    responses((status = 200, body = RefreshView), AuthErrors, OpaqueRequired, InvalidQuery),
)]
pub async fn refresh(
    app: App,
    caller: Caller<Anyone>,
    Query(query): Query<RefreshQuery>,
) -> Result<Json<RefreshView>, Problem> {
    let refreshed = app.auth().refresh(&caller.principal, caller.actor(), query.rotate).await?;
    Ok(Json(refreshed.into()))
}

/// Ends the session of the presented token, and with it all tokens of that session.
#[utoipa::path(
    post, path = "/logout", tag = "log in", security(("basic" = []), ("bearer" = [])),
    responses(
        (status = 204),
        NoSession,
        AuthErrors,
    ),
)]
pub async fn logout(app: App, caller: Caller<Anyone>) -> Result<StatusCode, Problem> {
    app.auth().logout(&caller.principal, caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads the credentials from a JSON body, a form, or HTTP Basic without a body. A bearer token is ignored, since many
/// clients send it with every request.
impl FromRequest<App> for LoginRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let basic = match authorization(request.headers())?.map(Credential::parse) {
            Some(Ok(Credential::Basic { username, password })) => {
                refuse_foreign_page(request.headers(), app.auth().public_url())?;
                Some(Self { username: username.to_string(), password })
            }
            Some(Err(error @ Error::InvalidCredentials)) => return Err(error.into()),
            _ => None,
        };
        let is_json = has_type(request.headers(), "application/json");
        let is_form = has_type(request.headers(), "application/x-www-form-urlencoded");
        let body = body(request, app).await?;
        match basic {
            Some(basic) if body.is_empty() => Ok(basic),
            Some(_) => Err(Error::AmbiguousCredential.into()),
            None if is_json => from_json(&body),
            // `curl -d` declares any data to be a form.
            None if is_form && body.trim_ascii_start().starts_with(b"{") => {
                let detail = "The body looks like JSON, but the Content-Type says it is a form. Send application/json.";
                Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE).with_detail(detail))
            }
            None if is_form => from_form(&body),
            None => Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE).with_detail(
                "Send application/json, application/x-www-form-urlencoded, or HTTP Basic without a body.",
            )),
        }
    }
}
