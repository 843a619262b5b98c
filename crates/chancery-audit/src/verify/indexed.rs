//! Holds the parts of the index against the log, as far as files alone show it: each is whole, follows the one before,
//! and ends with the tree that the log had there. What a part lists can be checked by nobody without the keys.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::frame::Frame;
use crate::index::part::{BODY_BYTES_MAX, PART_HEAD_BYTES};
use crate::index::{INDEX_DIRECTORY, PartHead, file_name, first_index};
use crate::recovery::WalkError;
use crate::verify::published::read_bounded;

/// The parts by the record behind their last, and what the log did not say of them yet.
#[derive(Debug, Default)]
pub(super) struct IndexCheck {
    ends: BTreeMap<u64, PartHead>,
    /// The times of the earliest and the latest frame of the part under way.
    times: Option<(u64, u64)>,
    finding: Option<WalkError>,
}

impl IndexCheck {
    /// Reads every part. Those of records below `first` may be gone with them, since nobody can make them anew.
    pub(super) fn begin(data: &Path, first: u64) -> Result<Self, WalkError> {
        let directory = data.join(INDEX_DIRECTORY);
        let mut names = list(&directory)?;
        names.sort_unstable();
        let mut check = Self::default();
        let mut next = 0;
        for name in &names {
            let head = part(&directory, name)?;
            if next < first {
                next = head.first_index.min(first);
            }
            if head.first_index > next {
                return Err(WalkError::Missing { file: named(&file_name(next)) });
            }
            if head.first_index < next {
                return Err(corrupt(name, "it begins before the part before it ends"));
            }
            next = head.end_index();
            // That a part of them is whole is all that is to be seen of it.
            if next > first {
                check.ends.insert(next, head);
            }
        }
        Ok(check)
    }

    /// Takes the next frame of the log.
    pub(super) fn frame(&mut self, frame: &Frame, log_id: &[u8; 32]) {
        let (earliest, latest) = self.times.unwrap_or((frame.unix_ms, frame.unix_ms));
        let times = (earliest.min(frame.unix_ms), latest.max(frame.unix_ms));
        self.times = Some(times);
        let Some(head) = self.ends.remove(&frame.end_index()) else { return };
        self.times = None;
        let is_ours = head.tree_root == frame.tree_root && head.log_id == *log_id;
        if !is_ours || times != (head.earliest_ms, head.latest_ms) {
            let error = corrupt(&file_name(head.first_index), "it is not of this log");
            self.finding.get_or_insert(error);
        }
    }

    /// What does not hold, once every frame was taken.
    pub(super) fn end(self) -> Result<(), WalkError> {
        if let Some(finding) = self.finding {
            return Err(finding);
        }
        match self.ends.into_values().next() {
            Some(head) => Err(corrupt(&file_name(head.first_index), "the log has no such records")),
            None => Ok(()),
        }
    }
}

fn part(directory: &Path, name: &str) -> Result<PartHead, WalkError> {
    let bytes = read_bounded(&directory.join(name), PART_HEAD_BYTES + BODY_BYTES_MAX)
        .map_err(|source| WalkError::Unreadable { file: named(name), source })?;
    let (head, _) = PartHead::of_whole(&bytes).map_err(|_| corrupt(name, "it is altered"))?;
    let is_named = first_index(name) == Some(head.first_index);
    is_named.then_some(head).ok_or_else(|| corrupt(name, "it has the name of another part"))
}

fn list(directory: &Path) -> Result<Vec<String>, WalkError> {
    let unreadable = |source| WalkError::Unreadable { file: INDEX_DIRECTORY.into(), source };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: io::Result<Vec<String>> = names.collect();
    let mut names = names.map_err(unreadable)?;
    names.retain(|name| !name.ends_with(super::published::UNFINISHED));
    Ok(names)
}

fn corrupt(name: &str, what: &'static str) -> WalkError {
    WalkError::Corrupt { file: named(name), offset: 0, what }
}

fn named(name: &str) -> String {
    format!("{INDEX_DIRECTORY}/{name}")
}
