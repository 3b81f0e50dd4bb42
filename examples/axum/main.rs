//! An axum service that verifies Countersign's JWTs offline: `cargo run --example axum`.
//!
//! Copy the layer, which is in `countersign.rs`. It caches the public keys and the status lists, so most requests do
//! not involve Countersign.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "these lints are for the service, not for its clients"
)]

mod countersign;

use std::env;

use axum::routing::get;
use axum::{Extension, Json, Router};
use countersign::{Countersign, User};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let url = setting("COUNTERSIGN_URL", "http://localhost:5000");
    let issuer = setting("COUNTERSIGN_ISSUER", "http://localhost:5000");
    let audience = setting("COUNTERSIGN_AUDIENCE", "countersign");
    let countersign = Countersign::new(&url, &issuer, &audience)?;

    let app = Router::new()
        .route("/admin", get(admin).layer(countersign.require_role("admin")))
        .route("/hello", get(hello).layer(countersign.require_user()))
        .route("/", get(async || "Anyone may read this. /hello is for users, /admin for admins.\n"));
    let listener = TcpListener::bind(format!("127.0.0.1:{}", setting("PORT", "8002"))).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn hello(Extension(user): Extension<User>) -> Json<Value> {
    Json(json!({"name": user.name, "sub": user.sub, "roles": user.roles}))
}

async fn admin(Extension(user): Extension<User>) -> String {
    format!("{} is an admin.\n", user.name)
}
