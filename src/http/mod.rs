//! HTTP: routes, middleware, and the translation between requests and [`Auth`].
//!
//! A request passes through `server` (the connection), `middleware` (request id, timeout, access log, rendered errors),
//! `extract` (the caller, the body) and a handler in `routes/`. The handler calls [`Auth`] once or twice and returns a
//! view from `views/`.

mod access_log;
mod cors;
mod current;
mod extract;
mod metrics;
mod middleware;
mod openapi;
mod pages;
mod problem;
mod request_context;
mod routes;
mod server;
mod trace;
mod unread_body;
mod users_file;
pub mod views;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use opentelemetry_sdk::trace::SdkTracer;
use prometheus_client::registry::Registry;

use self::cors::Cors;
use self::current::{Current, Values};
use self::extract::SessionCookie;
pub use self::extract::client_address::client_address;
use self::metrics::Requests;
use self::middleware::Surroundings;
pub use self::pages::Pages;
use self::problem::Problem;
pub use self::problem::{KINDS, Kind};
pub use self::routes::document;
pub use self::server::tls::Tls;
pub use self::server::{serve, serve_metrics, serve_starting};
use crate::auth::{Auth, Finding};
use crate::error::StartError;
use crate::model::{Networks, Setting};

/// The shared state of all handlers: the service, and whether it is shutting down. It is its own extractor.
#[derive(Clone)]
pub struct App(Arc<AppInner>);

struct AppInner {
    auth: Auth,
    current: Current,
    connections_per_address: Option<u32>,
    tls: Option<Tls>,
    tracer: Option<SdkTracer>,
    pages: Pages,
    cookie: SessionCookie,
    return_to: Vec<String>,
    findings: Vec<Finding>,
    draining: Arc<AtomicBool>,
    drain_time: Duration,
    requests: Requests,
    metrics: Registry,
}

/// Who may connect, and how.
#[derive(Clone, Default)]
pub struct Access {
    /// The proxies that may set the client address, and have any number of connections.
    pub trusted_proxies: Networks,
    /// The most connections of any other address, if there is such a limit.
    pub connections_per_address: Option<u32>,
    /// The origins whose pages may call the service.
    pub cors_origins: Vec<String>,
    /// The certificate and the key, when clients connect by TLS.
    pub tls: Option<Tls>,
    /// What begins the spans of requests, when there is a collector for them.
    pub tracer: Option<SdkTracer>,
    /// The pages for people.
    pub pages: Pages,
    /// The domain whose hosts share the cookie of browsers' sessions, if there is one.
    pub cookie_domain: Option<String>,
    /// The origins that browsers may go to after signing in.
    pub return_to: Vec<String>,
    /// The settings, to be shown to administrators.
    pub settings: Vec<Setting>,
    /// What is weak about them.
    pub findings: Vec<Finding>,
    /// How long the server goes on after it was told to stop, so that load balancers see that it is not ready any more.
    pub drain_time: Duration,
}

impl App {
    /// Creates the application state.
    pub fn new(auth: Auth, access: Access) -> Self {
        let (requests, mut metrics) = (Requests::default(), Registry::with_prefix("countersign"));
        requests.register(&mut metrics);
        Self(Arc::new(AppInner {
            current: Current::new(Values {
                trusted_proxies: access.trusted_proxies,
                cors: Cors::new(&access.cors_origins),
                settings: access.settings,
            }),
            connections_per_address: access.connections_per_address,
            tls: access.tls,
            tracer: access.tracer,
            cookie: SessionCookie::new(auth.public_url(), access.cookie_domain.as_deref()),
            auth,
            pages: access.pages,
            return_to: access.return_to,
            findings: access.findings,
            draining: Arc::default(),
            drain_time: access.drain_time,
            requests,
            metrics,
        }))
    }

    /// The authentication service.
    pub fn auth(&self) -> &Auth {
        &self.0.auth
    }

    /// The pages for people.
    fn pages(&self) -> &Pages {
        &self.0.pages
    }

    /// The cookie of browsers' sessions.
    fn cookie(&self) -> &SessionCookie {
        &self.0.cookie
    }

    /// The origins that browsers may go to after signing in.
    fn return_to(&self) -> &[String] {
        &self.0.return_to
    }

    /// The settings, to be shown to administrators.
    fn settings(&self) -> Vec<Setting> {
        self.0.current.read().settings.clone()
    }

    /// Trusts these proxies and allows these origins from now on, also on connections that are open, and shows these settings.
    pub fn replace(&self, trusted_proxies: Networks, cors_origins: &[String], settings: Vec<Setting>) {
        self.0.current.replace(Values { trusted_proxies, cors: Cors::new(cors_origins), settings });
    }

    /// What is weak about the settings.
    fn findings(&self) -> &[Finding] {
        &self.0.findings
    }

    /// Takes the pair in the files of the certificate and its key into use, if it is another one.
    pub fn reload_tls(&self) -> Result<(), StartError> {
        self.0.tls.as_ref().map_or(Ok(()), Tls::reload)
    }

    /// The metrics of the HTTP layer.
    fn metrics(&self) -> &Registry {
        &self.0.metrics
    }

    /// Whether the server is shutting down, so that load balancers should send no more requests.
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

/// The router while the service starts: `/health` answers, every other path gets 503 `starting`.
fn starting_router() -> Router {
    let router = Router::new()
        .route("/health", axum::routing::get(routes::health::get_health))
        .fallback(async || Problem::new(&problem::STARTING));
    middleware::apply(router, Surroundings::default())
}

/// Returns the whole application: every route, wrapped in the middleware.
pub fn router(app: App) -> Router {
    let (router, _) = routes::routes().split_for_parts();
    let router = router
        .merge(pages::routes())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed);
    let surroundings = Surroundings {
        requests: app.0.requests.clone(),
        current: app.0.current.clone(),
        has_tls: app.0.tls.is_some(),
        tracer: app.0.tracer.clone(),
        pages: Some(app.0.pages.clone()),
        draining: app.0.draining.clone(),
    };
    middleware::apply(router, surroundings).with_state(app)
}
