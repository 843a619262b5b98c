//! The frames that the service wrote, by their sizes, read back from its files.

use std::path::Path;

use anyhow::Result;
use chancery_audit::disk::DirectoryDisk;
use chancery_audit::frames::FrameReader;
use chancery_audit::verify::AUDIT_DIRECTORY;

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameSize {
    pub(super) records: usize,
    /// With its padding.
    pub(super) bytes: usize,
}

/// The frames that hold the records from `start` on, as far as there are any.
pub(super) fn frames(data: &Path, start: u64) -> Result<Vec<FrameSize>> {
    let disk = DirectoryDisk::open(&data.join(AUDIT_DIRECTORY))?;
    let mut reader = FrameReader::from_record(&disk, start)?;
    let mut sizes = Vec::new();
    while let Some(frame) = reader.next_frame(&disk)? {
        let bytes = reader.last().map_or(0, |(_, length)| length);
        sizes.push(FrameSize { records: frame.items.len(), bytes: usize::try_from(bytes)? });
    }
    Ok(sizes)
}
