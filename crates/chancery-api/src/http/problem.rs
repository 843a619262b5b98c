//! Refusals and unknown outcomes as problem details (RFC 9457), and every code there is.
//!
//! Codes of the signer are [`Reason::code`]; those that the front alone gives are [`FrontCode`]. Both are
//! stable; the test below holds the whole table.

use std::fmt;

use chancery_core::id::OperationId;
use chancery_core::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::http::HttpError;
use crate::http::fields::text;

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done, and its record is durable.
    Committed,
    /// Nothing was done.
    Refused,
    /// Nobody here knows; ask by the operation id.
    Unknown,
}

macro_rules! front_codes {
    ($($(#[$doc:meta])* $name:ident, $code:literal, $status:literal;)*) => {
        /// Why the front did not pass a request on, or has no answer to it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FrontCode { $($(#[$doc])* $name,)* }

        impl FrontCode {
            /// Every one, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code that callers see.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

front_codes! {
    /// The body did not arrive in time.
    BodyTimeout, "body-timeout", 408;
    /// The path is served, but not with this method.
    MethodNotAllowed, "method-not-allowed", 405;
    /// The signer is not there; what was sent to it has an unknown outcome.
    SignerUnavailable, "signer-unavailable", 503;
    /// The signer did not answer in time; the outcome is unknown.
    Timeout, "timeout", 504;
    /// No route has this path.
    UnknownRoute, "unknown-route", 404;
    /// The body is not declared as plain JSON.
    UnsupportedMediaType, "unsupported-media-type", 415;
}

/// When a caller that was turned away for lack of room may try again: 100 ms.
const OVERLOADED_RETRY_MS: u64 = 100;

/// When a caller may try again while the signer, its disk or its answer is not to be had: 1 s, about a restart.
const UNAVAILABLE_RETRY_MS: u64 = 1_000;

/// A code that callers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// One of the front.
    Front(FrontCode),
    /// One of the signer, or that both give.
    Reason(Reason),
}

impl Code {
    /// Every code, the signer's first.
    pub fn all() -> impl Iterator<Item = Self> {
        let reasons = Reason::ALL.iter().copied().map(Self::Reason);
        reasons.chain(FrontCode::ALL.iter().copied().map(Self::Front))
    }

    /// What became of an operation that is answered with this code, as far as the code alone says.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self {
            // It was carried out; this caller may not have the answer.
            Self::Reason(Reason::ResultWithheld) => Outcome::Committed,
            // It was carried out, or is about to be; whoever asks again may have the answer.
            Self::Reason(Reason::AnswerUnreadable | Reason::OperationInFlight) => Outcome::Unknown,
            Self::Reason(_) | Self::Front(_) => Outcome::Refused,
        }
    }

    /// The stable code.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Front(code) => code.text(),
            Self::Reason(reason) => reason.code(),
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Front(code) => code.status(),
            Self::Reason(reason) => reason.status(),
        }
    }

    /// When another attempt is worth making, in milliseconds; `None` where the request would have to change.
    #[must_use]
    pub const fn retry_after_ms(self) -> Option<u64> {
        match self {
            Self::Reason(Reason::Overloaded | Reason::OperationInFlight) => {
                Some(OVERLOADED_RETRY_MS)
            }
            Self::Reason(
                Reason::AnswerUnreadable
                | Reason::AuditFailed
                | Reason::AuditFull
                | Reason::Unavailable
                | Reason::Unwitnessed,
            )
            | Self::Front(FrontCode::SignerUnavailable | FrontCode::Timeout) => {
                Some(UNAVAILABLE_RETRY_MS)
            }
            Self::Reason(_) | Self::Front(_) => None,
        }
    }

    /// The code of a text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::all().find(|code| code.text() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Problem details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// `urn:chancery:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// `refused`, `unknown`, or `committed` where the answer may not be given.
    pub outcome: Outcome,
    /// The operation, if the caller named it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub operation_id: Option<OperationId>,
    /// What was wrong and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When another attempt is worth making.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Problem {
    /// The problem of a code.
    #[must_use]
    pub fn new(code: Code, outcome: Outcome) -> Self {
        Self {
            kind: format!("urn:chancery:problem:{code}"),
            title: code.text().replace('-', " "),
            status: code.status(),
            code: code.text().into(),
            outcome,
            operation_id: None,
            detail: None,
            retry_after_ms: code.retry_after_ms(),
        }
    }

    /// A refusal.
    #[must_use]
    pub fn refused(code: Code) -> Self {
        Self::new(code, code.outcome())
    }

    /// The same with the operation that it is about.
    #[must_use]
    pub fn about(self, operation_id: Option<OperationId>) -> Self {
        Self { operation_id, ..self }
    }

    /// The same with what was wrong and what to do.
    #[must_use]
    pub fn because(self, detail: impl Into<String>) -> Self {
        let detail = Some(detail.into()).filter(|text| !text.is_empty());
        Self { detail, ..self }
    }
}

impl From<HttpError> for Problem {
    fn from(error: HttpError) -> Self {
        Self::refused(error.code()).because(error.to_string())
    }
}

impl From<HttpError> for Box<Problem> {
    fn from(error: HttpError) -> Self {
        Self::new(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code that a caller may see, with its status. A change here is a change to the API.
    #[test]
    fn codes_and_statuses() {
        let rows: Vec<_> = Code::all().map(|code| format!("{} {code}", code.status())).collect();
        assert_eq!(
            rows.join("\n"),
            "\
400 malformed
413 too-large
401 handle-invalid
401 handle-expired
403 not-authorized
401 proof-invalid
409 key-unusable
422 payload-refused
422 verification-failed
409 operation-id-reused
409 operation-in-flight
409 operation-id-stale
403 result-withheld
401 signature-invalid
401 signature-expired
403 forbidden
409 name-taken
409 illegal-transition
422 purpose-refused
429 quota-exhausted
429 audit-budget
429 overloaded
503 audit-full
503 clock-suspect
503 unavailable
503 answer-unreadable
503 audit-failed
403 uses-exhausted
503 unwitnessed
403 needs-approval
409 bundle-unknown
409 report-stale
408 body-timeout
405 method-not-allowed
503 signer-unavailable
504 timeout
404 unknown-route
415 unsupported-media-type"
        );
    }

    #[test]
    fn a_code_has_one_text() {
        for code in Code::all() {
            assert_eq!(Code::from_text(code.text()), Some(code));
        }
    }

    #[test]
    fn a_problem_reads_as_it_was_written() {
        let problem = Problem::refused(Code::Reason(Reason::Overloaded))
            .about(Some(OperationId::from_bytes([1; 16])))
            .because("later");
        let text = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            text,
            "{\"type\":\"urn:chancery:problem:overloaded\",\"title\":\"overloaded\",\"status\":429,\
             \"code\":\"overloaded\",\"outcome\":\"refused\",\
             \"operation_id\":\"01010101-0101-0101-0101-010101010101\",\"detail\":\"later\",\"retry_after_ms\":100}"
        );
        assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
    }
}
