//! The JSON representation of a one-time link.

use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Link;
use crate::http::views::UserView;
use crate::model::{Timestamp, User};

/// A new one-time link.
#[derive(Serialize, ToSchema)]
pub struct LinkView {
    /// The address. It is shown only once: whoever has it can choose the password.
    #[schema(example = "https://auth.example.com/link/…")]
    url: String,
    /// When it expires.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<&Link> for LinkView {
    fn from(link: &Link) -> Self {
        Self { url: link.url.expose_secret().to_owned(), expires_at: link.expires_at }
    }
}

/// A new user, and their invitation if they were invited.
#[derive(Serialize, ToSchema)]
pub struct CreatedUserView<'a> {
    #[serde(flatten)]
    user: UserView<'a>,
    #[serde(flatten)]
    link: Option<LinkView>,
}

impl<'a> CreatedUserView<'a> {
    /// Creates the view; reveals the link.
    pub fn new(user: &'a User, link: Option<&Link>) -> Self {
        Self { user: user.into(), link: link.map(LinkView::from) }
    }
}
