//! `/admin` and `/admin/console/…`: the pages of administrators.
//!
//! Rule: each page is a door beside the JSON routes and calls the same [`Auth`](crate::auth::Auth); each form is one action of
//! an administrator, confirmed where it acts. They all lie below `/admin`, so that one rule of a proxy keeps them in. What a
//! page shows in a row is decided in its template alone.

mod audit;
mod import;
mod keys;
mod overview;
mod settings;
mod tokens;
mod user;
mod users;

use axum::Router;
use axum::routing::{get, post};
use serde::Deserialize;

use crate::http::App;

/// What is said of a form that was taken, by the code in the address of the page.
const SAID: [(&str, &str); 14] = [
    ("saved", "The changes are saved."),
    ("created", "The user is created, and can sign in with that password."),
    ("mailed", "A mail with a link is on its way."),
    ("disabled", "The user is disabled, signed out everywhere, and without personal tokens."),
    ("enabled", "The user is enabled. Sessions and tokens of before stay ended."),
    ("deleted", "The user is deleted."),
    ("session-ended", "The session is ended. Whoever had it is signed out."),
    ("sessions-ended", "All sessions of the user are ended."),
    ("token-revoked", "The token is revoked. Programs that use it are refused from now on."),
    ("tokens-revoked", "All personal tokens of the user are revoked."),
    ("rotated", "The next key is made. It begins to sign once everybody has had the time to learn of it."),
    ("block-lifted", "The block is lifted."),
    ("gone", "That was gone already."),
    ("last-admin", "Not done: this is the last administrator who can sign in. Make another one first."),
];

/// What the address of a page may say.
#[derive(Deserialize)]
pub struct SaidQuery {
    /// A code of [`SAID`].
    #[serde(default)]
    said: String,
}

/// The words for a code in the address of a page.
fn said(code: &str) -> Option<&'static str> {
    SAID.iter().find(|(known, _)| *known == code).map(|(_, words)| *words)
}

/// The pages of administrators.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/admin", get(overview::show_overview))
        .route("/admin/console/blocks", post(overview::lift_block))
        .route("/admin/console/users", get(users::show_users))
        .route("/admin/console/users/new", get(user::show_new_user).post(user::create_user))
        .route("/admin/console/users/{id}", get(user::show_user).post(user::act))
        .route("/admin/console/tokens", get(tokens::show_tokens).post(tokens::revoke_token))
        .route("/admin/console/keys", get(keys::show_keys).post(keys::rotate_keys))
        .route("/admin/console/audit", get(audit::show_audit))
        .route("/admin/console/audit/check", get(audit::go_to_audit).post(audit::check_audit))
        .route("/admin/console/audit/export", post(audit::export_audit))
        .route("/admin/console/import", get(import::show_import).post(import::import_users))
        .route("/admin/console/export", post(import::export_users))
        .route("/admin/console/settings", get(settings::show_settings))
        .route("/admin/console/health", get(settings::show_health).post(settings::begin_checks))
}
