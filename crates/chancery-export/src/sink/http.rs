//! Batches by POST (RFC 9110), as a JSON array, as lines of JSON, or as OTLP logs.
//!
//! | answer | means |
//! |---|---|
//! | 2xx | the batch is acknowledged |
//! | 429, 503, and 408, 425 | the sink has too much to do; `Retry-After` in seconds is heeded within bounds |
//! | other 5xx | the sink failed; the same again later |
//! | 3xx, 401, 403, 404, 405, 407, 421 | the sink does not let this exporter in, or is not there: no record is to blame |
//! | other 4xx | the batch is refused for good, and sent in halves |
//!
//! Redirects are not followed, for what is sent is not for everybody. OTLP wants a 500 not tried again; it is tried
//! again here, since the record would not arrive otherwise.

use std::io;
use std::path::Path;
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use super::otlp;
use super::{LossKind, Sink, SinkError};
use crate::event::{Event, lines};
use crate::limits::{ANSWER_BYTES_MAX, DETAIL_CHARS_MAX};
use crate::retry::retry_after;

/// How long a connection is kept for the next batch: 5 s, less than servers keep one.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// The longest file of header fields, in bytes: 16 KiB.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Fields that are not for the user to set.
const OURS: [&str; 6] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
];

/// The form of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON array.
    Array,
    /// Lines of JSON.
    Lines,
    /// OTLP logs in JSON.
    Otlp,
}

/// A field of requests, such as `Authorization`.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: String,
}

/// The file of header fields is none.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is no field, or one that is not to be set.
    #[error("line {0} is no `Name: value` that can be sent")]
    Line(usize),
    /// There is too much in it.
    #[error("it has more than {HEADER_BYTES_MAX} bytes")]
    TooLong,
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

impl Header {
    /// Those of a file, one in a line.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] names the line; what stands in it may be a secret and is not repeated.
    pub fn load(path: &Path) -> Result<Vec<Self>, HeaderError> {
        let text = std::fs::read_to_string(path)?;
        if text.len() > HEADER_BYTES_MAX {
            return Err(HeaderError::TooLong);
        }
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty());
        lines.map(|(number, line)| Self::parse(line).ok_or(HeaderError::Line(number))).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        let is_name = !name.is_empty()
            && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
        let is_value = !value.is_empty() && value.bytes().all(|c| (0x20..0x7f).contains(&c));
        let is_ours = OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours));
        (is_name && is_value && !is_ours).then(|| Self { name: name.into(), value: value.into() })
    }
}

/// A sink that is asked by HTTP.
#[derive(Debug)]
pub struct HttpSink {
    agent: Agent,
    url: String,
    headers: Vec<Header>,
    form: Form,
    /// What OTLP says of the product.
    version: String,
}

impl HttpSink {
    /// A sink at a URL; each attempt ends within `attempt`.
    #[must_use]
    pub fn new(
        url: String,
        form: Form,
        headers: Vec<Header>,
        (tls, attempt): (TlsConfig, Duration),
        version: String,
    ) -> Self {
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .max_idle_age(IDLE_MAX)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(attempt))
            .build();
        Self { agent: config.new_agent(), url, headers, form, version }
    }

    fn body(&self, batch: &[Event]) -> (&'static str, String) {
        match self.form {
            Form::Array => {
                let events: Vec<_> = batch.iter().map(|event| event.body.as_str()).collect();
                ("application/json", format!("[{}]", events.join(",")))
            }
            Form::Lines => {
                let mut body = String::new();
                lines(batch, &mut body);
                ("application/x-ndjson", body)
            }
            Form::Otlp => ("application/json", otlp::request(batch, &self.version).to_string()),
        }
    }
}

impl Sink for HttpSink {
    fn deliver(&mut self, batch: &[Event]) -> Result<(), SinkError> {
        let (media, body) = self.body(batch);
        let mut request = self.agent.post(&self.url).content_type(media);
        for Header { name, value } in &self.headers {
            request = request.header(name, value);
        }
        let mut response = request.send(body.as_bytes()).map_err(|error| lost(&error))?;
        let status = response.status().as_u16();
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let after = after.and_then(retry_after);
        let answer = read(&mut response);
        match self.form {
            Form::Otlp if (200..300).contains(&status) => {
                otlp::verdict(&answer.map_err(|error| lost(&error))?, batch.len())
            }
            _ => verdict(status, after, &answer.unwrap_or_default()),
        }
    }
}

fn read(response: &mut Response<Body>) -> Result<Vec<u8>, ureq::Error> {
    response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()
}

/// What an answer means for the batch.
fn verdict(status: u16, after: Option<Duration>, answer: &[u8]) -> Result<(), SinkError> {
    let detail = || said(status, answer);
    let lost = |kind| Err(SinkError::Lost { kind, detail: detail(), after });
    match status {
        200..=299 => Ok(()),
        408 | 425 | 429 | 503 => lost(LossKind::Busy),
        300..=399 | 401 | 403..=405 | 407 | 421 => lost(LossKind::NotAdmitted),
        400..=499 => Err(SinkError::Refused { why: detail() }),
        _ => lost(LossKind::Server),
    }
}

fn said(status: u16, answer: &[u8]) -> String {
    let text = printable(&String::from_utf8_lossy(answer));
    if text.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {text}") }
}

/// The beginning of a text of somebody else's, in one line.
pub(super) fn printable(text: &str) -> String {
    let one_line = text.trim().chars().take(DETAIL_CHARS_MAX);
    one_line.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// No answer came.
fn lost(error: &ureq::Error) -> SinkError {
    use ureq::Error as E;
    let kind = match error {
        E::Timeout(_) => LossKind::Timeout,
        E::Io(error) if error.kind() == io::ErrorKind::TimedOut => LossKind::Timeout,
        E::Tls(_) | E::Rustls(_) => LossKind::Tls,
        // What TLS refuses comes as invalid data.
        E::Io(error) if error.kind() == io::ErrorKind::InvalidData => LossKind::Tls,
        E::Io(_) | E::ConnectionFailed | E::HostNotFound => LossKind::Connection,
        _ => LossKind::Server,
    };
    SinkError::lost(kind, error)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::event;

    #[test]
    fn every_status_has_one_meaning() {
        let kind = |status| match verdict(status, None, b"") {
            Ok(()) => "acknowledged",
            Err(SinkError::Lost { kind, .. }) => kind.name(),
            Err(SinkError::Refused { .. }) => "refused",
            Err(_) => "another",
        };
        for (statuses, expected) in [
            (&[200, 201, 202, 204, 299][..], "acknowledged"),
            (&[408, 425, 429, 503], "busy"),
            (&[301, 302, 307, 308, 401, 403, 404, 405, 407, 421], "not-admitted"),
            (&[400, 402, 406, 409, 410, 411, 413, 415, 418, 422, 431, 499], "refused"),
            (&[100, 500, 501, 502, 504, 599, 600], "server"),
        ] {
            for &status in statuses {
                assert_eq!(kind(status), expected, "{status}");
            }
        }
    }

    #[test]
    fn what_a_sink_says_is_one_line_of_a_bounded_length() {
        let long = "x\r\n\u{1b}".repeat(1_000);
        let why = said(400, long.as_bytes());
        assert!(why.starts_with("HTTP 400: x   x   x") && why.len() < 250, "{why}");
        assert_eq!(said(500, b" "), "HTTP 500");
    }

    #[test]
    fn a_header_field_is_a_name_and_a_value_and_none_of_ours() {
        let header = Header::parse("Authorization: Bearer a:b").unwrap();
        assert_eq!((header.name.as_str(), header.value.as_str()), ("Authorization", "Bearer a:b"));
        assert!(!format!("{header:?}").contains("Bearer"));
        for line in ["", "x", ": y", "a b: c", "x:", "x: \u{e9}", "Host: x", "content-length: 1"] {
            assert_eq!(Header::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_batch_is_an_array_or_lines() {
        let of = |form| {
            let tls = TlsConfig::default();
            let attempt = Duration::from_secs(1);
            HttpSink::new(String::new(), form, Vec::new(), (tls, attempt), "1".into())
                .body(&[event(1), event(2)])
        };
        let (media, array) = of(Form::Array);
        let parsed: Vec<Value> = serde_json::from_str(&array).unwrap();
        assert_eq!((media, parsed), ("application/json", vec![event(1).value(), event(2).value()]));
        let (media, lines) = of(Form::Lines);
        let parsed: Vec<Value> =
            lines.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        assert_eq!(
            (media, parsed),
            ("application/x-ndjson", vec![event(1).value(), event(2).value()])
        );
    }
}
