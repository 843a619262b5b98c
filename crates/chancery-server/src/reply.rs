//! Answers as HTTP.

use bytes::Bytes;
use chancery_api::http::problem::{Code, Problem};
use chancery_api::http::{MEDIA_JSON, MEDIA_PROBLEM, render};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

/// A refusal or an unknown outcome, on its way out.
pub(crate) type Refusal = Box<Problem>;

/// What others may keep of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caching {
    /// Nothing: answers hold keys, plaintexts and handles.
    Nothing,
    /// It may be kept, and is to be asked for again each time.
    AskAgain,
    /// It may be used for some minutes.
    ForMinutes,
    /// It stays as it is for good.
    ForGood,
}

impl Caching {
    /// As `Cache-Control` says it (RFC 9111, 5.2.2; RFC 8246).
    fn directive(self) -> &'static str {
        match self {
            Self::Nothing => "no-store",
            Self::AskAgain => "no-cache",
            // 5 minutes, a third of what plans of rollouts take a verifier's cache to be.
            Self::ForMinutes => "public, max-age=300",
            Self::ForGood => "public, max-age=31536000, immutable",
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub status: u16,
    /// Why it refuses, if it does.
    pub code: Option<Code>,
    media: &'static str,
    body: Bytes,
    caching: Caching,
    retry_after_ms: Option<u64>,
    allow: Option<String>,
    tag: Option<String>,
}

impl Reply {
    /// Something that was done.
    pub(crate) fn done(object: &impl serde::Serialize) -> Self {
        Self::text(MEDIA_JSON, render(object).into())
    }

    /// A document.
    pub(crate) fn text(media: &'static str, body: Bytes) -> Self {
        let caching = Caching::Nothing;
        let (code, retry_after_ms, allow, tag) = (None, None, None, None);
        Self { status: 200, code, media, body, caching, retry_after_ms, allow, tag }
    }

    /// That the asker has it (RFC 9110, 15.4.5).
    pub(crate) fn not_modified(media: &'static str) -> Self {
        Self { status: 304, ..Self::text(media, Bytes::new()) }
    }

    /// The same under an entity tag.
    pub(crate) fn tagged(self, tag: String) -> Self {
        Self { tag: Some(tag), ..self }
    }

    /// The same with the methods that its path is served with.
    pub(crate) fn allowing(self, methods: &[&str]) -> Self {
        Self { allow: Some(methods.join(", ")), ..self }
    }

    /// The same, which others may keep so.
    pub(crate) fn cached(self, caching: Caching) -> Self {
        Self { caching, ..self }
    }

    /// The bytes of its body.
    pub(crate) fn length(&self) -> usize {
        self.body.len()
    }

    /// As HTTP.
    pub(crate) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.caching.directive()));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        if let Some(ms) = self.retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if let Some(Ok(tag)) = self.tag.map(HeaderValue::try_from) {
            headers.insert(ETAG, tag);
        }
        if let Some(Ok(allow)) = self.allow.map(HeaderValue::try_from) {
            headers.insert(ALLOW, allow);
        }
        response
    }
}

impl From<Refusal> for Reply {
    fn from(problem: Refusal) -> Self {
        Self {
            status: problem.status,
            code: Code::from_text(&problem.code),
            media: MEDIA_PROBLEM,
            body: render(&problem).into(),
            caching: Caching::Nothing,
            retry_after_ms: problem.retry_after_ms,
            allow: None,
            tag: None,
        }
    }
}
