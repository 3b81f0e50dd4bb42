//! The middleware of every route. It creates the request context, limits the size of the request head and the duration,
//! catches panics, renders problems, sets the headers that every response has, and writes the access log.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::FutureExt;
use futures_util::future::Either;
use opentelemetry::context::FutureExt as _;
use opentelemetry_sdk::trace::SdkTracer;
use tokio::time;
use tower::layer::layer_fn;
use tower::{Service, service_fn};
use uuid::Uuid;

use crate::http::access_log::AccessLogEntry;
use crate::http::current::Current;
use crate::http::extract::client_address::{Peer, client_address};
use crate::http::metrics::Requests;
use crate::http::pages::Pages;
use crate::http::problem::{self, Problem, ProblemContext};
use crate::http::request_context::RequestContext;
use crate::http::trace::Trace;
use crate::http::unread_body::UnreadBody;

/// The timeout of a request, including its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The routes without that timeout, since their files may be large; each chunk of the body has a timeout instead.
const UNLIMITED_ROUTES: [&str; 2] = ["/admin/import", "/admin/console/import"];
/// The largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the middleware knows of the server.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The durations of requests.
    pub requests: Requests,
    /// The proxies that may set the client address, and the origins whose pages may call the service.
    pub current: Current,
    /// The pages for people.
    pub pages: Option<Pages>,
    /// What begins the spans of requests, when there is a collector for them.
    pub tracer: Option<SdkTracer>,
    /// Whether clients connect by TLS.
    pub has_tls: bool,
    /// Whether the server is shutting down.
    pub draining: Arc<AtomicBool>,
}

/// Applies the middleware to every route of a router.
pub fn apply<S>(router: Router<S>, surroundings: Surroundings) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    // axum's `from_fn` would cost two more allocations and a clone of the route for each request.
    router.layer(layer_fn(move |mut route: Route| {
        let surroundings = surroundings.clone();
        service_fn(move |request| handle(&surroundings, request, &mut route))
    }))
}

/// Passes one request through the middleware to its route.
fn handle(
    surroundings: &Surroundings,
    mut request: Request,
    route: &mut Route,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    let Surroundings { requests, current, pages, tracer, has_tls, draining } = surroundings;
    let (requests, has_tls, draining) = (requests.clone(), *has_tls, draining.clone());
    let peer = request.extensions().get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(peer)| peer.ip());
    let (address, cross_origin, trace) = {
        let current = current.read();
        let address = client_address(peer, request.headers(), &current.trusted_proxies);
        let trace = tracer.as_ref().map(|tracer| {
            let is_proxy = current.trusted_proxies.contains(peer.to_canonical());
            let headers = is_proxy.then(|| request.headers());
            Arc::new(Trace::begin(tracer, request.method(), request.extensions().get(), headers))
        });
        (address, current.cors.of(request.uri().path(), request.headers()), trace)
    };
    let context = RequestContext::new(Uuid::new_v4(), address);
    let log_entry = AccessLogEntry {
        requests,
        started: Instant::now(),
        method: request.method().clone(),
        route: request.extensions().get().cloned(),
        context: context.clone(),
        outcome: None,
        trace: trace.clone(),
    };
    let problem_context = ProblemContext {
        by_page_script: is_page_script(request.headers()),
        is_oauth: request.uri().path().starts_with("/oauth/"),
    };
    let path = request.uri().path();
    // Whoever mistypes an address in a browser reads a page, too.
    let is_lost = log_entry.route.is_none() && accepts_pages(request.headers());
    let pages = pages.as_ref().filter(|_| is_lost || Pages::has(path)).map(|pages| (pages.clone(), path.to_owned()));
    let preflight = cross_origin.preflight(request.method(), request.headers());
    let request_id = context.origin().request_id.simple().to_string();
    request.extensions_mut().insert(context);
    let unread_body = UnreadBody::watch(&mut request);
    // This only creates the future of the route; nothing runs before it is awaited.
    let future = (head_bytes(&request) <= MAX_HEAD_BYTES).then(|| route.call(request));
    let future = future.map(|future| match trace {
        Some(trace) => Either::Left(future.with_context(trace.context().clone())),
        None => Either::Right(future),
    });

    async move {
        let mut log_entry = log_entry;
        let mut response = match (preflight, future) {
            (Some(preflight), _) => preflight,
            (None, Some(future)) => {
                let has_limit =
                    log_entry.route.as_ref().is_none_or(|route| !UNLIMITED_ROUTES.contains(&route.as_str()));
                let limit = if has_limit { REQUEST_TIMEOUT } else { Duration::MAX };
                match time::timeout(limit, AssertUnwindSafe(future).catch_unwind()).await {
                    Ok(Ok(Ok(response))) => response,
                    Ok(Ok(Err(never))) => match never {},
                    Ok(Err(_panic)) => Problem::new(&problem::INTERNAL).into_response(),
                    Err(_elapsed) => Problem::new(&problem::TIMEOUT).into_response(),
                }
            }
            (None, None) => Problem::new(&problem::HEADERS_TOO_LARGE).into_response(),
        };

        let mut cause = None;
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            cause = problem.cause.clone();
            response.headers_mut().remove(CONTENT_LENGTH);
            let headers = response.headers_mut();
            let body = match &pages {
                Some((pages, path)) => pages.problem(path, &problem, &request_id, headers),
                None => problem.render(&request_id, problem_context, headers),
            };
            *response.body_mut() = body;
        }
        set_common_headers(response.headers_mut(), &request_id);
        cross_origin.set_headers(response.headers_mut());
        if has_tls {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        let is_read = match unread_body {
            Some(body) => body.finish().await,
            None => true,
        };
        if !is_read || draining.load(Ordering::Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        log_entry.outcome = Some((response.status().as_u16(), cause));
        Ok(response)
    }
}

/// The size of a request's target and headers, in bytes.
fn head_bytes(request: &Request) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    request.uri().path_and_query().map_or(0, |target| target.as_str().len()) + headers.sum::<usize>()
}

/// Whether a script on a page sent the request, rather than a navigation (the `Sec-Fetch-Mode` of Fetch Metadata).
fn is_page_script(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode != "navigate")
}

/// Whether whoever sent the request reads pages, as browsers say when they open one.
fn accepts_pages(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|types| types.to_str().ok()).is_some_and(|types| types.contains("text/html"))
}

/// Sets the headers of every response: request id, `no-store` by default, no type sniffing, no `Referer`.
fn set_common_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
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
        let mut router = apply(router, Surroundings::default());
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router.call(request).await.unwrap();
        let kind = response.headers().get("content-type").unwrap();
        assert_eq!(kind, "application/problem+json");
        response.status().as_u16()
    }

    #[tokio::test]
    async fn a_panic_becomes_a_500_and_the_service_survives() {
        assert_eq!(status_of("/panics").await, 500);
        assert_eq!(status_of("/panics").await, 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_request_times_out() {
        let before = tokio::time::Instant::now();
        assert_eq!(status_of("/hangs").await, 503);
        assert_eq!(before.elapsed().as_secs(), REQUEST_TIMEOUT.as_secs());
    }
}
