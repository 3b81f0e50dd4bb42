//! TLS: the certificate and the key of the server.
//!
//! Rule: TLS 1.2 and 1.3 alone, by rustls. The two files are read again when they change; while a new pair cannot be used, the
//! old one serves on and the log says so. Threat: passwords that cross the network in the clear, and a certificate that
//! expires because nobody restarted the server.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::StartError;
use crate::model::TokenHash;

/// How often the files are read.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// The certificate and the key, as of the last time that they could be used. Clones share them.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<(TlsAcceptor, TokenHash)>,
}

impl Tls {
    /// Reads a chain of certificates and a private key from PEM files.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, StartError> {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        let current = RwLock::new(load(&certificate, &key)?);
        Ok(Self(Arc::new(Inner { certificate, key, current })))
    }

    /// What accepts the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Reads the files again and again. Never returns.
    pub async fn watch(&self) {
        loop {
            sleep(RELOAD_INTERVAL).await;
            if let Err(error) = self.reload() {
                tracing::warn!(%error, "the TLS certificate could not be read again; the old one is in use");
            }
        }
    }

    /// Takes the pair in the files into use, if it is another one.
    pub fn reload(&self) -> Result<(), StartError> {
        let new = load(&self.0.certificate, &self.0.key)?;
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        if !current.1.matches(new.1.as_bytes()) {
            *current = new;
            tracing::info!("a new TLS certificate is in use");
        }
        Ok(())
    }
}

/// Reads the pair. Returns it with the hash of its files.
fn load(certificate: &Path, key: &Path) -> Result<(TlsAcceptor, TokenHash), StartError> {
    let unusable = |setting, file: &Path, error: &dyn std::fmt::Display| {
        let mend = "name a PEM file that this user may read";
        StartError::setting(setting, format_args!("{} cannot be used ({error}); {mend}", file.display()))
    };
    let certificate_pem =
        std::fs::read(certificate).map_err(|error| unusable("COUNTERSIGN_TLS_CERT", certificate, &error))?;
    let key_pem = std::fs::read(key).map_err(|error| unusable("COUNTERSIGN_TLS_KEY", key, &error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate_pem).collect();
    let chain = chain.map_err(|error| unusable("COUNTERSIGN_TLS_CERT", certificate, &error))?;
    if chain.is_empty() {
        return Err(unusable("COUNTERSIGN_TLS_CERT", certificate, &"it has no certificate"));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&key_pem).map_err(|error| unusable("COUNTERSIGN_TLS_KEY", key, &error))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private);
    let mut config = config.map_err(|error| unusable("COUNTERSIGN_TLS_KEY", key, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), TokenHash::of(&[certificate_pem, key_pem].concat())))
}
