//! Connections: accepted up to a number, read within a time, and let finish at the end.

use std::{sync::Arc, time::Duration};

use axum::extract::Request;
use futures_util::future::Either;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time,
};
use tower::Service;

use super::{App, extract::Peer, router};

/// Connections at a time; more wait in the system's queue. It stays below the usual limit of 1,024 open files.
const MAX_CONNECTIONS: usize = 900;
/// How long the head of a request may take, and how long a connection may lie idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Where reading the head of a request stops, in bytes: twice what `observe` lets through with a proper answer.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How long requests under way may take to finish once the end has come.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Serves until `shutdown` is done, then lets the requests under way finish. While they do, `/ready` says 503 to whoever
/// still asks.
pub async fn serve(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let router = router(app.clone());
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let accept_one = async |graceful: Option<&GracefulShutdown>| {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Some((stream, peer)) = accept(&listener).await else { return };
        let (router, peer) = (router.clone(), Peer(peer));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            router.clone().call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_header_size(MAX_HEAD_BYTES)
            .keep_alive(graceful.is_some())
            .serve_connection(TokioIo::new(stream), service);
        let connection = match graceful {
            Some(graceful) => Either::Left(graceful.watch(connection)),
            None => Either::Right(connection),
        };
        tokio::spawn(async move {
            // A connection that breaks is its client's affair.
            let _broken = connection.await;
            drop(permit);
        });
    };

    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = accept_one(Some(&graceful)) => {}
        }
    }
    app.drain();
    let drained = time::timeout(DRAIN_TIMEOUT, graceful.shutdown());
    tokio::pin!(drained);
    loop {
        tokio::select! {
            _ = &mut drained => break,
            () = accept_one(None) => {}
        }
    }
}

/// The next connection. When the process has no file left for one it waits a little, rather than asking in a circle.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, std::net::SocketAddr)> {
    match listener.accept().await {
        Ok((stream, peer)) => {
            // An answer is one write; waiting to fill a packet would only delay it.
            let _unsupported = stream.set_nodelay(true);
            Some((stream, peer))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection was not accepted");
            time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
