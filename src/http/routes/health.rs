//! `/health` and `/ready`.

use std::time::Duration;

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{
    App,
    openapi::Unavailable,
    problem::{self, Problem},
};

/// How long the database may take to show that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the service is.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the process lives. It asks nothing of the database.
#[utoipa::path(get, path = "/health", tag = "open", responses((status = 200, body = Health)))]
pub async fn get_health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether requests should be sent here: not while shutting down, nor without the database.
#[utoipa::path(get, path = "/ready", tag = "open", responses((status = 200, body = Health), Unavailable))]
pub async fn get_ready(app: App) -> Result<Json<Health>, Problem> {
    if app.is_draining() {
        return Err(Problem::new(&problem::DRAINING));
    }
    match tokio::time::timeout(PATIENCE, app.auth().ready()).await {
        Ok(answer) => answer.map(|()| Json(Health { status: "ok" })).map_err(Problem::from),
        Err(_elapsed) => Err(Problem::new(&problem::UNAVAILABLE)),
    }
}
