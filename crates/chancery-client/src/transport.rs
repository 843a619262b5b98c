//! Requests over TLS 1.3 to one service, whose authority is known beforehand.
//!
//! **Invariant:** [`Failure::BeforeSending`] is reported only while not one byte of the body was handed to
//! the connection. A request of ours with an effect has a body, so that such a request had none.
//!
//! What is deliberately not here: proxies, redirects, cookies, compression, retries, and any root of trust
//! but the service's own authority. Only suites of TLS 1.3 are offered, which rules out every older version.

use std::cell::Cell;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

use chancery_core::limits::FRAME_BYTES_MAX;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use ureq::http::Request;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, SendBody};

use crate::profile::Profile;

/// The longest wait for a connection and its handshake: 5 seconds.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The longest wait for a whole answer: 30 seconds, above the service's own longest deadline.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The longest answer, in bytes: 4 MiB, room for a page of keys or a batch with receipts in base64.
const ANSWER_BYTES_MAX: u64 = 4 * (FRAME_BYTES_MAX as u64);

/// The authority's certificate is none.
#[derive(Debug, thiserror::Error)]
#[error("the profile's `ca` is not one certificate in PEM")]
pub struct CaError {
    /// What was wrong with it.
    #[source]
    source: ureq::Error,
}

/// No answer came.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing that could have an effect had been sent.
    BeforeSending(ureq::Error),
    /// The request may have arrived.
    AfterSending,
}

/// One HTTP request.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) body: Option<&'a [u8]>,
}

/// One HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Connections to one service, kept open between requests.
#[derive(Debug)]
pub(crate) struct Transport {
    endpoint: String,
    agent: Agent,
}

impl Transport {
    pub(crate) fn new(profile: &Profile) -> Result<Self, CaError> {
        let ca =
            Certificate::from_pem(profile.ca.as_bytes()).map_err(|source| CaError { source })?;
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(tls13_provider()))
            .root_certs(RootCerts::new_with_certs(&[ca]))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_global(Some(ANSWER_MAX))
            .build();
        Ok(Self { endpoint: profile.endpoint.clone(), agent: config.new_agent() })
    }

    /// Sends a request and reads its answer, whatever its status.
    pub(crate) fn call(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let handed_over = Cell::new(Handed::Nothing);
        let answer = self.exchange(call, &handed_over);
        answer.map_err(|error| match handed_over.get() {
            Handed::Nothing => Failure::BeforeSending(error),
            Handed::Something => Failure::AfterSending,
        })
    }

    fn exchange(&self, call: &Call<'_>, handed_over: &Cell<Handed>) -> Result<Answer, ureq::Error> {
        let uri = format!("{}{}", self.endpoint, call.path);
        let mut request = Request::builder().method(call.method).uri(uri);
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        let mut response = match call.body {
            None => self.agent.run(request.body(())?)?,
            Some(body) => {
                let request = request.header("content-type", "application/json");
                let request = request.header("content-length", body.len());
                let mut reader = Watched { bytes: Cursor::new(body), handed_over };
                self.agent.run(request.body(SendBody::from_reader(&mut reader))?)?
            }
        };
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Answer { status: response.status().as_u16(), body })
    }
}

/// Our provider with its suites of TLS 1.3 alone, and its hybrid key exchange first.
fn tls13_provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    provider
}

/// How much of a body has left our hands.
#[derive(Clone, Copy)]
enum Handed {
    Nothing,
    Something,
}

/// A body that notes when the first byte of it is taken.
struct Watched<'a> {
    bytes: Cursor<&'a [u8]>,
    handed_over: &'a Cell<Handed>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.handed_over.set(Handed::Something);
        self.bytes.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_suite_but_those_of_tls_1_3_is_offered() {
        let suites = tls13_provider().cipher_suites;
        assert!(!suites.is_empty() && suites.iter().all(|suite| suite.tls13().is_some()));
    }

    #[test]
    fn a_body_is_watched_from_its_first_byte() {
        let handed_over = Cell::new(Handed::Nothing);
        let mut reader =
            Watched { bytes: Cursor::new(b"body".as_slice()), handed_over: &handed_over };
        assert!(matches!(handed_over.get(), Handed::Nothing));
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 1);
        assert!(matches!(handed_over.get(), Handed::Something));
    }
}
