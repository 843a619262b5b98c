//! The list of what could not be encrypted again: a JSON object on each line.

use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::item::Lies;
use super::opened;

/// Its name in the campaign's directory.
const NAME: &str = "failures.ndjson";

/// What could not be encrypted again in one pass.
pub(super) struct Failures {
    file: BufWriter<File>,
    path: PathBuf,
    count: u64,
}

impl Failures {
    /// The file of a campaign's directory.
    pub(super) fn path(state: &Path) -> PathBuf {
        state.join(NAME)
    }

    /// Begins anew, or goes on behind so many bytes, which are there and list so many.
    pub(super) fn begin(state: &Path, (bytes, count): (u64, u64)) -> Result<Self> {
        let path = Self::path(state);
        let cannot = || format!("cannot write `{}`", path.display());
        let mut file = opened::own(&path).with_context(cannot)?;
        file.set_len(bytes).with_context(cannot)?;
        file.seek(SeekFrom::Start(bytes)).with_context(cannot)?;
        Ok(Self { file: BufWriter::new(file), path, count })
    }

    /// Adds one.
    pub(super) fn add(&mut self, lies: &Lies, code: &str, why: &str) -> Result<()> {
        self.count += 1;
        let line = json!({ "at": lies.text(), "code": code, "why": why });
        let written = writeln!(self.file, "{line}");
        written.with_context(|| format!("cannot write `{}`", self.path.display()))
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Makes the list durable, and says how many bytes it has.
    pub(super) fn settle(&mut self) -> Result<u64> {
        let cannot = || format!("cannot write `{}`", self.path.display());
        self.file.flush().with_context(cannot)?;
        self.file.get_ref().sync_data().with_context(cannot)?;
        self.file.stream_position().with_context(cannot)
    }
}
