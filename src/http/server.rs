//! Connections: a limit on their number, read and write timeouts, and graceful shutdown.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time;
use tokio_io_timeout::TimeoutStream;
use tower::Service;

use crate::http::extract::client_address::Peer;
use crate::http::{App, metrics, router, starting_router};

/// Concurrent connections; further ones wait in the listen queue. Below the usual limit of 1,024 open files.
const MAX_CONNECTIONS: usize = 900;
/// Timeout for receiving a request head, and for an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may stop reading a response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// Where hyper stops reading a request head, in bytes: twice the limit of the middleware, which answers with a problem.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How long running requests may take to finish after shutdown begins.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Serves until `shutdown` completes, then lets running requests finish. Meanwhile new connections are accepted, and
/// `/ready` answers 503.
pub async fn serve(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let server = Server::new(&listener, router(app.clone()));
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = shutdown => {}
        () = server.accept(Some(&connections), true) => {}
    }
    app.drain();
    let deadline = time::Instant::now() + DRAIN_TIMEOUT;
    let late_connections = GracefulShutdown::new();
    tokio::select! {
        _ = time::timeout_at(deadline, connections.shutdown()) => {}
        () = server.accept(Some(&late_connections), false) => {}
    }
    let _cut_off = time::timeout_at(deadline, late_connections.shutdown()).await;
}

/// Answers while the service starts: the process is alive but not ready. Never returns.
pub async fn serve_starting(listener: &TcpListener) {
    // Without keep-alive, so that the next request of a client reaches the started service.
    Server::new(listener, starting_router()).accept(None, false).await;
}

/// Serves the metrics at `/metrics`. Never returns.
pub async fn serve_metrics(listener: &TcpListener, app: App) {
    Server::new(listener, metrics::router(app)).accept(None, true).await;
}

/// A listener, and the router that serves its connections.
struct Server<'a> {
    listener: &'a TcpListener,
    router: Router,
    permits: Arc<Semaphore>,
}

impl<'a> Server<'a> {
    fn new(listener: &'a TcpListener, router: Router) -> Self {
        Self { listener, router, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }

    /// Accepts connections forever and serves each in its own task. `connections`, if given, can shut these down
    /// gracefully.
    async fn accept(&self, connections: Option<&GracefulShutdown>, keep_alive: bool) {
        loop {
            // The permit comes first, so that connections over the limit stay in the listen queue.
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
            let (stream, peer) = match self.listener.accept().await {
                Ok((stream, peer)) => (stream, Peer(peer)),
                Err(error) => {
                    // Probably out of file descriptors: without a pause this would be a busy loop.
                    tracing::warn!(%error, "a connection was not accepted");
                    time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // A response is one write, so Nagle's algorithm would only delay it.
            let _unsupported = stream.set_nodelay(true);
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(WRITE_TIMEOUT));
            let router = self.router.clone();
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                router.clone().call(request)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_header_size(MAX_HEAD_BYTES)
                .keep_alive(keep_alive)
                .serve_connection(TokioIo::new(Box::pin(stream)), service);
            let watcher = connections.map(GracefulShutdown::watcher);
            tokio::spawn(async move {
                // A broken connection is no fault of the server, so it is not logged.
                let _broken = match watcher {
                    Some(watcher) => watcher.watch(connection).await,
                    None => connection.await,
                };
                drop(permit);
            });
        }
    }
}
