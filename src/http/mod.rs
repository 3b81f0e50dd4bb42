//! HTTP: routes, middleware, and the translation between requests and [`Auth`].
//!
//! A request goes through `server` (the connection) → `middleware` (its id, its time limit, one line in the log, the one
//! place where errors are written out) → `extract` (who is calling, what the body says) → a handler in `routes/`, which calls
//! [`Auth`] once or twice and answers with a view from `views/`.

mod access_log;
mod extract;
mod metrics;
mod middleware;
mod openapi;
mod problem;
mod request_context;
mod routes;
mod server;
pub mod views;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, extract::FromRequestParts, http::request::Parts};
use prometheus_client::registry::Registry;

pub use self::{
    extract::client_address::TrustedProxies,
    problem::{KINDS, Kind},
    routes::document,
    server::{serve, serve_metrics, serve_starting},
};
use self::{metrics::Requests, problem::Problem};
use crate::auth::Auth;

/// What every handler may reach: the service, and whether it is on its way out. Taken as an argument, it extracts itself.
#[derive(Clone)]
pub struct App(Arc<AppInner>);

struct AppInner {
    auth: Auth,
    trusted_proxies: TrustedProxies,
    draining: AtomicBool,
    requests: Requests,
    metrics: Registry,
}

impl App {
    /// An application around the service, behind these proxies.
    pub fn new(auth: Auth, trusted_proxies: TrustedProxies) -> Self {
        let (requests, mut metrics) = (Requests::default(), Registry::with_prefix("countersign"));
        requests.register(&mut metrics);
        Self(Arc::new(AppInner { auth, trusted_proxies, draining: AtomicBool::new(false), requests, metrics }))
    }

    /// The service behind the door.
    pub fn auth(&self) -> &Auth {
        &self.0.auth
    }

    /// What is counted at the door.
    fn metrics(&self) -> &Registry {
        &self.0.metrics
    }

    /// Whether no more work should be sent here.
    fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }
}

impl FromRequestParts<App> for App {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(app.clone())
    }
}

/// What there is to say before the service has started.
fn starting() -> Router {
    let router = Router::new()
        .route("/health", axum::routing::get(routes::health::get_health))
        .fallback(async || Problem::new(&problem::STARTING));
    middleware::surround(router, Requests::default(), TrustedProxies::default())
}

/// The whole application with every layer on, ready to be served.
pub fn router(app: App) -> Router {
    let (router, _) = routes::routes().split_for_parts();
    let router = router.fallback(problem::not_found).method_not_allowed_fallback(problem::method_not_allowed);
    middleware::surround(router, app.0.requests.clone(), app.0.trusted_proxies.clone()).with_state(app)
}
