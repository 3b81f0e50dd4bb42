//! The access log: one line and one metric observation for each request.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::MatchedPath;
use axum::http::Method;
use opentelemetry::KeyValue;
use tracing::field::display;

use crate::http::metrics::Requests;
use crate::http::request_context::RequestContext;
use crate::http::trace::Trace;
use crate::model::AuditMethod;

/// The status logged when the client disconnected before the response, as in nginx.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The log line of one request. `Drop` writes it, so a request whose client disconnected is logged, too.
pub struct AccessLogEntry {
    /// The metric that counts the request.
    pub requests: Requests,
    /// When the request arrived.
    pub started: Instant,
    /// The HTTP method.
    pub method: Method,
    /// The route template, unless no route matched.
    pub route: Option<MatchedPath>,
    /// The request id, the client address and the caller.
    pub context: RequestContext,
    /// The response status and the cause of a server error; `None` until there is a response.
    pub outcome: Option<(u16, Option<Arc<str>>)>,
    /// The trace of the request, when there is a collector for it.
    pub trace: Option<Arc<Trace>>,
}

impl Drop for AccessLogEntry {
    fn drop(&mut self) {
        let Self { method, context, .. } = self;
        let route = self.route.as_ref().map_or("-", MatchedPath::as_str);
        let (status, cause) = self.outcome.take().unwrap_or((CLIENT_CLOSED_REQUEST, None));
        let duration = self.started.elapsed();
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let origin = context.origin();
        let (request_id, address) = (display(origin.request_id.simple()), display(origin.address));
        let (user, by) = context.caller().unzip();
        let user = user.flatten();
        let trace = self.trace.take();
        if let Some(trace) = &trace {
            let known = [
                KeyValue::new("client.address", origin.address.to_string()),
                KeyValue::new("countersign.request_id", origin.request_id.simple().to_string()),
            ];
            let user = user.map(|user| KeyValue::new("enduser.id", user.to_string()));
            trace.end(method, self.route.as_ref(), status, known.into_iter().chain(user));
        }
        let _entered = trace.as_ref().map(|trace| trace.enter());
        let trace_id = trace.as_ref().map(|trace| display(trace.id()));
        let (user, by) = (user.map(display), by.map(AuditMethod::as_str));
        let cause = cause.as_deref();
        match status {
            // 503 is temporary, as its Retry-After says: a warning, not an error.
            503 => {
                tracing::warn!(%method, route, status, duration_us, request_id, address, user, by, cause, trace_id, "request");
            }
            500.. => {
                tracing::error!(%method, route, status, duration_us, request_id, address, user, by, cause, trace_id, "request");
            }
            _ => {
                tracing::info!(%method, route, status, duration_us, request_id, address, user, by, trace_id, "request");
            }
        }
        self.requests.count(method, route, status, duration);
    }
}
