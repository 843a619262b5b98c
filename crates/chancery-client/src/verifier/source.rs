//! Where bundles come from.

use std::time::Duration;

use chancery_core::epoch::Epoch;
use chancery_core::reason::Reason;

use super::hexadecimal;
use crate::client::{Client, refusal};
use crate::outcome::Refusal;
use crate::transport::{Answer, Call, Failure};

/// What hands out bundles. It is trusted with nothing but to be there.
pub trait BundleSource: Send + Sync {
    /// The signed head of the latest bundle; nothing if it is the one of that digest, which after so long it still is.
    ///
    /// # Errors
    ///
    /// [`SourceError`] if none came.
    fn head(&self, known: Option<[u8; 32]>, wait: Duration)
    -> Result<Option<Vec<u8>>, SourceError>;

    /// The entries of the bundle of that number, from a place on.
    ///
    /// # Errors
    ///
    /// [`SourceError`] if none came.
    fn page(&self, number: Epoch, from: u64) -> Result<Vec<u8>, SourceError>;
}

/// No bundle came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no trust bundle could be fetched: {0}")]
pub struct SourceError(pub Refusal);

impl<S: BundleSource + ?Sized> BundleSource for &S {
    fn head(
        &self,
        known: Option<[u8; 32]>,
        wait: Duration,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        (**self).head(known, wait)
    }

    fn page(&self, number: Epoch, from: u64) -> Result<Vec<u8>, SourceError> {
        (**self).page(number, from)
    }
}

impl BundleSource for Client {
    fn head(
        &self,
        known: Option<[u8; 32]>,
        wait: Duration,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let tag = known.map(|digest| ("if-none-match", format!("\"{}\"", hexadecimal(&digest))));
        let path = format!("/v1/bundle?wait={}", wait.as_secs());
        self.found(&path, tag.as_slice())
    }

    fn page(&self, number: Epoch, from: u64) -> Result<Vec<u8>, SourceError> {
        let Epoch { generation, number } = number;
        let path = format!("/v1/bundle/entries/{generation}.{number}/{from}");
        self.found(&path, &[])?.ok_or_else(|| unavailable("the answer is not the service's"))
    }
}

impl Client {
    fn found(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let call = Call { method: "GET", path, headers, body: None };
        match self.transport().call(&call) {
            Ok(Answer { status: 200, body }) => Ok(Some(body)),
            Ok(Answer { status: 304, .. }) => Ok(None),
            Ok(answer) => {
                let problem = serde_json::from_slice::<chancery_api::http::problem::Problem>;
                Err(match problem(&answer.body) {
                    Ok(problem) => SourceError(refusal(&problem.code, problem.detail)),
                    Err(_) => unavailable("the answer is not the service's"),
                })
            }
            Err(Failure::BeforeSending(error)) => {
                Err(unavailable(&format!("the service cannot be reached: {error}")))
            }
            Err(Failure::AfterSending) => Err(unavailable("no answer came")),
        }
    }
}

fn unavailable(detail: &str) -> SourceError {
    SourceError(Refusal::new(Reason::Unavailable, detail))
}
