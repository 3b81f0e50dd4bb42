//! `/login`, `/refresh` and `/logout`.

use axum::{
    Json,
    extract::{FromRequest, Request},
    http::StatusCode,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::{Credential, Login, LoginOutcome, Refreshed},
    error::Error,
    http::{
        App,
        extract::{Anyone, Caller, Query, authorization, body, from_form, from_json, has_type},
        openapi::{AuthErrors, InvalidBody, InvalidQuery, NoSession, OpaqueRequired, WrongPassword},
        problem::{self, Problem},
        request_context::RequestContext,
    },
    model::{Client, Roles, UserId},
};

/// Username and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// In any case.
    #[schema(example = "sergio")]
    username: String,
    /// As it was set.
    #[schema(value_type = String, format = Password, example = "my-password")]
    password: SecretString,
}

/// Two tokens of one session: either proves who is calling, and ending the session ends both.
#[derive(Serialize, ToSchema)]
pub struct LoginView {
    /// A JWT, checked by its signature.
    token: String,
    /// `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the JWT runs out.
    #[schema(example = 1800)]
    expires_in: u64,
    /// A random UUID, checked against the database.
    #[schema(value_type = uuid::Uuid)]
    opaque_token: String,
    /// Seconds until the opaque token, and the session, runs out.
    #[schema(example = 2_592_000)]
    opaque_expires_in: u64,
    /// Who logged in.
    user: LoginUser,
}

/// Who logged in.
#[derive(Serialize, ToSchema)]
pub struct LoginUser {
    #[schema(value_type = uuid::Uuid)]
    id: UserId,
    username: String,
    name: String,
    #[schema(value_type = Vec<String>)]
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

/// Exchanges username and password for a session with two tokens.
#[utoipa::path(
    post, path = "/login", tag = "open",
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

/// New tokens of the same session.
#[derive(Serialize, ToSchema)]
pub struct RefreshView {
    /// The new JWT.
    token: String,
    /// `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the JWT runs out.
    #[schema(example = 1800)]
    expires_in: u64,
    /// The new opaque token, with `rotate=true`; the one that was presented is not good any more.
    #[schema(value_type = Option<uuid::Uuid>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    opaque_token: Option<String>,
    /// Seconds until the session, and its opaque token, runs out.
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

/// Whether to exchange the opaque token.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RefreshQuery {
    /// Exchange the opaque token too.
    #[serde(default)]
    rotate: bool,
}

/// A new JWT for the session of the opaque token that is presented, and if wanted a new opaque token. An exchanged token
/// that is presented again, anywhere, ends its session.
#[utoipa::path(
    post, path = "/refresh", tag = "session", params(RefreshQuery), security(("bearer" = [])),
    responses((status = 200, body = RefreshView), AuthErrors, OpaqueRequired, InvalidQuery),
)]
pub async fn refresh(
    app: App,
    caller: Caller<Anyone>,
    Query(query): Query<RefreshQuery>,
) -> Result<Json<RefreshView>, Problem> {
    let refreshed = app.auth().refresh(&caller.principal, query.rotate, caller.origin).await?;
    Ok(Json(refreshed.into()))
}

/// Ends the session of the token that is presented, and with it both its tokens.
#[utoipa::path(
    post, path = "/logout", tag = "session", security(("basic" = []), ("bearer" = [])),
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

/// From a JSON body, a form, or HTTP Basic with no body. A bearer token, which clients like to send everywhere, is no
/// part of a login.
impl FromRequest<App> for LoginRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let basic = match authorization(request.headers())?.map(Credential::parse) {
            Some(Ok(Credential::Basic { username, password })) => {
                Some(Self { username: username.to_string(), password })
            }
            Some(Err(wrong @ Error::InvalidCredentials)) => return Err(wrong.into()),
            _ => None,
        };
        let is_json = has_type(request.headers(), "application/json");
        let is_form = has_type(request.headers(), "application/x-www-form-urlencoded");
        let body = body(request, app).await?;
        match basic {
            Some(basic) if body.is_empty() => Ok(basic),
            Some(_) => Err(Error::AmbiguousCredential.into()),
            None if is_json => from_json(&body),
            // curl says so of whatever it is given.
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
