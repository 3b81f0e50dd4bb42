//! Traces and logs for a collector of OpenTelemetry, over OTLP (protobuf over HTTP).
//!
//! Rule: the service never waits for the collector. Two threads send what two bounded queues hold; what does not fit, and what
//! the collector does not take, is dropped, and the log says so once. Threat: a collector that is slow or gone, and takes the
//! service with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{LogExporter, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config::CollectorSettings;
use crate::error::StartError;

/// How long the collector may take for one batch.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the process waits for what is left, for each of the two queues.
const LAST_TIMEOUT: Duration = Duration::from_secs(2);
/// The most that is read of an answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// The name of the setting with the address.
const URL: &str = "COUNTERSIGN_OTLP_URL";

/// Where traces and logs are sent until this is dropped.
pub struct Collector {
    traces: SdkTracerProvider,
    logs: SdkLoggerProvider,
}

impl Collector {
    /// The collector of these settings, if they name one. Nothing is sent yet: it need not be there.
    pub fn of(settings: &CollectorSettings) -> Result<Option<Self>, StartError> {
        let Some((spans, records)) = exporters(settings)? else { return Ok(None) };
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.otlp_sample)));
        let traces = SdkTracerProvider::builder().with_resource(resource()).with_sampler(sampler);
        Ok(Some(Self {
            traces: traces.with_batch_exporter(spans).build(),
            logs: SdkLoggerProvider::builder().with_resource(resource()).with_batch_exporter(records).build(),
        }))
    }

    /// What begins spans.
    pub fn tracer(&self) -> SdkTracer {
        self.traces.tracer(env!("CARGO_PKG_NAME"))
    }

    /// What takes the lines of the log.
    pub fn log_layer(&self) -> OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger> {
        OpenTelemetryTracingBridge::new(&self.logs)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // What cannot be sent in time is lost with the process.
        let _late = self.traces.shutdown_with_timeout(LAST_TIMEOUT);
        let _late = self.logs.shutdown_with_timeout(LAST_TIMEOUT);
    }
}

/// What sends spans and lines of the log with these settings, if they name a collector.
pub fn exporters(settings: &CollectorSettings) -> Result<Option<(SpanExporter, LogExporter)>, StartError> {
    let Some(url) = settings.otlp_url.as_deref().map(|url| url.trim_end_matches('/')) else {
        // A wrong one is as wrong without the address.
        return settings.headers().map(|_| None);
    };
    let unusable = || StartError::setting(URL, "must be the address of a collector, such as http://127.0.0.1:4318");
    let probe = Request::get(url).body(()).map_err(|_| unusable())?;
    let authority = probe.uri().authority().ok_or_else(unusable)?;
    let has_no_port = authority.as_str() == authority.host();
    // A password would be in plain sight: it belongs into the headers.
    if authority.as_str().contains('@') || (authority.port_u16().is_none() && !has_no_port) {
        return Err(unusable());
    }
    let tls = if url.starts_with("https://") { Some(Arc::new(tls()?)) } else { None };
    let client: Arc<dyn HttpClient> = Arc::new(Client { tls, lost: AtomicU64::new(0) });
    let headers = settings.headers()?;
    // The library has variables of its own, and one of them may be what is wrong.
    let refused = |error| StartError::setting(URL, format_args!("cannot be used ({error})"));
    let spans = SpanExporter::builder().with_http().with_endpoint(format!("{url}/v1/traces"));
    let spans = spans.with_headers(headers.clone()).with_shared_http_client(client.clone()).build().map_err(refused)?;
    let records = LogExporter::builder().with_http().with_endpoint(format!("{url}/v1/logs"));
    let records = records.with_headers(headers).with_shared_http_client(client).build().map_err(refused)?;
    Ok(Some((spans, records)))
}

/// Who we are: what `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say, or else our own name.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let given = Resource::builder().build().get(&Key::from_static_str("service.name"));
    match given.filter(|name| !name.as_str().starts_with("unknown_service")) {
        Some(_) => Resource::builder().with_attribute(version).build(),
        None => Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).with_attribute(version).build(),
    }
}

/// TLS with the certificates that this machine trusts.
fn tls() -> Result<ClientConfig, StartError> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 {
        return Err(StartError::setting(
            URL,
            "this machine trusts no certificates; install its package ca-certificates",
        ));
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// Sends one batch at a time, each on a connection of its own: there is one every few seconds.
#[derive(Debug)]
struct Client {
    tls: Option<Arc<ClientConfig>>,
    /// The batches that the collector has not taken since it last took one.
    lost: AtomicU64,
}

#[async_trait::async_trait]
impl HttpClient for Client {
    /// What cannot be sent counts as sent, because the SDK would say so every few seconds.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The threads of the SDK have no runtime.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sent = runtime.block_on(async { tokio::time::timeout(SEND_TIMEOUT, self.send(request)).await });
        // To drop it would wait for the look-up of a name, which nothing can interrupt.
        runtime.shutdown_background();
        let fault = match sent {
            Ok(Ok(answer)) if answer.status().is_success() => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::info!(lost_batches = lost, "the collector takes traces and logs again");
                }
                return Ok(answer);
            }
            Ok(Ok(answer)) => format!("it answers {}", answer.status()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it does not answer within {} seconds", SEND_TIMEOUT.as_secs()),
        };
        if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                error = fault,
                "the collector does not take traces and logs; they are dropped until it does"
            );
        }
        Ok(Response::new(Bytes::new()))
    }
}

impl Client {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let host = request.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = request.uri().port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some(tls) => {
                let name = ServerName::try_from(host)?;
                exchange(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?, request).await
            }
        }
    }
}

/// Sends a request over a new connection.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (mut head, body) = request.into_parts();
    if let Some(authority) = head.uri.authority() {
        head.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    }
    head.uri = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
    let (head, body) = answer.into_parts();
    Ok(Response::from_parts(head, Limited::new(body, MAX_ANSWER).collect().await?.to_bytes()))
}
