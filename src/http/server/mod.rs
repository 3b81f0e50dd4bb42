//! Connections: a limit on their number, timeouts, and graceful shutdown.

pub mod connections;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;
use tower::Service;

use crate::http::extract::client_address::Peer;
use crate::http::server::connections::{LeastRate, Seats};
use crate::http::server::tls::Tls;
use crate::http::{App, metrics, router, starting_router};

/// Concurrent connections; further ones wait in the listen queue. Below the usual limit of 1,024 open files.
const MAX_CONNECTIONS: u32 = 900;
/// Timeout for receiving a request head, and for an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Where hyper stops reading a request head, in bytes: twice the limit of the middleware, which answers with a problem.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How long running requests may take to finish after shutdown begins.
const FINISH_TIMEOUT: Duration = Duration::from_secs(6);
/// How much of that remains for the connections that were accepted last.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until `shutdown` completes. Then `/ready` answers 503 and each answer closes its connection. After the drain time the
/// running requests finish, and whoever connects meanwhile is still served once: so a balancer that goes on sending requests
/// until it is refused a connection loses none.
pub async fn serve(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let seats = Seats::new(app.0.connections_per_address, app.0.current.clone());
    let server = Server::new(router(app.clone()), seats, app.0.tls.clone());
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = shutdown => {}
        () = server.accept(&listener, Some(&connections), true) => {}
    }
    app.drain();
    // Late connections end by themselves after one request. hyper's shutdown would close those that have not sent it yet.
    tokio::select! {
        () = time::sleep(app.0.drain_time) => {}
        () = server.accept(&listener, None, false) => {}
    }
    let now = time::Instant::now();
    tokio::select! {
        _ = time::timeout_at(now + FINISH_TIMEOUT - LAST_TIMEOUT, connections.shutdown()) => {}
        () = server.accept(&listener, None, false) => {}
    }
    server.accept_last(listener);
    let _cut_off = time::timeout_at(now + FINISH_TIMEOUT, server.permits.acquire_many(MAX_CONNECTIONS)).await;
}

/// Answers while the service starts: the process is alive but not ready. Never returns.
pub async fn serve_starting(listener: &TcpListener, tls: Option<Tls>) {
    // Without keep-alive, so that the next request of a client reaches the started service.
    Server::new(starting_router(), Seats::unlimited(), tls).accept(listener, None, false).await;
}

/// Serves the metrics at `/metrics`. Never returns.
pub async fn serve_metrics(listener: &TcpListener, app: App) {
    Server::new(metrics::router(app), Seats::unlimited(), None).accept(listener, None, true).await;
}

/// The router that serves the connections of a listener.
struct Server {
    router: Router,
    permits: Arc<Semaphore>,
    seats: Seats,
    tls: Option<Tls>,
}

impl Server {
    fn new(router: Router, seats: Seats, tls: Option<Tls>) -> Self {
        Self { router, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS as usize)), seats, tls }
    }

    /// Accepts connections forever and serves each in its own task. `connections`, if given, can shut these down
    /// gracefully.
    async fn accept(&self, listener: &TcpListener, connections: Option<&GracefulShutdown>, keep_alive: bool) {
        loop {
            // The permit comes first, so that connections over the limit stay in the listen queue.
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Probably out of file descriptors: without a pause this would be a busy loop.
                    tracing::warn!(%error, "a connection was not accepted");
                    time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            self.start(stream, peer, permit, connections, keep_alive);
        }
    }

    /// Accepts what waits in the listen queue, and closes the listener: what the queue still held would be reset, and who comes
    /// later can go to another server at once.
    fn accept_last(&self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                self.start(stream, peer, permit, None, false);
            }
        }
    }

    /// Serves a connection in a task of its own.
    fn start(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        connections: Option<&GracefulShutdown>,
        keep_alive: bool,
    ) {
        // Closed without an answer: to write one could take as long as the client likes.
        let Some(seat) = self.seats.take(peer.ip()) else { return };
        // A response is one write, so Nagle's algorithm would only delay it.
        let _unsupported = stream.set_nodelay(true);
        let connection = Connection {
            peer: Peer(peer),
            router: self.router.clone(),
            keep_alive,
            watcher: connections.map(GracefulShutdown::watcher),
        };
        let tls = self.tls.clone();
        tokio::spawn(async move {
            match tls {
                None => connection.serve(LeastRate::new(stream)).await,
                Some(tls) => {
                    let handshake = tls.acceptor().accept(LeastRate::new(stream));
                    if let Ok(Ok(stream)) = time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                        connection.serve(stream).await;
                    }
                }
            }
            drop((permit, seat));
        });
    }
}

/// A connection to be served.
struct Connection {
    peer: Peer,
    router: Router,
    keep_alive: bool,
    watcher: Option<Watcher>,
}

impl Connection {
    /// Serves requests until the client leaves. A broken connection is no fault of the server, so it is not logged.
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { peer, router, keep_alive, watcher } = self;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            router.clone().call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_header_size(MAX_HEAD_BYTES)
            .keep_alive(keep_alive)
            .serve_connection(TokioIo::new(stream), service);
        let _broken = match watcher {
            Some(watcher) => watcher.watch(connection).await,
            None => connection.await,
        };
    }
}
