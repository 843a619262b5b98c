//! Lines of JSON on standard output.
//!
//! A batch is acknowledged when it was written; what becomes of it behind a pipe is not known here. A reader that does
//! not read is waited for, and one that has gone ends the export.

use std::io::{self, Write as _};

use super::{LossKind, Sink, SinkError};
use crate::event::{Event, lines};

/// Standard output.
#[derive(Debug)]
pub struct StdoutSink;

impl Sink for StdoutSink {
    fn deliver(&mut self, batch: &[Event]) -> Result<(), SinkError> {
        let mut written = String::new();
        lines(batch, &mut written);
        let mut out = io::stdout().lock();
        out.write_all(written.as_bytes()).and_then(|()| out.flush()).map_err(|error| {
            match error.kind() {
                io::ErrorKind::BrokenPipe => SinkError::Gone,
                _ => SinkError::lost(LossKind::File, &format!("standard output: {error}")),
            }
        })
    }
}
