//! The HTTP of an object store, over the client and the TLS that everything else here uses.
//!
//! `object_store` brings a client of its own, with a runtime's worth of crates behind it; it is left out. One request is
//! under way at a time, so a client that waits is enough.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use ureq::Agent;
use ureq::http::{Request, Response};
use ureq::tls::TlsConfig;

/// How firmly an object is locked.
pub(crate) const LOCK_MODE: &str = "x-amz-object-lock-mode";

/// Until when it is.
pub(crate) const LOCK_UNTIL: &str = "x-amz-object-lock-retain-until-date";

/// The longest answer that is read: 1 GiB; a dense segment has some 60 MiB at most.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// How long one request may take: 5 min, for a segment over a slow line.
const ATTEMPT: Duration = Duration::from_mins(5);

/// What a store said last of the lock of an object: its mode, and until when.
pub(crate) type Told = Arc<Mutex<Option<(String, String)>>>;

/// Makes the client.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) tls: TlsConfig,
    pub(crate) told: Told,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let config = Agent::config_builder()
            .tls_config(self.tls.clone())
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(ATTEMPT))
            .build();
        let told = Arc::clone(&self.told);
        Ok(HttpClient::new(Waiting { agent: config.new_agent(), told }))
    }
}

/// A client that waits for the answer in the calling thread.
#[derive(Debug)]
struct Waiting {
    agent: Agent,
    told: Told,
}

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
            let answer = self.agent.run(Request::from_parts(parts, body)).map_err(failed)?;
            let (parts, mut body) = answer.into_parts();
            let said = |name| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
            let lock = said(LOCK_MODE).zip(said(LOCK_UNTIL));
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = lock;
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
