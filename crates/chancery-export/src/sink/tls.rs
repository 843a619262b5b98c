//! Whom a sink over TLS must be vouched for by: the authorities of a file, and none of the system's.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Authorities.
#[derive(Clone, Debug, Default)]
pub struct Authorities(Vec<CertificateDer<'static>>);

/// The file names no authorities.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no list of certificates.
    #[error("it is no list of certificates in PEM")]
    NotCertificates,
    /// TLS could not be set up with them.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl Authorities {
    /// Those of a file in PEM.
    ///
    /// # Errors
    ///
    /// [`AuthoritiesError`] if there is none in it.
    pub fn load(path: &Path) -> Result<Self, AuthoritiesError> {
        Self::parse(&std::fs::read(path)?)
    }

    /// Those of a text in PEM.
    ///
    /// # Errors
    ///
    /// [`AuthoritiesError::NotCertificates`] if there is none in it.
    pub fn parse(pem: &[u8]) -> Result<Self, AuthoritiesError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(Self(certificates)),
            _ => Err(AuthoritiesError::NotCertificates),
        }
    }

    /// TLS 1.3 and 1.2 with them.
    ///
    /// # Errors
    ///
    /// [`AuthoritiesError`] if one of them is none.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>, AuthoritiesError> {
        let mut roots = RootCertStore::empty();
        for certificate in &self.0 {
            roots.add(certificate.clone())?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    pub(crate) fn of_http(&self) -> TlsConfig {
        let roots: Vec<_> =
            self.0.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .root_certs(RootCerts::new_with_certs(&roots))
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_certificate_names_no_authority() {
        for pem in
            [&b""[..], b"text", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"]
        {
            assert!(matches!(Authorities::parse(pem), Err(AuthoritiesError::NotCertificates)));
        }
    }
}
