//! The barest axum server there is, which `scripts/bench` measures `/health` against: the same runtime, no layer, no log.
#![allow(clippy::print_stderr, reason = "it tells where it listens, as the service does")]

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("hello listens on {}", listener.local_addr()?);
    axum::serve(listener, Router::new().route("/health", get(async || "Hello, World!"))).await
}
