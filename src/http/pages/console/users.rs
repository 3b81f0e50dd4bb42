//! `/admin/console/users`: the list of users.

use axum::response::Response;
use minijinja::context;
use minijinja::value::Serde;
use serde::Deserialize;

use crate::http::App;
use crate::http::extract::pagination::{decode_cursor, encode_cursor};
use crate::http::extract::{Admin, Query};
use crate::http::pages::console::said;
use crate::http::pages::frame::SignedIn;
use crate::http::problem::Problem;
use crate::http::views::UserView;
use crate::model::{Status, UserFilter};

/// The users on a page.
const LIMIT: u32 = 50;

/// What the form above the list asks for. An empty field asks for nothing.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ListQuery {
    q: String,
    role: String,
    status: String,
    after: String,
    said: String,
}

/// Shows a page of the list. A script asks for the same page while something is typed.
pub async fn show_users(
    app: App,
    SignedIn { frame, .. }: SignedIn<Admin>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let text = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    let status = [Status::Active, Status::Disabled].into_iter().find(|status| status.as_str() == query.status);
    let filter = UserFilter { begins_with: text(&query.q), role: text(&query.role), status };
    let after = text(&query.after).map(|after| decode_cursor(&after)).transpose()?;
    let is_first = after.is_none();
    let (users, next) = app.auth().users(&filter, after, LIMIT).await?;
    let values = context! {
        title => "Users",
        said => said(&query.said),
        users => Serde(users.iter().map(UserView::from).collect::<Vec<_>>()),
        q => query.q,
        role => query.role,
        status => query.status,
        is_first,
        is_filtered => filter.begins_with.is_some() || filter.role.is_some() || filter.status.is_some(),
        next => next.map(encode_cursor),
    };
    frame.show("console/users.html", values)
}
