//! `/`: what this is, and where to go.

use axum::response::Response;
use minijinja::context;

use crate::http::App;
use crate::http::pages::frame::Frame;
use crate::http::problem::Problem;

/// Shows the page that the address of the service alone opens.
pub async fn show_home(app: App, frame: Frame) -> Result<Response, Problem> {
    let has_admin = frame.is_signed_in() || app.auth().has_admin().await?;
    frame.show("home.html", context! { title => "Welcome", has_admin })
}
