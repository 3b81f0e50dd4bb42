//! The JSON representation of personal access tokens.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{PersonalSecret, PersonalToken, Scopes, Timestamp, TokenId};

/// A personal access token, without its secret.
#[derive(Serialize, ToSchema)]
pub struct TokenView {
    #[schema(value_type = uuid::Uuid)]
    id: TokenId,
    #[schema(example = "backup script")]
    name: String,
    #[schema(value_type = Vec<String>, example = json!(["profile"]))]
    scopes: Scopes,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When the token was last used, to within a minute or so.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl From<PersonalToken> for TokenView {
    fn from(token: PersonalToken) -> Self {
        Self {
            id: token.id,
            name: token.name,
            scopes: token.scopes,
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }
}

/// A new personal access token, with its secret.
#[derive(Serialize, ToSchema)]
pub struct CreatedToken {
    /// The secret token. It is shown only once.
    #[schema(example = "cst_…")]
    token: String,
    #[serde(flatten)]
    view: TokenView,
}

impl CreatedToken {
    /// Creates the view of a new token; reveals its secret.
    pub fn new(token: PersonalToken, secret: &PersonalSecret) -> Self {
        Self { token: secret.reveal(), view: token.into() }
    }
}

/// All personal access tokens of a user (at most 100, so not paginated).
#[derive(Serialize, ToSchema)]
pub struct TokenList {
    items: Vec<TokenView>,
}

impl TokenList {
    /// Creates the list, in the given order.
    pub fn new(tokens: Vec<PersonalToken>) -> Self {
        Self { items: tokens.into_iter().map(TokenView::from).collect() }
    }
}
