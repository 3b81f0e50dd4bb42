//! The JSON representation of a user.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{Roles, Status, Timestamp, User, UserId};

/// A user.
#[derive(Serialize, ToSchema)]
pub struct UserView<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: UserId,
    #[schema(example = "sergio")]
    username: &'a str,
    /// The display name; the username until it is set.
    #[schema(example = "Sergio R.")]
    name: &'a str,
    #[schema(example = "sergio@example.com")]
    email: Option<&'a str>,
    /// Whether the user has shown that mail to it reaches them.
    #[schema(example = true)]
    email_verified: bool,
    #[schema(value_type = Vec<String>, example = json!(["user"]))]
    roles: &'a Roles,
    #[schema(value_type = String, example = "active")]
    status: Status,
    #[schema(example = false)]
    must_change_password: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
}

impl<'a> From<&'a User> for UserView<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            id: user.id,
            username: &user.username,
            name: user.display_name(),
            email: user.email.as_deref(),
            email_verified: user.email_verified,
            roles: &user.roles,
            status: user.status,
            must_change_password: user.must_change_password,
            created_at: user.created_at,
            updated_at: user.updated_at,
            last_login_at: user.last_login_at,
        }
    }
}
