//! Metrics in the `OpenMetrics` text format, on a separate listener for the operator.
//!
//! No label identifies a user or contains request data. Requests are labelled by method, route template and status
//! class, so the number of time series is bounded.

mod process;

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::http::App;

/// A histogram of request durations in seconds, by method, route and status class.
#[derive(Clone, Debug)]
pub struct Requests(Family<Labels, Histogram, fn() -> Histogram>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    /// The template; `-` when no route matched the path.
    route: Box<str>,
    status: &'static str,
}

impl Default for Requests {
    fn default() -> Self {
        // From 0.1 ms to about 6.6 s.
        Self(Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 2.0, 17))))
    }
}

impl Requests {
    /// Records the duration of one request.
    pub fn count(&self, method: &Method, route: &str, status: u16, duration: Duration) {
        let status = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        let labels = Labels { method: method_label(method), route: route.into(), status };
        self.0.get_or_create(&labels).observe(duration.as_secs_f64());
    }

    /// Registers the histogram under its public name.
    pub fn register(&self, registry: &mut Registry) {
        let help = "How long requests took, by method, route and class of status";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, self.0.clone());
    }
}

/// The method as a label. Clients can invent methods, so unknown ones share the label `other`.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// The router of the metrics listener.
pub fn router(app: App) -> Router {
    Router::new().route("/metrics", get(get_metrics)).with_state(app)
}

async fn get_metrics(State(app): State<App>) -> Result<impl IntoResponse, StatusCode> {
    app.auth().refresh_gauges().await;
    let mut body = String::new();
    let mut encode = |registry: &Registry| text::encode_registry(&mut body, registry);
    let encoded = encode(app.auth().metrics()).and_then(|()| encode(app.metrics()));
    let encoded = encoded.and_then(|()| process::encode(&mut body)).and_then(|()| text::encode_eof(&mut body));
    encoded.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], body))
}
