//! `/`: what this is, and where to go.

use axum::response::Response;
use minijinja::context;
use serde::Deserialize;

use crate::http::App;
use crate::http::extract::Query;
use crate::http::pages::frame::Frame;
use crate::http::problem::Problem;

/// What the address of the page may say.
#[derive(Deserialize)]
pub struct HomeQuery {
    /// `signed-out`, after signing out.
    #[serde(default)]
    said: String,
}

/// Shows the page that the address of the service alone opens.
pub async fn show_home(app: App, frame: Frame, Query(query): Query<HomeQuery>) -> Result<Response, Problem> {
    let has_admin = frame.is_signed_in() || app.auth().has_admin().await?;
    frame.show("home.html", context! { title => "Welcome", has_admin, is_signed_out => query.said == "signed-out" })
}
