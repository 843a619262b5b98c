//! TLS 1.3 for the load generator and for the servers that have no certificate of their own.
//!
//! The groups are those of the service's front, hybrid first, so that every contender whose library knows
//! them agrees on the same. Handshakes are over before anything is measured.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::CryptoProvider};

/// The name in every certificate.
pub(crate) const HOST: &str = "localhost";

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Identity {
    /// Makes one that is signed by itself.
    pub(crate) fn make() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]);
        let made = made.context("no certificate can be made")?;
        Ok(Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }

    /// A server that has this certificate.
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>> {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes())
            .context("the certificate is none")?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).context("the key is none")?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A client that trusts one authority, or one certificate, in PEM.
pub(crate) fn client(trusted: &str) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(trusted.as_bytes());
    roots.add(trusted.context("the trusted certificate is none")?)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    let groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];
    Arc::new(CryptoProvider { kx_groups: groups, ..default_provider() })
}
