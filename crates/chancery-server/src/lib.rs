//! The front: TLS, HTTP, JSON and limits; it decides nothing.
//!
//! One runtime of one thread for each core it is given; each has one stream socket to the signer, over which
//! the requests that are ready in the same turn leave in one write. TLS is 1.3 alone (RFC 8446), HTTP is 1.1
//! and 2 (RFC 9112, RFC 9113), and what is served is [`chancery_api::http::routes::ROUTES`].
//!
//! **Invariant:** a request is refused here only for its form, its size or for lack of room, and before it
//! has left for the signer; whatever has left has an outcome that the signer alone knows, and is answered
//! as unknown if the signer does not say it.
//!
//! What it deliberately does not do: believe or check who the caller is, keep state beyond a request, keep
//! secrets on disk, trace single requests, open or inherit anything but the listener it is handed.

use std::path::PathBuf;
use std::sync::Arc;

pub use crate::limits::FrontLimits;
pub use crate::log_files::{LogFile, LogFiles};
pub use crate::start::{FrontError, run, run_until};

mod admission;
mod certificate;
mod connection;
mod intake;
mod limits;
mod link;
mod listen;
mod log_files;
mod metrics;
mod public;
mod reply;
mod report;
mod room;
mod service;
mod start;
mod tls;
mod validity;
mod watched;

/// What a front is started with.
#[derive(Clone, Debug)]
pub struct FrontConfig {
    /// The signer's socket.
    pub signer_socket: PathBuf,
    /// How many runtimes; half the cores is meant, and at least one.
    pub runtimes: usize,
    /// How long it waits and how much it takes.
    pub limits: FrontLimits,
    /// The published files of the log, if they are served.
    pub log: Option<Arc<dyn LogFiles>>,
}
