//! `/admin/users`.

use axum::{
    Json,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{ETAG, LOCATION},
    },
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    auth::Creator,
    http::{
        App,
        extract::{self, Admin, Caller, PathId, Query},
        openapi::{Guarded, InvalidBody, InvalidQuery, NotFound, UsernameTaken},
        page::PageQuery,
        problem::Problem,
    },
    model::{NewUser, Roles, Status, Timestamp, User, UserId},
};

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// What they log in with: at most 128 bytes, with no colon or space. It is kept in lower case.
    #[schema(example = "sergio")]
    username: String,
    /// At least 8 characters, unless the service is set otherwise, and at most 1,024 bytes.
    #[schema(value_type = String, format = Password, example = "my-password")]
    password: SecretString,
    /// What they are called; the username if it is not given.
    name: Option<String>,
    #[schema(format = Email)]
    email: Option<String>,
    /// `user` if it is not given. `admin` may do everything; other names are free.
    roles: Option<Vec<String>>,
}

/// A user.
#[derive(Serialize, ToSchema)]
pub struct UserView {
    #[schema(value_type = uuid::Uuid)]
    id: UserId,
    username: String,
    /// What they are called; the username until it is set.
    name: String,
    email: Option<String>,
    #[schema(value_type = Vec<String>)]
    roles: Roles,
    #[schema(value_type = String, example = "active")]
    status: Status,
    must_change_password: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            name: user.display_name().to_owned(),
            username: user.username,
            email: user.email,
            roles: user.roles,
            status: user.status,
            must_change_password: user.must_change_password,
            created_at: user.created_at,
            updated_at: user.updated_at,
            last_login_at: user.last_login_at,
        }
    }
}

/// A page of users.
#[derive(Serialize, ToSchema)]
pub struct UserPage {
    items: Vec<UserView>,
    /// What to give as `after` for the next page; none on the last.
    #[schema(value_type = Option<uuid::Uuid>)]
    next: Option<UserId>,
}

/// Adds a user. While there is no admin, the setup token may do this.
#[utoipa::path(
    post, path = "/admin/users", tag = "admin", security(("basic" = []), ("bearer" = ["admin"])),
    responses(
        (status = 201, body = UserView, headers(("Location", description = "Where the user is"), ("ETag"))),
        UsernameTaken,
        Guarded, InvalidBody,
    ),
)]
pub async fn create_user(
    app: App,
    creator: Creator,
    extract::Json(new): extract::Json<CreateUser>,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 2], Json<UserView>), Problem> {
    let roles = new.roles.unwrap_or_else(|| vec![Roles::DEFAULT.to_owned()]);
    let user = NewUser { username: new.username, name: new.name, email: new.email, roles };
    let user = app.auth().create_user(creator, user, &new.password).await?;
    let location = header_value(&format!("/admin/users/{}", user.id));
    Ok((StatusCode::CREATED, [(LOCATION, location), (ETAG, etag(&user))], Json(user.into())))
}

/// All users in the order they were made.
#[utoipa::path(
    get, path = "/admin/users", tag = "admin", params(PageQuery), security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = UserPage), Guarded, InvalidQuery),
)]
pub async fn list_users(app: App, _: Caller<Admin>, Query(page): Query<PageQuery>) -> Result<Json<UserPage>, Problem> {
    let (users, next) = app.auth().users(page.after(), page.limit()?).await?;
    Ok(Json(UserPage { items: users.into_iter().map(UserView::from).collect(), next }))
}

/// One user.
#[utoipa::path(
    get, path = "/admin/users/{id}", tag = "admin", params(("id" = uuid::Uuid, Path)),
    security(("basic" = []), ("bearer" = ["admin"])),
    responses(
        (status = 200, body = UserView, headers(("ETag"))),
        NotFound,
        Guarded,
    ),
)]
pub async fn get_user(
    app: App,
    _: Caller<Admin>,
    PathId(id): PathId<UserId>,
) -> Result<([(HeaderName, HeaderValue); 1], Json<UserView>), Problem> {
    let user = app.auth().user(id).await?;
    Ok(([(ETAG, etag(&user))], Json(user.into())))
}

/// Changes whenever someone changes the user. A login does not count, for it should stand in nobody's way.
fn etag(user: &User) -> HeaderValue {
    header_value(&format!("\"{}\"", user.updated_at.0))
}

fn header_value(ascii: &str) -> HeaderValue {
    HeaderValue::from_str(ascii).unwrap_or(HeaderValue::from_static(""))
}
