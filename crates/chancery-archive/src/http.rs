//! The HTTP of an object store, over the client and the TLS that everything else here uses.
//!
//! `object_store` brings a client of its own, with a runtime's worth of crates behind it; it is left out. One request is
//! under way at a time, so a client that waits is enough.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ureq::Agent;
use ureq::http::{Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// The longest answer that is read: 1 GiB; a dense segment has some 60 MiB at most.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// How long one request may take: 5 min, for a segment over a slow line.
const ATTEMPT: Duration = Duration::from_mins(5);

/// Whom the store must be vouched for by.
#[derive(Clone, Debug, Default)]
pub struct Authorities(Vec<CertificateDer<'static>>);

/// The text holds no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no list of certificates in PEM")]
pub struct NotCertificates;

impl Authorities {
    /// Those of a text in PEM.
    ///
    /// # Errors
    ///
    /// [`NotCertificates`] if there is none in it.
    pub fn parse(pem: &[u8]) -> Result<Self, NotCertificates> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(Self(certificates)),
            _ => Err(NotCertificates),
        }
    }

    fn tls(&self) -> TlsConfig {
        let roots: Vec<_> =
            self.0.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .root_certs(RootCerts::new_with_certs(&roots))
            .build()
    }
}

/// Makes the client.
#[derive(Debug)]
pub(crate) struct Connector(pub(crate) Authorities);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let config = Agent::config_builder()
            .tls_config(self.0.tls())
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(ATTEMPT))
            .build();
        Ok(HttpClient::new(Waiting(config.new_agent())))
    }
}

/// A client that waits for the answer in the calling thread.
#[derive(Debug)]
struct Waiting(Agent);

impl HttpService for Waiting {
    // As the attribute of the `async-trait` crate would write it.
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            let answer = self.0.run(Request::from_parts(parts, body)).map_err(failed)?;
            let (parts, mut body) = answer.into_parts();
            let bytes = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(failed)?;
            Ok(Response::from_parts(parts, bytes.into()))
        })
    }
}

/// What may be tried again is told from what may not.
fn failed(error: ureq::Error) -> HttpError {
    use ureq::Error as E;
    let kind = match &error {
        E::ConnectionFailed | E::HostNotFound => HttpErrorKind::Connect,
        E::Timeout(_) => HttpErrorKind::Timeout,
        E::Io(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
