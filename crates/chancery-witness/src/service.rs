//! HTTP in front of a witness: two routes, and a bound on what is read.
//!
//! ```text
//! POST /add-checkpoint               C2SP tlog-witness v1.0.0
//! GET  /HEX/checkpoint               the note that was cosigned last; HEX is SHA-256 of the origin
//! ```
//!
//! What is refused here was not looked at: 404, 405, 408, 413 and 415 besides the witness' own answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chancery_log::witness::{ADD_CHECKPOINT_BYTES_MAX, ADD_CHECKPOINT_PATH};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc;

use crate::hexadecimal::unhex;
use crate::latest::OriginHash;
use crate::limits::BODY_MAX;
use crate::witness::{AddError, Witness};

const TEXT: &str = "text/plain; charset=utf-8";

/// A witness that is asked, and where it is told that it cannot go on.
pub(crate) struct Service {
    pub(crate) witness: Arc<Witness>,
    pub(crate) failed: mpsc::Sender<AddError>,
}

type Answer = Response<Full<Bytes>>;

/// What a request asks for.
enum Route {
    Add,
    Latest(OriginHash),
}

impl Service {
    /// Answers a request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let path = request.uri().path();
        let route = route(path).filter(|_| request.uri().query().is_none());
        Ok(match (route, request.method()) {
            (None, _) => refusal(StatusCode::NOT_FOUND),
            (Some(Route::Add), &Method::POST) => match body(request).await {
                Ok(body) => self.add(body).await,
                Err(status) => refusal(status),
            },
            (Some(Route::Latest(origin)), &Method::GET) => self.latest(origin).await,
            (Some(Route::Add), _) => not_allowed("POST"),
            (Some(Route::Latest(_)), _) => not_allowed("GET"),
        })
    }

    async fn add(&self, body: Bytes) -> Answer {
        let added = self.aside(move |witness| witness.add(&body, unix_s())).await;
        match added {
            Ok(answer) => text(answer.status(), answer.media(), answer.body()),
            Err(status) => refusal(status),
        }
    }

    async fn latest(&self, origin: OriginHash) -> Answer {
        let latest = self.aside(move |witness| Ok(witness.latest(&origin)?)).await;
        match latest {
            Ok(Some(note)) => text(200, TEXT, note.to_string()),
            Ok(None) => refusal(StatusCode::NOT_FOUND),
            Err(status) => refusal(status),
        }
    }

    /// Does what waits for the disk on a thread of its own.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Witness) -> Result<T, AddError> + Send + 'static,
    ) -> Result<T, StatusCode> {
        let witness = Arc::clone(&self.witness);
        let done = tokio::task::spawn_blocking(move || work(&witness)).await;
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if error.is_passing() => Err(StatusCode::SERVICE_UNAVAILABLE),
            Ok(Err(error)) => {
                // One that is waiting to be read already says enough.
                let _ = self.failed.try_send(error);
                Err(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Err(_panic) => Err(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

fn route(path: &str) -> Option<Route> {
    if path == ADD_CHECKPOINT_PATH {
        return Some(Route::Add);
    }
    let digits = path.strip_prefix('/')?.strip_suffix("/checkpoint")?;
    let mut origin = OriginHash::default();
    unhex(digits, &mut origin)?;
    Some(Route::Latest(origin))
}

/// The body of a request, as it came: nothing is unpacked.
async fn body(request: Request<Incoming>) -> Result<Bytes, StatusCode> {
    if request.headers().contains_key(CONTENT_ENCODING) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let most = u64::try_from(ADD_CHECKPOINT_BYTES_MAX).unwrap_or(u64::MAX);
    if request.body().size_hint().lower() > most {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let body = Limited::new(request.into_body(), ADD_CHECKPOINT_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_MAX, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_elapsed) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// Now, in seconds since 1970; 0 if the clock stands before that.
fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn text(status: u16, media: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [
        (CONTENT_TYPE, media),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(headers);
    response
}

fn refusal(status: StatusCode) -> Answer {
    let reason = status.canonical_reason().unwrap_or("refused").to_lowercase();
    text(status.as_u16(), TEXT, format!("{reason}\n"))
}

fn not_allowed(method: &'static str) -> Answer {
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        let hash = "0a".repeat(32);
        let latest =
            |path: &str| matches!(route(path), Some(Route::Latest(hash)) if hash == [10; 32]);
        assert!(matches!(route("/add-checkpoint"), Some(Route::Add)));
        assert!(latest(&format!("/{hash}/checkpoint")));
        for path in [
            String::new(),
            "/".into(),
            "/add-checkpoint/".into(),
            "//add-checkpoint".into(),
            "/checkpoint".into(),
            format!("/{hash}/checkpoint/"),
            format!("/{}/checkpoint", hash.to_uppercase()),
            format!("/{}/checkpoint", &hash[1..]),
            format!("/{hash}0a/checkpoint"),
            format!("/{hash}"),
        ] {
            assert!(route(&path).is_none(), "{path}");
        }
    }
}
