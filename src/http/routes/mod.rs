//! All routes: one file for each resource.

pub mod admin;
pub mod directory;
pub mod docs;
pub mod email;
pub mod health;
pub mod login;
pub mod me;
pub mod oauth;
pub mod password;
pub mod register;
pub mod verify;
pub mod well_known;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::{App, openapi};

/// Returns every route with its documentation.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(health::get_health))
        .routes(routes!(health::get_ready))
        .routes(routes!(login::login))
        .routes(routes!(login::refresh))
        .routes(routes!(login::logout))
        .routes(routes!(verify::verify))
        .route("/verify", axum::routing::any(verify::verify))
        .routes(routes!(directory::list_directory))
        .route("/users/", axum::routing::get(directory::list_directory))
        .routes(routes!(me::get_me, me::update_me))
        .routes(routes!(me::password::change_my_password))
        .routes(routes!(me::sessions::list_my_sessions, me::sessions::end_my_other_sessions))
        .routes(routes!(me::sessions::end_my_session))
        .routes(routes!(me::tokens::create_my_token, me::tokens::list_my_tokens))
        .routes(routes!(me::tokens::revoke_my_token))
        .routes(routes!(password::forgot_password))
        .routes(routes!(password::reset_password))
        .routes(routes!(email::change_my_email))
        .routes(routes!(email::verify_email))
        .routes(routes!(register::register))
        .routes(routes!(register::complete_registration))
        .routes(routes!(oauth::introspect_token))
        .routes(routes!(oauth::revoke_presented_token))
        .routes(routes!(admin::users::create_user, admin::users::list_users))
        .routes(routes!(admin::users::get_user, admin::users::update_user, admin::users::delete_user))
        .routes(routes!(admin::users::set_user_password))
        .routes(routes!(admin::links::create_link))
        .routes(routes!(admin::sessions::list_user_sessions, admin::sessions::end_user_sessions))
        .routes(routes!(admin::sessions::end_session))
        .routes(routes!(admin::tokens::list_user_tokens, admin::tokens::revoke_user_tokens))
        .routes(routes!(admin::tokens::revoke_token))
        .routes(routes!(admin::blocks::list_blocks))
        .routes(routes!(admin::blocks::lift_block))
        .routes(routes!(admin::import::import_users))
        .routes(routes!(admin::import::export_users))
        .routes(routes!(admin::audit::list_audit))
        .routes(routes!(admin::audit::verify_audit))
        .routes(routes!(admin::stats::get_stats))
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

/// Returns the API document (OpenAPI 3.1) as indented JSON.
pub fn document() -> String {
    let (_, document) = routes().split_for_parts();
    openapi::to_json(document)
}
