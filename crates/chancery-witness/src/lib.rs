//! A witness of logs (C2SP tlog-witness v1.0.0): it cosigns a checkpoint that continues the one that it cosigned
//! last, and keeps no more of a log than that one.
//!
//! Who trusts a log only with the cosignatures of witnesses cannot be shown another history than others are,
//! unless as many witnesses as the policy asks for help to.
//!
//! - [`home`]: its directory, made at its first start.
//! - [`keyfile`]: the witness' two keys, in a file.
//! - [`logs`]: whose checkpoints it cosigns.
//! - [`latest`]: what it cosigned last of each log, in the store.
//! - [`witness`]: a request, from its bytes to its answer.
//! - [`serve`]: HTTP/1.1 in front of that.
//!
//! **Invariant:** a cosignature leaves once the checkpoint that it is of is durable as the latest, and the latest
//! of an origin is replaced only by what was proved to continue it.
//!
//! What is deliberately not here: TLS, which a proxy in front ends, the log's entries, and any way to forget a
//! log or to take one back.

mod admission;
mod hexadecimal;
pub mod home;
pub mod keyfile;
pub mod latest;
pub mod limits;
mod listen;
pub mod logs;
mod service;
pub mod witness;

pub use listen::{ServeError, serve};
