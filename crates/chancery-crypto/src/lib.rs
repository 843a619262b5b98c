//! Suites, sealing, formats and the software key backend, over aws-lc.
//!
//! One provider makes, checks and encrypts everything; this crate fixes the parameters, binds each use to its
//! purpose and context, and hides the provider from the rest. It reads no clock and no disk, and keeps no
//! state: time, salts and stored bytes are handed in. Which key may do what is decided in `chancery-core`.

#![deny(clippy::disallowed_methods)]

pub mod bundle;
pub mod chunked;
mod der;
pub mod envelope;
pub mod export;
pub mod formats;
mod json;
pub mod key;
pub mod labels;
pub mod lthash;
pub mod mac;
pub mod notes;
pub mod passphrase;
pub mod primitive;
pub mod rollout;
pub mod seal;
pub mod section;
