//! Lines of JSON in a file.
//!
//! **Invariant:** a batch is durable in the file when it is acknowledged. A file that was moved away is begun anew, so
//! that logs can be rotated by renaming.

use std::io;
use std::path::PathBuf;

use super::{LossKind, Sink, SinkError};
use crate::event::Event;
use crate::files::Lines;

/// The file.
#[derive(Debug)]
pub struct FileSink(Lines);

impl FileSink {
    /// Opens the file, or makes it as its owner's alone.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        Lines::open(path).map(Self)
    }
}

impl Sink for FileSink {
    fn deliver(&mut self, batch: &[Event]) -> Result<(), SinkError> {
        let lines: String = batch.iter().map(Event::line).collect();
        let appended = self.0.append(&lines);
        appended.map_err(|error| SinkError::lost(LossKind::File, &format!("the file: {error}")))
    }
}
