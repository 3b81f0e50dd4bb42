//! The access log: one line, and one count, for each request.

use std::{sync::Arc, time::Instant};

use axum::{extract::MatchedPath, http::Method};
use tracing::field::display;

use crate::{
    http::{metrics::Requests, request_context::RequestContext},
    model::AuditMethod,
};

/// The status in the log of a request whose client disconnected before the answer, as in nginx.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The line of one request. It is written when this is dropped, so that a request whose client disconnected has one, too.
pub struct AccessLogEntry {
    /// Where the request is counted.
    pub requests: Requests,
    /// When the request began.
    pub started: Instant,
    /// Its method.
    pub method: Method,
    /// The template of its route, if it has one.
    pub route: Option<MatchedPath>,
    /// Its id, where it comes from and who is calling.
    pub context: RequestContext,
    /// The status of the answer, and the cause of a fault; none while there is no answer.
    pub outcome: Option<(u16, Option<Arc<str>>)>,
}

impl Drop for AccessLogEntry {
    fn drop(&mut self) {
        let Self { method, context, .. } = self;
        let route = self.route.as_ref().map_or("-", MatchedPath::as_str);
        let (status, cause) = self.outcome.take().unwrap_or((CLIENT_CLOSED_REQUEST, None));
        let took = self.started.elapsed();
        let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let origin = context.origin();
        let (request_id, address) = (display(origin.request_id.simple()), display(origin.address));
        let (user, by) = context.caller().unzip();
        let (user, by) = (user.flatten().map(display), by.map(AuditMethod::as_str));
        let cause = cause.as_deref();
        match status {
            // It passes, and Retry-After says so.
            503 => tracing::warn!(%method, route, status, duration_us, request_id, address, user, by, cause, "request"),
            500.. => {
                tracing::error!(%method, route, status, duration_us, request_id, address, user, by, cause, "request");
            }
            _ => tracing::info!(%method, route, status, duration_us, request_id, address, user, by, "request"),
        }
        self.requests.count(method, self.route.clone(), status, took);
    }
}
