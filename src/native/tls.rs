//! TLS from files (rustls).

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Failed;
use super::env::Settings;

/// Makes what TLS connections are accepted with from the PEM files that the settings name, if they do: a
/// certificate with its chain, and its key.
pub fn acceptor(settings: &Settings) -> Result<Option<TlsAcceptor>, Failed> {
    let Some((cert, key)) = &settings.tls else { return Ok(None) };
    let [of_cert, of_key] = [("server.tls_cert (TLS_CERT)", cert), ("server.tls_key (TLS_KEY)", key)].map(named);
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain = chain.map_err(|error| of_cert(&wrong("no certificate in PEM form", error)))?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| of_key(&wrong("no private key in PEM form", error)))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| of_key(&format!("does not belong to the certificate: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// Puts a setting and the file it names before what is wrong.
fn named((setting, path): (&'static str, &PathBuf)) -> impl Fn(&str) -> String {
    let place = format!("{setting}: {}", path.display());
    move |what| format!("{place}: {what}")
}

/// What is wrong with a file: that it cannot be read, or else `what`.
fn wrong(what: &str, error: pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        error => format!("{what}: {error}"),
    }
}
