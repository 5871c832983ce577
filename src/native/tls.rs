//! TLS from files (rustls).

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Failed;
use super::env::Settings;

/// Makes what TLS connections are accepted with from the PEM files that the settings name, if they do: a
/// certificate with its chain, and its key.
pub fn acceptor(settings: &Settings) -> Result<Option<TlsAcceptor>, Failed> {
    let Some((cert, key)) = &settings.tls else { return Ok(None) };
    let of = |path: &Path, what: &str, error: &dyn std::fmt::Display| format!("{}: {what}: {error}", path.display());
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain = chain.map_err(|error| of(cert, "no certificate in PEM form", &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| of(key, "no private key in PEM form", &error))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| of(key, "does not belong to the certificate", &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
