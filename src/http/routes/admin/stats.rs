//! `/admin/stats`: figures of the whole installation.

use axum::Json;

use crate::http::App;
use crate::http::extract::{Admin, Caller};
use crate::http::openapi::AuthErrors;
use crate::http::problem::Problem;
use crate::http::views::StatsView;

/// Returns how many users, sessions and tokens there are, and the logins of the last 48 hours. The figures are a few seconds
/// old at most, or more where it takes long to count.
#[utoipa::path(
    get, path = "/admin/stats", tag = "administer", security(("basic" = []), ("bearer" = ["admin"])),
    responses((status = 200, body = StatsView), AuthErrors),
)]
pub async fn get_stats(app: App, _: Caller<Admin>) -> Result<Json<StatsView>, Problem> {
    let blocks = app.auth().blocks().await?.len();
    Ok(Json(StatsView::new(app.auth().statistics().await?, app.auth().waiting_passwords(), blocks)))
}
