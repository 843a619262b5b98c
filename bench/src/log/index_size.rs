//! How large the index is beside the log that it covers.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::Result;
use chancery_audit::index::part::PART_HEAD_BYTES;
use chancery_audit::index::{INDEX_DIRECTORY, PartHead};
use serde::Serialize;

use crate::report::{float, ratio};

/// The parts of an index, and the frames that they cover.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct IndexSize {
    pub(super) parts: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) log_bytes: u64,
}

impl IndexSize {
    /// Its size as a part of the log's.
    pub(super) fn share(&self) -> f64 {
        ratio(float(self.bytes), float(self.log_bytes))
    }
}

/// Adds up what the parts say of themselves.
pub(super) fn measure(data: &Path) -> Result<IndexSize> {
    let mut size = IndexSize::default();
    for entry in fs::read_dir(data.join(INDEX_DIRECTORY))? {
        let path = entry?.path();
        // A part that is being written has another name yet.
        if path.extension().is_none_or(|end| end != "idx") {
            continue;
        }
        let mut head = [0; PART_HEAD_BYTES];
        let mut file = File::open(&path)?;
        file.read_exact(&mut head)?;
        let head = PartHead::parse(&head)?;
        size.parts += 1;
        size.records += head.records;
        size.bytes += file.metadata()?.len();
        size.log_bytes += head.end_offset - head.offset;
    }
    Ok(size)
}
