//! TLS towards others: witnesses, object stores, sinks of the export.
//!
//! Whom one of them must be vouched for by stands in a file; the system's authorities are not taken. Where it asks who is
//! there, a certificate and its key are shown.
//!
//! **Invariant:** there is one provider of cryptography, and one place where a client of TLS is set up.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

use crate::files::read_text;

/// The longest file of certificates, in bytes: 1 MiB, more than a system's whole list.
const PEM_BYTES_MAX: usize = 1024 * 1024;

/// Who vouches for others, and who we are to them.
#[derive(Default)]
pub(crate) struct Authorities {
    roots: Vec<CertificateDer<'static>>,
    identity: Option<Identity>,
}

/// A certificate with those that lead to an authority, and its key.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The same, as the client of HTTP has it.
    of_http: PrivateKey<'static>,
}

impl Authorities {
    /// Those of a file in PEM; none, if there is no file.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self> {
        let roots = path.map(certificates).transpose()?.unwrap_or_default();
        Ok(Self { roots, identity: None })
    }

    /// The same, for one that shows a certificate of its own.
    pub(crate) fn showing(self, chain: &Path, key: &Path) -> Result<Self> {
        let what = || format!("`{}` is no private key in PEM", key.display());
        let text = zeroize::Zeroizing::new(read_text(key, PEM_BYTES_MAX)?);
        let of_http = PrivateKey::from_pem(text.as_bytes()).ok().with_context(what)?;
        let parsed = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok().with_context(what)?;
        let identity = Identity { chain: certificates(chain)?, key: parsed, of_http };
        let authorities = Self { identity: Some(identity), ..self };
        // That they belong together is said before anything is sent.
        authorities.client().with_context(|| {
            format!("`{}` is not the key of `{}`", key.display(), chain.display())
        })?;
        Ok(authorities)
    }

    /// TLS 1.3 and 1.2 with them.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        for certificate in &self.roots {
            roots.add(certificate.clone()).context("an authority that cannot be used")?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        Ok(Arc::new(match &self.identity {
            None => config.with_no_client_auth(),
            Some(Identity { chain, key, .. }) => {
                config.with_client_auth_cert(chain.clone(), key.clone_key())?
            }
        }))
    }

    /// The same for HTTP.
    pub(crate) fn of_http(&self) -> TlsConfig {
        let owned = |der: &CertificateDer<'_>| Certificate::from_der(der).to_owned();
        let roots: Vec<_> = self.roots.iter().map(owned).collect();
        let shown = self.identity.as_ref().map(|Identity { chain, of_http, .. }| {
            let chain: Vec<_> = chain.iter().map(owned).collect();
            ClientCert::new_with_certs(&chain, of_http.to_owned())
        });
        TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .root_certs(RootCerts::new_with_certs(&roots))
            .client_cert(shown)
            .build()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let what = || format!("`{}` is no list of certificates in PEM", path.display());
    let text = read_text(path, PEM_BYTES_MAX)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let all = all.with_context(what)?;
    if all.is_empty() {
        bail!(what());
    }
    Ok(all)
}
