//! `/admin/console/tokens`: the personal access tokens of everybody.

use axum::response::Response;
use minijinja::context;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::http::App;
use crate::http::extract::{Admin, Query};
use crate::http::pages::console::said;
use crate::http::pages::frame::{SignedIn, Submitted};
use crate::http::problem::Problem;
use crate::http::views::TokenView;
use crate::model::UserId;

/// The tokens on a page.
const LIMIT: u32 = 50;

/// A token, and whose it is.
#[derive(Serialize)]
struct Row {
    user_id: UserId,
    username: String,
    #[serde(flatten)]
    token: TokenView,
}

/// What the address of the page may say.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct TokensQuery {
    after: String,
    said: String,
}

/// Shows a page of the list, the newest first.
pub async fn show_tokens(
    app: App,
    SignedIn { frame, .. }: SignedIn<Admin>,
    Query(query): Query<TokensQuery>,
) -> Result<Response, Problem> {
    let after = query.after.parse().ok();
    let (tokens, next) = app.auth().all_tokens(after, LIMIT).await?;
    let rows =
        tokens.into_iter().map(|(token, username)| Row { user_id: token.user_id, username, token: token.into() });
    let values = context! {
        title => "Personal tokens",
        said => said(&query.said),
        tokens => Serde(rows.collect::<Vec<_>>()),
        is_first => after.is_none(),
        next => next.map(|id| id.to_string()),
    };
    frame.show("console/tokens.html", values)
}

/// Revokes a token.
pub async fn revoke_token(app: App, Submitted { caller, frame, form }: Submitted<Admin>) -> Result<Response, Problem> {
    let Ok(id) = form.get("id").parse() else { return Ok(frame.go("admin/console/tokens?said=gone")) };
    match app.auth().revoke_token(caller.actor(), None, id).await {
        Ok(()) => Ok(frame.go("admin/console/tokens?said=token-revoked")),
        Err(Error::NotFound) => Ok(frame.go("admin/console/tokens?said=gone")),
        Err(error) => Err(error.into()),
    }
}
