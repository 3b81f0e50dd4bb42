//! `countersign health`: asks the server of these settings, on this machine, whether it is ready.
//!
//! Rule: it asks `/ready`, since whoever looks at the health of a container wants to know whether the service can be used. With
//! TLS the server must prove that it has the key of the certificate in the settings; who signed that certificate, and for which
//! name, is the business of clients that come from elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::cli::{block_on, print};
use crate::config::Config;
use crate::error::{CommandError, StartError};

/// How long the server may take in all. It gives its database two seconds.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is read of an answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 16 * 1024;

const REQUEST: &[u8] = b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Runs `countersign health`. It reads no database and no key.
pub fn run(config: &Config) -> Result<(), CommandError> {
    let address = reachable(config.server.listen)?;
    let tls = config.server.tls_cert.as_deref().map(connector).transpose()?;
    let answer = block_on(async { timeout(TIMEOUT, ask(address, tls)).await })?;
    let silent = |why| CommandError(format!("the server at {address} does not answer: {why}"));
    let answer = answer.map_err(|_elapsed| silent(format!("{} seconds have passed", TIMEOUT.as_secs())))?;
    let answer = answer.map_err(|error| silent(error.to_string()))?;
    match Readiness::of(&answer) {
        Readiness::Ready => print(&format!("the server at {address} is ready\n")),
        Readiness::NotReady(problem) => Err(CommandError(format!("the server at {address} is not ready: {problem}"))),
        Readiness::Foreign => {
            let mend = "is something else in its place, or does the server have other settings?";
            Err(CommandError(format!("what answers at {address} is not the server of these settings; {mend}")))
        }
    }
}

/// The address by which this machine reaches a listener.
fn reachable(listen: SocketAddr) -> Result<SocketAddr, StartError> {
    if listen.port() == 0 {
        return Err(StartError::setting("COUNTERSIGN_LISTEN", "has port 0, which is any; name the port of the server"));
    }
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, listen.port()))
}

async fn ask(address: SocketAddr, tls: Option<TlsConnector>) -> io::Result<Vec<u8>> {
    let stream = TcpStream::connect(address).await?;
    match tls {
        None => exchange(stream).await,
        Some(tls) => exchange(tls.connect(ServerName::IpAddress(address.ip().into()), stream).await?).await,
    }
}

/// Sends the request and reads until the server closes the connection.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Vec<u8>> {
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// What an answer to `/ready` says.
#[derive(Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    /// With the code of the problem, such as `draining`.
    NotReady(String),
    /// It is no answer of Countersign.
    Foreign,
}

impl Readiness {
    fn of(answer: &[u8]) -> Self {
        let text = String::from_utf8_lossy(answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let member = |name| body.get(name).and_then(Value::as_str);
        match (head.split(' ').nth(1), member("status"), member("type")) {
            (Some("200"), Some("ok"), _) => Self::Ready,
            (Some("503"), _, Some(problem)) => {
                Self::NotReady(problem.rsplit('/').next().unwrap_or_default().escape_default().to_string())
            }
            _ => Self::Foreign,
        }
    }
}

/// Connects to servers with the certificate in this file, and to no others.
fn connector(file: &Path) -> Result<TlsConnector, StartError> {
    let certificate = CertificateDer::from_pem_file(file).map_err(|error| {
        let mend = "name a PEM file that this user may read";
        StartError::setting("COUNTERSIGN_TLS_CERT", format_args!("{} cannot be used ({error}); {mend}", file.display()))
    })?;
    let builder = ClientConfig::builder();
    let algorithms = builder.crypto_provider().signature_verification_algorithms;
    let verifier = Arc::new(OneCertificate { certificate, algorithms });
    let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts one certificate, from whoever has its key.
#[derive(Debug)]
struct OneCertificate {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OneCertificate {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *shown == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("it shows another certificate than that in COUNTERSIGN_TLS_CERT".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback_and_any_other_by_its_own() {
        let reached = |listen: &str| reachable(listen.parse().unwrap()).map(|address| address.to_string());
        for (listen, expected) in [
            ("0.0.0.0:5000", "127.0.0.1:5000"),
            ("[::]:5000", "[::1]:5000"),
            ("10.0.3.7:80", "10.0.3.7:80"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
        ] {
            assert_eq!(reached(listen).unwrap(), expected);
        }
        assert!(reached("127.0.0.1:0").unwrap_err().to_string().starts_with("COUNTERSIGN_LISTEN: has port 0"));
    }

    #[test]
    fn only_an_answer_of_countersign_says_whether_it_is_ready() {
        let of = |answer: &str| Readiness::of(answer.as_bytes());
        assert_eq!(of("HTTP/1.1 200 OK\r\na: b\r\n\r\n{\"status\":\"ok\"}"), Readiness::Ready);
        let problem = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"type\":\"/problems/starting\",\"status\":503}";
        assert_eq!(of(problem), Readiness::NotReady("starting".to_owned()));
        for foreign in [
            "",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n<h1>hello</h1>",
            "HTTP/1.1 404 Not Found\r\n\r\n{\"status\":\"ok\"}",
            "HTTP/1.1 503 Service Unavailable\r\n\r\nno server is available",
            "SSH-2.0-OpenSSH_9.2\r\n",
        ] {
            assert_eq!(of(foreign), Readiness::Foreign, "{foreign}");
        }
    }
}
