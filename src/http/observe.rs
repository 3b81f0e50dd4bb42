//! What surrounds every request: its id, its time limit, the wall that panics stop at, the headers every answer has, the
//! place where problems are written out, and the one line in the log.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::Poll,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method,
        header::{CACHE_CONTROL, CONTENT_LENGTH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
    routing::Route,
};
use futures_util::FutureExt;
use tokio::time::error::Elapsed;
use tower::{Service, layer::layer_fn, service_fn};
use uuid::Uuid;

use super::{
    metrics::Requests,
    problem::{self, Asked, Problem},
};
use crate::model::{Principal, User, UserId};

/// The longest a request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The route that takes as long as the file it is sent: each part of that has a time limit of its own.
const UNHURRIED: &str = "/admin/import";
/// The largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is known of a request beyond itself: its id, and who turned out to be calling, which the extractor leaves here for
/// the log.
#[derive(Clone)]
pub struct Seen(Arc<Inner>);

struct Inner {
    request_id: Uuid,
    caller: OnceLock<(Option<UserId>, &'static str)>,
}

impl Seen {
    fn new(request_id: Uuid) -> Self {
        Self(Arc::new(Inner { request_id, caller: OnceLock::new() }))
    }

    /// The request's id, for whoever writes of it elsewhere than in the log.
    pub fn request_id(&self) -> Uuid {
        self.0.request_id
    }

    /// Notes who is calling, and how they proved it.
    pub fn note(&self, principal: &Principal) {
        let _already = self.0.caller.set((Some(principal.user.id), principal.method.as_str()));
    }

    /// Notes who logged in.
    pub fn note_login(&self, user: &User) {
        let _already = self.0.caller.set((Some(user.id), "password"));
    }

    /// Notes that the caller holds the setup token.
    pub fn note_setup(&self) {
        let _already = self.0.caller.set((None, "setup"));
    }
}

/// The line of one request, and its place in the count. It is written when this is dropped, so that a request whose client
/// went away has one too.
struct Line {
    requests: Requests,
    started: Instant,
    request_id: String,
    method: Method,
    route: Option<MatchedPath>,
    seen: Seen,
    /// The status, and what happened inside; none while the answer is not there.
    outcome: Option<(u16, Option<Arc<str>>)>,
}

/// What the log says of a request whose client went away before the answer, as nginx does.
const CLIENT_WENT_AWAY: u16 = 499;

impl Drop for Line {
    fn drop(&mut self) {
        let Self { request_id, method, .. } = self;
        let route = self.route.as_ref().map_or("-", MatchedPath::as_str);
        let (status, cause) = self.outcome.take().unwrap_or((CLIENT_WENT_AWAY, None));
        let took = self.started.elapsed();
        let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let (user, by) = self.seen.0.caller.get().copied().unzip();
        let mut id = Uuid::encode_buffer();
        let user = user.flatten().map(|UserId(user)| &*user.hyphenated().encode_lower(&mut id));
        let cause = cause.as_deref();
        match status {
            // Passing, and said to be so.
            503 => tracing::warn!(%method, route, status, duration_us, request_id, user, by, cause, "request"),
            500.. => tracing::error!(%method, route, status, duration_us, request_id, user, by, cause, "request"),
            _ => tracing::info!(%method, route, status, duration_us, request_id, user, by, "request"),
        }
        self.requests.note(method, self.route.clone(), status, took);
    }
}

/// Surrounds every route with [`observe`].
pub fn observed<S: Clone + Send + Sync + 'static>(router: Router<S>, requests: Requests) -> Router<S> {
    // By hand: axum's `from_fn` makes two more boxes and one more copy of the route for each request.
    router.layer(layer_fn(move |mut route: Route| {
        let requests = requests.clone();
        service_fn(move |request| observe(requests.clone(), request, &mut route))
    }))
}

/// Runs one request.
fn observe(
    requests: Requests,
    mut request: Request,
    route: &mut Route,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    let request_id = new_request_id();
    let line = Line {
        requests,
        started: Instant::now(),
        request_id: request_id.simple().to_string(),
        method: request.method().clone(),
        route: request.extensions().get().cloned(),
        seen: Seen::new(request_id),
        outcome: None,
    };
    let asked = Asked {
        by_page_script: is_page_script(request.headers()),
        speaks_oauth: request.uri().path().starts_with("/oauth/"),
    };
    request.extensions_mut().insert(line.seen.clone());
    // A route runs nothing before it is waited for.
    let run = (head_bytes(&request) <= MAX_HEAD_BYTES).then(|| route.call(request));

    async move {
        let mut line = line;
        let mut response = match run {
            Some(run) => {
                let is_unhurried = line.route.as_ref().is_some_and(|route| route.as_str() == UNHURRIED);
                let limit = if is_unhurried { Duration::MAX } else { REQUEST_TIMEOUT };
                match within(limit, pin!(AssertUnwindSafe(run).catch_unwind())).await {
                    Ok(Ok(Ok(response))) => response,
                    Ok(Ok(Err(never))) => match never {},
                    Ok(Err(_panic)) => Problem::new(&problem::INTERNAL).into_response(),
                    Err(_elapsed) => Problem::new(&problem::TIMEOUT).into_response(),
                }
            }
            None => Problem::new(&problem::HEADERS_TOO_LARGE).into_response(),
        };

        let mut cause = None;
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            cause = problem.cause.clone();
            response.headers_mut().remove(CONTENT_LENGTH);
            let body = problem.write(&line.request_id, asked, response.headers_mut());
            *response.body_mut() = body;
        }
        finish_headers(response.headers_mut(), &line.request_id);
        line.outcome = Some((response.status().as_u16(), cause));
        Ok(response)
    }
}

/// Runs something that may take so long. Most requests never wait, and need no timer.
async fn within<F: Future>(limit: Duration, mut run: Pin<&mut F>) -> Result<F::Output, Elapsed> {
    match poll_fn(|context| Poll::Ready(run.as_mut().poll(context))).await {
        Poll::Ready(done) => Ok(done),
        // Boxed, since a future is as large as its largest branch, and there is one for every request.
        Poll::Pending => Box::pin(tokio::time::timeout(limit, run)).await,
    }
}

/// An id like no other. It is no secret, so one draw of randomness does for many.
fn new_request_id() -> Uuid {
    thread_local!(static DRAWN: RefCell<Vec<[u8; 16]>> = RefCell::default());
    let bytes = DRAWN.with_borrow_mut(|drawn| {
        if drawn.is_empty() {
            drawn.extend(crate::auth::random::<1024>().as_chunks().0);
        }
        drawn.pop().unwrap_or_default()
    });
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// How much the client said before the body.
fn head_bytes(request: &Request) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    request.uri().path_and_query().map_or(0, |target| target.as_str().len()) + headers.sum::<usize>()
}

/// Whether a script on a page asked (Fetch Metadata), not a person who typed an address.
fn is_page_script(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode != "navigate")
}

/// What every answer says: its request's id, and that nobody should keep it or guess at its type.
fn finish_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};

    use super::*;

    async fn status_of(path: &str) -> u16 {
        let router = Router::new()
            .route(
                "/panics",
                get(async || {
                    if true {
                        panic!("on purpose")
                    }
                }),
            )
            .route("/hangs", get(std::future::pending::<()>));
        let mut router = observed(router, Requests::default());
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router.call(request).await.unwrap();
        let kind = response.headers().get("content-type").unwrap();
        assert_eq!(kind, "application/problem+json");
        response.status().as_u16()
    }

    #[tokio::test]
    async fn a_panic_is_a_500_and_the_process_lives() {
        assert_eq!(status_of("/panics").await, 500);
        assert_eq!(status_of("/panics").await, 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_hangs_is_given_up() {
        let before = tokio::time::Instant::now();
        assert_eq!(status_of("/hangs").await, 503);
        assert_eq!(before.elapsed().as_secs(), REQUEST_TIMEOUT.as_secs());
    }
}
