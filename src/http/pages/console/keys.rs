//! `/admin/console/keys`: the keys that sign tokens.

use axum::response::Response;
use minijinja::context;
use minijinja::value::Serde;

use crate::error::Error;
use crate::http::App;
use crate::http::extract::{Admin, Query};
use crate::http::pages::console::{SaidQuery, said};
use crate::http::pages::frame::{SignedIn, Submitted};
use crate::http::problem::Problem;
use crate::http::views::KeyList;

/// Shows the keys.
pub async fn show_keys(
    app: App,
    SignedIn { frame, .. }: SignedIn<Admin>,
    Query(query): Query<SaidQuery>,
) -> Result<Response, Problem> {
    let keys = KeyList::from(app.auth().signing_keys().await?);
    let values = context! {
        title => "Signing keys",
        said => said(&query.said),
        keys => Serde(&keys),
        can_rotate => app.auth().can_rotate_keys(),
    };
    frame.show("console/keys.html", values)
}

/// Makes the next key.
pub async fn rotate_keys(app: App, Submitted { caller, frame, .. }: Submitted<Admin>) -> Result<Response, Problem> {
    match app.auth().rotate_keys(caller.actor()).await {
        Ok(_) => Ok(frame.go("admin/console/keys?said=rotated")),
        Err(Error::NoRotation) => Ok(frame.go("admin/console/keys")),
        Err(error) => Err(error.into()),
    }
}
