//! The door: routes, layers and the translation between HTTP and [`Auth`].
//!
//! A request goes through `serve` (connection) → `observe` (one line, one id, one place where errors are written out) →
//! `extract` (who is calling, what the body says) → a handler in the resource's file, which calls [`Auth`] once or twice
//! and shapes the answer.

mod admin;
mod conditional;
mod docs;
mod extract;
mod health;
mod login;
mod me;
mod metrics;
mod oauth;
mod observe;
mod openapi;
mod page;
mod problem;
mod serve;
mod users;
mod verify;
mod well_known;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub use admin::{
    audit::AuditView,
    import::{RowView, SummaryView},
    keys::KeyList,
    users::UserView,
};
use axum::{Router, extract::FromRequestParts, http::request::Parts};
pub use me::{
    sessions::SessionList,
    tokens::{CreatedToken, TokenList},
};
use metrics::Requests;
pub use openapi::document;
use problem::Problem;
pub use problem::{KINDS, Kind};
use prometheus_client::registry::Registry;
pub use serve::{serve, serve_metrics, serve_starting};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::auth::Auth;

/// What every handler may reach: the service, and whether it is on its way out. Taken as an argument, it extracts itself.
#[derive(Clone)]
pub struct App(Arc<AppInner>);

struct AppInner {
    auth: Auth,
    draining: AtomicBool,
    requests: Requests,
    metrics: Registry,
}

impl App {
    /// An application around the service.
    pub fn new(auth: Auth) -> Self {
        let (requests, mut metrics) = (Requests::default(), Registry::with_prefix("countersign"));
        requests.register(&mut metrics);
        Self(Arc::new(AppInner { auth, draining: AtomicBool::new(false), requests, metrics }))
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

/// Every route with its documentation; what is not here is not served.
fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(health::get_health))
        .routes(routes!(health::get_ready))
        .routes(routes!(login::login))
        .routes(routes!(login::refresh))
        .routes(routes!(login::logout))
        .routes(routes!(verify::verify))
        .route("/verify", axum::routing::any(verify::verify))
        .routes(routes!(users::list_directory))
        .route("/users/", axum::routing::get(users::list_directory))
        .routes(routes!(me::get_me, me::update_me))
        .routes(routes!(me::password::change_my_password))
        .routes(routes!(me::sessions::list_my_sessions, me::sessions::end_my_other_sessions))
        .routes(routes!(me::sessions::end_my_session))
        .routes(routes!(me::tokens::create_my_token, me::tokens::list_my_tokens))
        .routes(routes!(me::tokens::revoke_my_token))
        .routes(routes!(oauth::introspect_token))
        .routes(routes!(oauth::revoke_presented_token))
        .routes(routes!(admin::users::create_user, admin::users::list_users))
        .routes(routes!(admin::users::get_user, admin::users::update_user, admin::users::delete_user))
        .routes(routes!(admin::users::set_user_password))
        .routes(routes!(admin::sessions::list_user_sessions, admin::sessions::end_user_sessions))
        .routes(routes!(admin::sessions::end_session))
        .routes(routes!(admin::tokens::list_user_tokens, admin::tokens::revoke_user_tokens))
        .routes(routes!(admin::tokens::revoke_token))
        .routes(routes!(admin::import::import_users))
        .routes(routes!(admin::import::export_users))
        .routes(routes!(admin::audit::list_audit))
        .routes(routes!(admin::audit::verify_audit))
        .routes(routes!(admin::keys::list_keys))
        .routes(routes!(admin::keys::rotate_keys))
        .routes(routes!(well_known::get_jwks))
        .routes(routes!(well_known::get_metadata))
        .routes(routes!(well_known::get_status_list))
        .routes(routes!(docs::get_openapi))
        .routes(routes!(docs::get_problem))
        .route("/docs", axum::routing::get(docs::redirect_to_docs))
        .route("/docs/", axum::routing::get(docs::get_docs_index))
        .route("/docs/{*file}", axum::routing::get(docs::get_docs_file))
}

/// What there is to say before the service has started.
fn starting() -> Router {
    let router = Router::new()
        .route("/health", axum::routing::get(health::get_health))
        .fallback(async || Problem::new(&problem::STARTING));
    observe::observed(router, Requests::default())
}

/// The whole application with every layer on, ready to be served.
pub fn router(app: App) -> Router {
    let (router, _) = routes().split_for_parts();
    let router = router.fallback(problem::not_found).method_not_allowed_fallback(problem::method_not_allowed);
    observe::observed(router, app.0.requests.clone()).with_state(app)
}
