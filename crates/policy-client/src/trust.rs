//! The pinned roots: the certificates in the configured CA file, and no others.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::error::ClientError;

/// Reads the PEM file at `path` and pins what it holds. Every certificate in it must be usable as a root.
pub(crate) fn tls_from_ca_file(path: &Path) -> Result<TlsConfig, ClientError> {
    let refuse = |why: String| ClientError::BadCa { path: path.to_owned(), why };
    let pem = fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let mut roots = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| refuse("it is not PEM".to_owned()))?;
        // ureq drops roots that it cannot use without a word; here that is an error.
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| refuse(format!("certificate {}: {error}", roots.len() + 1)))?;
        roots.push(Certificate::from_der(&certificate).to_owned());
    }
    if roots.is_empty() {
        return Err(refuse("it holds no certificate".to_owned()));
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        // Named explicitly: the process-wide default provider of rustls belongs to the application.
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}
