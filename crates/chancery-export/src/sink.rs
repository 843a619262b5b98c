//! Where events go, and what may come of it.
//!
//! - [`file`]: lines of JSON in a file.
//! - [`stdout`]: lines of JSON on standard output.
//! - [`http`]: batches by POST, as an array or as lines of JSON; OTLP logs in JSON likewise ([`otlp`]).
//! - [`syslog`]: RFC 5424 over TLS (RFC 5425).
//! - [`target`]: how a sink is named on the command line.
//!
//! **Invariant:** a sink says yes only when the whole batch is where it should be, as far as its protocol lets it know;
//! each attempt ends by its deadline.

use std::time::Duration;

use crate::event::Event;

pub mod file;
pub mod http;
pub mod otlp;
pub mod stdout;
pub mod syslog;
pub mod target;

/// A place for events.
pub trait Sink {
    /// Delivers a batch. After an error any part of it may have been delivered.
    ///
    /// # Errors
    ///
    /// [`SinkError`] says whether to try again.
    fn deliver(&mut self, batch: &[Event]) -> Result<(), SinkError>;
}

/// A batch was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// Nobody will take anything any more.
    #[error("nobody takes what is exported any more")]
    Gone,
    /// The sink is away; the same batch may be delivered later.
    #[error("{detail}")]
    Lost {
        /// What failed.
        kind: LossKind,
        /// The same for people.
        detail: String,
        /// How long the sink wants not to be asked.
        after: Option<Duration>,
    },
    /// Some of the batch was refused for good, the sink does not say which, and it may not be sent again.
    #[error("{why}")]
    PartlyRefused {
        /// What the sink said.
        why: String,
    },
    /// The batch was refused for good; a part of it may be taken.
    #[error("{why}")]
    Refused {
        /// What the sink said.
        why: String,
    },
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// The sink has too much to do.
    Busy,
    /// No connection, or one that was cut.
    Connection,
    /// A file cannot be written.
    File,
    /// The sink does not let this exporter in, or has no such place.
    NotAdmitted,
    /// The sink failed.
    Server,
    /// The deadline has passed.
    Timeout,
    /// The sink is not who it should be, or speaks no TLS.
    Tls,
}

impl LossKind {
    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Connection => "connection",
            Self::File => "file",
            Self::NotAdmitted => "not-admitted",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
        }
    }
}

impl SinkError {
    pub(crate) fn lost(kind: LossKind, detail: &dyn ToString) -> Self {
        Self::Lost { kind, detail: detail.to_string(), after: None }
    }
}
