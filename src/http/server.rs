//! Connections: a cap on their number, time limits for reading and writing, and a graceful shutdown.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{net::TcpListener, sync::Semaphore, time};
use tokio_io_timeout::TimeoutStream;
use tower::Service;

use crate::http::{App, extract::client_address::Peer, metrics, router, starting};

/// Connections at a time; more wait in the system's queue. It stays below the usual limit of 1,024 open files.
const MAX_CONNECTIONS: usize = 900;
/// How long the head of a request may take, and how long a connection may lie idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may leave an answer unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// Where reading the head of a request stops, in bytes: twice what `observe` lets through with a proper answer.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How long requests under way may take to finish once the end has come.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Serves until `shutdown` is done, then lets the requests under way finish. While they do, `/ready` says 503 to whoever
/// still asks.
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

/// Answers while the service is still starting: the process lives, and is not ready. It never ends by itself.
pub async fn serve_starting(listener: &TcpListener) {
    // Each connection is for one request, so that the next one meets the service.
    Server::new(listener, starting()).accept(None, false).await;
}

/// Tells what is counted, at `/metrics`. It never ends by itself.
pub async fn serve_metrics(listener: &TcpListener, app: App) {
    Server::new(listener, metrics::router(app)).accept(None, true).await;
}

/// Where connections come in.
struct Server<'a> {
    listener: &'a TcpListener,
    router: Router,
    permits: Arc<Semaphore>,
}

impl<'a> Server<'a> {
    fn new(listener: &'a TcpListener, router: Router) -> Self {
        Self { listener, router, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }

    /// Accepts connections for ever and serves each in a task of its own, which `connections`, if given, can
    /// ask to finish.
    async fn accept(&self, connections: Option<&GracefulShutdown>, keep_alive: bool) {
        loop {
            // First a place, then a connection: whoever finds no place waits in the system's queue.
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
            let (stream, peer) = match self.listener.accept().await {
                Ok((stream, peer)) => (stream, Peer(peer)),
                Err(error) => {
                    // No file left for it, most likely: asking again at once would only go in a circle.
                    tracing::warn!(%error, "a connection was not accepted");
                    time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // An answer is one write; waiting to fill a packet would only delay it.
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
            let watched = connections.map(GracefulShutdown::watcher);
            tokio::spawn(async move {
                // A connection that breaks is its client's affair.
                let _broken = match watched {
                    Some(watcher) => watcher.watch(connection).await,
                    None => connection.await,
                };
                drop(permit);
            });
        }
    }
}
