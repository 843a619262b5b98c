//! What a log says to a witness and what it answers (C2SP tlog-witness v1.0.0, `add-checkpoint`).
//!
//! ```text
//! request       = "old " size "\n" base64(hash) "\n" … "\n" the checkpoint's note     at most 63 hashes
//! 200           = signature line …                  the witness' cosignatures
//! 409           = size "\n"                         as text/x.tlog.size: what it cosigned last
//! 400, 403, 404, 422                                no body that a program reads
//! ```
//!
//! A request goes through three stages, each a type: [`AddCheckpoint`] is read, [`SignedCheckpoint`] has the
//! signature of a log that the witness knows, [`Accepted`] continues what it holds of that log.
//!
//! Narrowed: a signature of a known key that does not hold refuses the request, as it refuses every note.
//!
//! **Invariant:** only what continues the state that a witness holds of an origin is [`Accepted`].
//!
//! The state is handed in and handed back. That it is durable before a cosignature leaves, and that nobody
//! else changed it meanwhile, is for the caller to see to.

mod answer;
mod decision;
mod request;

pub use answer::{ANSWER_BYTES_MAX, Answer, AnswerError, MEDIA_SIZE, Refusal};
pub use decision::{Accepted, SignedCheckpoint};
pub use request::{ADD_CHECKPOINT_BYTES_MAX, AddCheckpoint, CONSISTENCY_HASHES_MAX, RequestError};

/// Where a request goes, behind the witness' URL.
pub const ADD_CHECKPOINT_PATH: &str = "/add-checkpoint";
