//! `/admin/users`: managing users.

use axum::Json;
use axum::http::header::{ETAG, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Creator, Password};
use crate::error::FieldError;
use crate::http::App;
use crate::http::extract::pagination::{decode_cursor, encode_cursor};
use crate::http::extract::{self, Admin, Caller, IdempotentJson, IfMatch, PathId, Query, nullable, pagination};
use crate::http::openapi::{
    AuthErrors, InvalidBody, InvalidQuery, LastAdmin, NotFound, PreconditionFailed, UsernameTaken,
};
use crate::http::problem::Problem;
use crate::http::views::{CreatedUserView, UserView};
use crate::model::{NewUser, Roles, Status, User, UserFilter, UserId, UserPatch};

/// The user to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// At most 128 bytes, without colons or spaces. Stored in lower case.
    #[schema(example = "sergio")]
    username: String,
    /// At least 8 characters, unless configured otherwise, and at most 1,024 bytes. Absent with `invite`.
    #[schema(value_type = Option<String>, format = Password, example = "my-password")]
    password: Option<SecretString>,
    /// Whether to invite the user, who then chooses a password with the link in the response.
    #[serde(default)]
    #[schema(example = false)]
    invite: bool,
    /// Whether to send the link to `email`, in place of returning it.
    #[serde(default)]
    #[schema(example = false)]
    deliver: bool,
    /// The display name; by default the username.
    #[schema(example = "Sergio R.")]
    name: Option<String>,
    #[schema(format = Email, example = "sergio@example.com")]
    email: Option<String>,
    /// By default `user`. `admin` grants every scope; other names are yours to define.
    #[schema(example = json!(["user"]))]
    roles: Option<Vec<String>>,
    /// Whether the user must change the password before anything else.
    #[serde(default)]
    #[schema(example = false)]
    must_change_password: bool,
}

/// The fields to change; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchUser {
    /// The display name; null resets it to the username.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, example = "Sergio R.")]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = Email, example = "sergio@example.com")]
    email: Option<Option<String>>,
    #[schema(example = json!(["user", "editor"]))]
    roles: Option<Vec<String>>,
    /// `active` or `disabled`.
    #[schema(value_type = Option<String>, example = "disabled")]
    status: Option<Status>,
}

/// The new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    #[schema(value_type = String, format = Password, example = "my-password")]
    password: SecretString,
    /// Whether the user must change it before anything else.
    #[serde(default)]
    #[schema(example = true)]
    must_change_password: bool,
}

/// Selects users and a page of them. All conditions must hold.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct UserQuery {
    /// A prefix of the username, name or e-mail address. Case is ignored.
    q: Option<String>,
    /// A role that the users have.
    role: Option<String>,
    /// `active` or `disabled`.
    #[param(value_type = Option<String>)]
    status: Option<Status>,
    /// The maximum number of users.
    #[serde(default = "pagination::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the previous page.
    after: Option<String>,
}

/// A page of users.
#[derive(Serialize, ToSchema)]
pub struct UserPage<'a> {
    items: Vec<UserView<'a>>,
    /// The value of `after` for the next page; null on the last page.
    #[schema(example = "01a209a4-5175-7d1f-96a9-8817ee5490a8")]
    next: Option<String>,
}

/// Creates a user. With `invite`, the response has the `url` with which they choose a password, and its `expires_at`. While
/// there is no admin, the setup token also works here.
#[utoipa::path(
    post, path = "/admin/users", tag = "administer users", request_body = CreateUser, params(("Idempotency-Key" = Option<String>, Header)), security(("basic" = []), ("bearer" = ["admin"])),
    responses(
        (status = 201, body = CreatedUserView<'_>, headers(("Location", description = "The address of the user"), ("ETag"))),
        UsernameTaken,
        AuthErrors, InvalidBody,
    ),
)]
pub async fn create_user(
    app: App,
    creator: Creator,
    IdempotentJson(new, request): IdempotentJson<CreateUser>,
) -> Result<Response, Problem> {
    if new.deliver && !new.invite {
        let error = FieldError::new("deliver", "not-allowed", "is for users who are invited");
        return Err(Problem::validation(vec![error]));
    }
    let password = match (&new.password, new.invite) {
        (Some(password), false) => Ok(Password::Given(password)),
        (None, true) => Ok(Password::Invite { deliver: new.deliver }),
        (Some(_), true) => Err(("not-allowed", "must be absent when the user is invited")),
        (None, false) => Err(("required", "is missing; or send \"invite\": true")),
    };
    let invalid = |(code, message)| Problem::validation(vec![FieldError::new("password", code, message)]);
    let password = password.map_err(invalid)?;
    let roles = new.roles.unwrap_or_else(|| vec![Roles::DEFAULT.to_owned()]);
    let must_change_password = new.must_change_password;
    let user = NewUser { username: new.username, name: new.name, email: new.email, roles, must_change_password };
    let (user, link) = app.auth().create_user(creator, user, password, request).await?;
    let location = header_value(&format!("/admin/users/{}", user.id));
    let headers = [(LOCATION, location), (ETAG, etag(&user))];
    Ok((StatusCode::CREATED, headers, Json(CreatedUserView::new(&user, link.as_ref()))).into_response())
}

/// Lists the users: all, or those that match the query.
#[utoipa::path(
    get, path = "/admin/users", tag = "administer users", params(UserQuery), security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = UserPage<'_>), AuthErrors, InvalidQuery),
)]
pub async fn list_users(app: App, _: Caller<Admin>, Query(query): Query<UserQuery>) -> Result<Response, Problem> {
    let limit = pagination::validate_limit(query.limit)?;
    let after = query.after.as_deref().map(decode_cursor).transpose()?;
    let filter = UserFilter { begins_with: query.q, role: query.role, status: query.status };
    let (users, next) = app.auth().users(&filter, after, limit).await?;
    let page = UserPage { items: users.iter().map(UserView::from).collect(), next: next.map(encode_cursor) };
    Ok(Json(page).into_response())
}

/// Returns a user.
#[utoipa::path(
    get, path = "/admin/users/{id}", tag = "administer users", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses(
        (status = 200, body = UserView<'_>, headers(("ETag"))),
        NotFound,
        AuthErrors,
    ),
)]
pub async fn get_user(app: App, _: Caller<Admin>, PathId(id): PathId<UserId>) -> Result<Response, Problem> {
    let user = app.auth().user(id).await?;
    Ok(([(ETAG, etag(&user))], Json(UserView::from(&user))).into_response())
}

/// Changes a user. Disabling ends all their sessions and tokens; enabling restores none.
#[utoipa::path(
    patch, path = "/admin/users/{id}", tag = "administer users", params(("id" = uuid::Uuid, Path), ("If-Match" = Option<String>, Header)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = UserView<'_>, headers(("ETag"))), NotFound, LastAdmin, PreconditionFailed, AuthErrors, InvalidBody),
)]
pub async fn update_user(
    app: App,
    caller: Caller<Admin>,
    PathId(id): PathId<UserId>,
    IfMatch(versions): IfMatch,
    extract::Json(patch): extract::Json<PatchUser>,
) -> Result<Response, Problem> {
    let patch = UserPatch { name: patch.name, email: patch.email, roles: patch.roles, status: patch.status };
    let user = app.auth().update_user(caller.actor(), id, versions, patch).await?;
    Ok(([(ETAG, etag(&user))], Json(UserView::from(&user))).into_response())
}

/// Deletes a user, with all their sessions and tokens.
#[utoipa::path(
    delete, path = "/admin/users/{id}", tag = "administer users", params(("id" = uuid::Uuid, Path), ("If-Match" = Option<String>, Header)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 204), NotFound, LastAdmin, PreconditionFailed, AuthErrors),
)]
pub async fn delete_user(
    app: App,
    caller: Caller<Admin>,
    PathId(id): PathId<UserId>,
    IfMatch(versions): IfMatch,
) -> Result<StatusCode, Problem> {
    app.auth().delete_user(caller.actor(), id, versions).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a user's password, and ends all their sessions and tokens.
#[utoipa::path(
    put, path = "/admin/users/{id}/password", tag = "administer users", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 204), NotFound, AuthErrors, InvalidBody),
)]
pub async fn set_user_password(
    app: App,
    caller: Caller<Admin>,
    PathId(id): PathId<UserId>,
    extract::Json(new): extract::Json<SetPassword>,
) -> Result<StatusCode, Problem> {
    app.auth().set_password(caller.actor(), id, &new.password, new.must_change_password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The entity tag of a user. A login does not change it, so that it cannot fail an admin's `If-Match`.
fn etag(user: &User) -> HeaderValue {
    header_value(&format!("\"{}\"", user.updated_at.0))
}

fn header_value(ascii: &str) -> HeaderValue {
    HeaderValue::from_str(ascii).unwrap_or(HeaderValue::from_static(""))
}
