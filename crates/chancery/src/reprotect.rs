//! Campaigns at work: ciphertexts that lie somewhere are counted, and encrypted again under the version that protects now.
//!
//! A *place* is a directory of files with one ciphertext each, or a file with one on each line. One thread reads it, some
//! ask the service for batches, and one writes; between them are short queues, so that memory is bounded however large
//! the place is. The service opens and seals: no plaintext comes here.
//!
//! **Invariant:** at any moment, after any crash, each ciphertext is wholly the old or wholly the new one, and the new one
//! was durable before the old one went. What could not be encrypted again stays as it is, and is listed.
//!
//! Nothing here remembers what is done: the headers say it. So whoever takes a campaign up again begins at the beginning
//! and passes over what is under that version already; of a file of lines, which is written anew, a journal says how far
//! the new one is.

mod asked;
mod directory;
mod exchange;
mod failures;
mod item;
mod lines;
mod opened;
mod pass;
mod work;

pub(crate) use asked::{census_of, given};
use item::{Of, Tally};
pub(crate) use work::{Campaigner, Ended, Lock, campaign, declare, latest};

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use directory::Directory;
use lines::Lines;

/// Where ciphertexts lie.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// One in each file, however deep.
    Directory(Directory),
    /// One on each line.
    Lines(Lines),
}

impl Place {
    /// The place of a path.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let name = path.display();
        let metadata = fs::metadata(path).with_context(|| format!("cannot look at `{name}`"))?;
        if metadata.is_dir() {
            return Ok(Self::Directory(Directory::at(path)));
        }
        if !metadata.is_file() {
            bail!(
                "`{name}` is neither a directory of ciphertexts nor a file with one on each line"
            );
        }
        // A new file takes the place of the file itself, and not that of a link to it.
        let path = fs::canonicalize(path).with_context(|| format!("cannot look at `{name}`"))?;
        Ok(Self::Lines(Lines::at(&path)))
    }

    /// Counts what lies there, by the versions that headers name.
    pub(crate) fn scan(&self, of: &Of, seen: &mut dyn FnMut(u64)) -> Result<Tally> {
        match self {
            Self::Directory(directory) => directory.scan(of, seen),
            Self::Lines(lines) => lines.scan(of, seen),
        }
    }
}

/// The directory beside a place where a campaign keeps what it needs: a lock, failures, and what is not in its place yet.
pub(crate) fn state_directory(place: &Path) -> Result<PathBuf> {
    let place =
        fs::canonicalize(place).with_context(|| format!("cannot look at `{}`", place.display()))?;
    let Some(name) = place.file_name() else {
        bail!("`{}` has no name that a directory beside it could have", place.display());
    };
    let mut name = name.to_owned();
    name.push(".reprotect");
    Ok(place.with_file_name(name))
}
