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
    /// The address. It is shown only once: whoever has it can choose the password. Absent when it was sent by mail.
    #[schema(example = "https://auth.example.com/link/…")]
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// When it expires.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<&Link> for LinkView {
    fn from(link: &Link) -> Self {
        Self { url: link.url.as_ref().map(|url| url.expose_secret().to_owned()), expires_at: link.expires_at }
    }
}

/// A new user, and their invitation if they were invited.
#[derive(Serialize, ToSchema)]
pub struct CreatedUserView<'a> {
    #[serde(flatten)]
    user: UserView<'a>,
    /// The link, if the user was invited and it was not sent by mail. It is shown only once.
    #[schema(example = "https://auth.example.com/link/…")]
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// When the link expires, if the user was invited.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl<'a> CreatedUserView<'a> {
    /// Creates the view; reveals the link.
    pub fn new(user: &'a User, link: Option<&Link>) -> Self {
        let link = link.map(LinkView::from);
        let expires_at = link.as_ref().map(|link| link.expires_at);
        Self { user: user.into(), url: link.and_then(|link| link.url), expires_at }
    }
}
