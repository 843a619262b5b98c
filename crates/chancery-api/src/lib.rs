//! Wire types: the HTTP API in JSON, and the frames between front and signer.
//!
//! What both sides of a wire must agree on stands here and nowhere else. Frames are canonical: a header of
//! fixed layout ([`frame`]) and a body in canonical CBOR ([`message`]). This crate decides nothing and
//! opens nothing; a handle is bytes to it.

#![deny(clippy::disallowed_methods)]

pub mod frame;
pub mod http;
pub mod message;
pub mod token;

/// The core's words, for a crate that may depend on this one alone.
pub use chancery_core;
