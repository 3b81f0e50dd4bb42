//! `/health` and `/ready`: the liveness and readiness probes.

use std::time::Duration;

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::openapi::Unavailable;
use crate::http::problem::{self, Problem};

/// How long the database may take to answer.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of the service.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`; otherwise the response is a problem.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Liveness probe: answers while the process runs. Does not use the database.
#[utoipa::path(get, path = "/health", tag = "the service", responses((status = 200, body = Health)))]
pub async fn get_health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Readiness probe: 503 while starting, while shutting down, and while the database does not answer.
#[utoipa::path(get, path = "/ready", tag = "the service", responses((status = 200, body = Health), Unavailable))]
pub async fn get_ready(app: App) -> Result<Json<Health>, Problem> {
    if app.is_draining() {
        return Err(Problem::new(&problem::DRAINING));
    }
    match tokio::time::timeout(DATABASE_TIMEOUT, app.auth().ready()).await {
        Ok(answer) => answer.map(|()| Json(Health { status: "ok" })).map_err(Problem::from),
        Err(_elapsed) => Err(Problem::new(&problem::UNAVAILABLE)),
    }
}
