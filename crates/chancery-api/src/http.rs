//! The HTTP API in JSON (RFC 8259), as front and client share it.
//!
//! Every object refuses fields that it does not have, a field that is absent is absent and never `null`,
//! bytes are base64 with padding in their one canonical spelling (RFC 4648, 4), ids are UUIDs as text, and
//! times are integers in milliseconds. What a caller sends becomes a [`crate::message::UseRequest`] or a
//! command in [`uses`] and [`commands`], by the same functions on both sides, since proofs and signatures
//! are made over those.
//!
//! **Invariant:** [`routes::ROUTES`] is the whole of what is served. The front dispatches from it, the
//! OpenAPI document is made from it, and tests go through it.
//!
//! What is *not* here: sockets, and any decision about authority. A refusal here says that something is
//! not of the form that a route takes, and no more.

use chancery_core::reason::Reason;

use crate::http::fields::Object;
use crate::http::problem::{Code, FrontCode};

pub mod commands;
pub mod fields;
pub mod openapi;
pub mod plan;
pub mod problem;
pub mod replies;
pub mod routes;
pub mod scan;
pub mod signature;
pub mod uses;

/// The media type of bytes.
pub const MEDIA_BYTES: &str = "application/octet-stream";

/// The media type of requests and answers.
pub const MEDIA_JSON: &str = "application/json";

/// The media type of refusals (RFC 9457).
pub const MEDIA_PROBLEM: &str = "application/problem+json";

/// The field that carries a handle: `Authorization: Handle <token>`.
pub const AUTHORIZATION: &str = "authorization";

/// What stands before the token in [`AUTHORIZATION`].
pub const HANDLE_SCHEME: &str = "Handle ";

/// The field that carries the operation id.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The field that carries the proofs of a handle's holders.
pub const HANDLE_PROOF: &str = "handle-proof";

/// The field that carries the digest of a command's canonical encoding.
pub const COMMAND_DIGEST: &str = "chancery-command-digest";

/// The field that says what a command's signature covers (RFC 9421, 4.1).
pub const SIGNATURE_INPUT: &str = "signature-input";

/// The field that carries a command's signature (RFC 9421, 4.2).
pub const SIGNATURE: &str = "signature";

/// A request is not of the form that its route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The handle's field is missing or is no handle's text.
    #[error("`Authorization` must be `Handle ` and a handle's text")]
    HandleMissing,
    /// A part of the request is not what it must be.
    #[error("{0}")]
    Malformed(&'static str),
    /// The path is served, but not with this method.
    #[error("this path is not served with this method")]
    MethodNotAllowed,
    /// The body is not the JSON that the route takes.
    #[error(
        "the body is not the JSON object that this route takes; reading stopped at line {line}, column {column}"
    )]
    NotTheObject {
        /// The line, from 1.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The proofs' field is not one.
    #[error("`Handle-Proof` must be the base64 of at most 16 proofs in canonical CBOR")]
    ProofMalformed,
    /// A field of the command's signature is missing, or is not of the one form it has.
    #[error("`{0}` is missing, or is not of the form that commands are signed with")]
    SignatureMalformed(&'static str),
    /// Something is longer, deeper or more than its limit.
    #[error("{0}")]
    TooLarge(&'static str),
    /// No route has this path.
    #[error("no route has this path")]
    UnknownRoute,
}

impl HttpError {
    /// The code that callers see.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::HandleMissing => Code::Reason(Reason::HandleInvalid),
            Self::Malformed(_) | Self::NotTheObject { .. } => Code::Reason(Reason::Malformed),
            Self::MethodNotAllowed => Code::Front(FrontCode::MethodNotAllowed),
            Self::ProofMalformed => Code::Reason(Reason::ProofInvalid),
            Self::SignatureMalformed(_) => Code::Reason(Reason::SignatureInvalid),
            Self::TooLarge(_) => Code::Reason(Reason::TooLarge),
            Self::UnknownRoute => Code::Front(FrontCode::UnknownRoute),
        }
    }
}

/// Reads a request's body: bounds first, then the object.
///
/// # Errors
///
/// [`HttpError`] if the body breaks a bound of [`scan`] or is not a `T`.
pub fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    scan::scan(body)?;
    // The parser's own words may repeat what was sent; its position does not.
    serde_json::from_slice::<Object<T>>(body)
        .map(|object| object.0)
        .map_err(|error| HttpError::NotTheObject { line: error.line(), column: error.column() })
}

/// Writes an object.
#[must_use]
pub fn render<T: serde::Serialize>(object: &T) -> Vec<u8> {
    // Our objects have text keys alone, so that this cannot fail.
    serde_json::to_vec(object).unwrap_or_default()
}
