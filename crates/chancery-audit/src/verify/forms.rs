//! Holds the two forms of a segment against each other, where a repack left both.
//!
//! The first form is the one that was walked. The other is derived from it, and no less evidence: it is what stays.

use std::io;

use crate::dense::{Dense, file_name};
use crate::disk::Disk;
use crate::origin::Origin;
use crate::pruned::Pruned;
use crate::recovery::{WalkError, check_dense, named};
use crate::repack::{Difference, compare};
use crate::segments::Segments;

/// Which segments there are, in which form.
pub(super) fn check(
    disk: &dyn Disk,
    origin: &Origin,
    pruned: Option<&Pruned>,
) -> Result<Segments, WalkError> {
    let unread = |source| WalkError::Unreadable { file: ".".into(), source };
    let segments = Segments::list(disk).map_err(unread)?;
    for number in segments.padded.intersection(&segments.dense) {
        check_both(disk, *number)?;
    }
    // What is left of pruned segments was not walked with the others.
    let gone = pruned.map_or(0, |pruned| pruned.segments);
    for number in segments.dense.range(..gone) {
        let file = file_name(*number);
        match disk.read_whole(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(WalkError::Unreadable { file, source }),
            Ok(bytes) => drop(check_dense(origin.log_id, *number, bytes, |_| ())?),
        }
    }
    Ok(segments)
}

fn check_both(disk: &dyn Disk, number: u64) -> Result<(), WalkError> {
    let file = file_name(number);
    let unread = |source| WalkError::Unreadable { file: file.clone(), source };
    let bytes = disk.read_whole(&file).map_err(unread)?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let mut dense = Dense::open(bytes).map_err(|error| named(number, error))?;
    dense.check(length).map_err(|error| named(number, error))?;
    let what = "the segment's dense form is not that of the segment";
    match compare(disk, number, &mut dense) {
        Ok(()) => Ok(()),
        Err(Difference::Dense(error)) => Err(named(number, error)),
        Err(Difference::Other(offset)) => {
            Err(WalkError::Corrupt { file: file.clone(), offset, what })
        }
        // The service has just freed it.
        Err(Difference::Disk(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(Difference::Disk(source)) => Err(unread(source)),
    }
}
