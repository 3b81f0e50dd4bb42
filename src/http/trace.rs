//! The trace of a request (OpenTelemetry), when there is a collector for it.
//!
//! Rule: a request is one span, named after its route. It says what the line of the log says, and no more: neither the path,
//! which may have the secret of a link in it, nor the query. It belongs to the trace that a trusted proxy names in
//! `traceparent` (W3C Trace Context), and to a new one for everybody else. Threat: a stranger who decides that everything is
//! recorded, or mixes his requests into the traces of others.

use axum::extract::MatchedPath;
use axum::http::{HeaderMap, Method};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, TraceId, Tracer};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;

/// The span of a request. What is logged in its context belongs to its trace.
pub struct Trace(Context);

impl Trace {
    /// Begins the span. `headers` are those of a trusted proxy.
    pub fn begin(
        tracer: &SdkTracer,
        method: &Method,
        route: Option<&MatchedPath>,
        headers: Option<&HeaderMap>,
    ) -> Self {
        let parent = headers.map_or_else(Context::new, |headers| {
            TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers))
        });
        let method = if is_known(method) { method.as_str() } else { "HTTP" };
        let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {}", route.as_str()));
        let span = tracer.span_builder(name).with_kind(SpanKind::Server);
        let span = span.start_with_context(tracer, &parent);
        Self(parent.with_span(span))
    }

    /// The context of the request.
    pub fn context(&self) -> &Context {
        &self.0
    }

    /// What is logged while the guard is there belongs to the trace.
    pub fn enter(&self) -> ContextGuard {
        self.0.clone().attach()
    }

    /// The number of the trace, for the log.
    pub fn id(&self) -> TraceId {
        self.0.span().span_context().trace_id()
    }

    /// Ends the span with what is known of the request (the semantic conventions for HTTP), if it is recorded.
    pub fn end(
        &self,
        method: &Method,
        route: Option<&MatchedPath>,
        status: u16,
        others: impl IntoIterator<Item = KeyValue>,
    ) {
        let span = self.0.span();
        if !span.is_recording() {
            return;
        }
        let method = if is_known(method) { method.as_str() } else { "_OTHER" };
        span.set_attribute(KeyValue::new("http.request.method", method.to_owned()));
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if let Some(route) = route {
            span.set_attribute(KeyValue::new("http.route", route.as_str().to_owned()));
        }
        span.set_attributes(others);
        // What a client did wrong is no error of the server.
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// Whether the method is one of HTTP's own: a client may send any word, and each would be a name of its own.
fn is_known(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ]
    .contains(method)
}
