//! Lines of JSON in a file.
//!
//! **Invariant:** a batch is durable in the file when it is acknowledged. A file that was moved away is begun anew, so
//! that logs can be rotated by renaming.

use std::io;
use std::path::PathBuf;

use super::{LossKind, Sink, SinkError};
use crate::event::{Event, lines};
use crate::files::Lines;

/// The file.
#[derive(Debug)]
pub struct FileSink {
    file: Lines,
    /// Room for a batch, which is kept.
    room: String,
}

impl FileSink {
    /// Opens the file, or makes it as its owner's alone.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: Lines::open(path)?, room: String::new() })
    }
}

impl Sink for FileSink {
    fn deliver(&mut self, batch: &[Event]) -> Result<(), SinkError> {
        self.room.clear();
        lines(batch, &mut self.room);
        let appended = self.file.append(&self.room);
        appended.map_err(|error| SinkError::lost(LossKind::File, &format!("the file: {error}")))
    }
}
