//! TLS as the front speaks it: 1.3 alone (RFC 8446), hybrid key agreement first.
//!
//! Sessions are resumed from memory alone, never with early data.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ServerConfig, crypto::CryptoProvider};

use crate::limits::SESSIONS_MAX;

/// The certificate in use; another takes its place without a restart.
#[derive(Debug)]
pub(crate) struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    pub(crate) fn new(certified: CertifiedKey) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(certified))))
    }

    /// Puts another in its place, for handshakes to come.
    pub(crate) fn replace(&self, certified: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The one configuration.
///
/// # Errors
///
/// [`rustls::Error`] if the provider lacks what TLS 1.3 needs.
pub(crate) fn config(current: Arc<Current>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];
    let provider = CryptoProvider { kx_groups: groups, ..default_provider() };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.send_tls13_tickets = 1;
    // 0-RTT can be replayed (RFC 8446, 8).
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}
