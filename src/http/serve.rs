//! Connections: accepted up to a number, read and written within a time, and let finish at the end.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{Router, extract::Request};
use hyper::{
    body::Incoming,
    rt::{Sleep, Timer},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{net::TcpListener, sync::Semaphore, time};
use tokio_io_timeout::TimeoutStream;
use tower::Service;

use super::{App, extract::Peer, metrics, router, starting};

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
    let door = Door::new(&listener, router(app.clone()));
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = shutdown => {}
        () = door.accept(Some(&connections), true) => {}
    }
    app.drain();
    let deadline = time::Instant::now() + DRAIN_TIMEOUT;
    let late_connections = GracefulShutdown::new();
    tokio::select! {
        _ = time::timeout_at(deadline, connections.shutdown()) => {}
        () = door.accept(Some(&late_connections), false) => {}
    }
    let _cut_off = time::timeout_at(deadline, late_connections.shutdown()).await;
}

/// Answers while the service is still starting: the process lives, and is not ready. It never ends by itself.
pub async fn serve_starting(listener: &TcpListener) {
    // Each connection is for one request, so that the next one meets the service.
    Door::new(listener, starting()).accept(None, false).await;
}

/// Tells what is counted, at `/metrics`. It never ends by itself.
pub async fn serve_metrics(listener: &TcpListener, app: App) {
    Door::new(listener, metrics::router(app)).accept(None, true).await;
}

/// Where connections come in.
struct Door<'a> {
    listener: &'a TcpListener,
    router: Router,
    places: Arc<Semaphore>,
}

impl<'a> Door<'a> {
    fn new(listener: &'a TcpListener, router: Router) -> Self {
        Self { listener, router, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }

    /// Accepts connections for ever and serves each in a task of its own, which `connections`, if given, can
    /// ask to finish.
    async fn accept(&self, connections: Option<&GracefulShutdown>, keep_alive: bool) {
        loop {
            // First a place, then a connection: whoever finds no place waits in the system's queue.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
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
                .timer(HeadTimer::default())
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
                drop(place);
            });
        }
    }
}

/// The timer of one connection, for the heads of its requests. Each head has a deadline of its own, and all of them share
/// one entry among tokio's timers, which goes off at the first of them and then waits for the last: to make an entry for
/// each request, and take it out again a moment later, would cost more than reading the head does.
#[derive(Clone, Default)]
struct HeadTimer(Arc<Mutex<Option<Pin<Box<time::Sleep>>>>>);

/// One deadline of a [`HeadTimer`].
struct HeadDeadline {
    at: time::Instant,
    timer: HeadTimer,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadDeadline { at: deadline.into(), timer: self.clone() })
    }

    fn now(&self) -> Instant {
        time::Instant::now().into()
    }
}

impl Sleep for HeadDeadline {}

impl Future for HeadDeadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut entry = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entry.get_or_insert_with(|| Box::pin(time::sleep_until(self.at)));
        if entry.deadline() > self.at {
            entry.as_mut().reset(self.at);
        }
        loop {
            ready!(entry.as_mut().poll(context));
            if entry.deadline() == self.at {
                return Poll::Ready(());
            }
            entry.as_mut().reset(self.at);
        }
    }
}
