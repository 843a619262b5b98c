//! The published files of a log, wherever they are: on this disk, or at a mirror's.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use chancery_audit::publish::{CHECKPOINT_FILE, read_hashes};
use chancery_audit::shelf::Shelf;
use chancery_log::TreeHead;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::{NOTE_BYTES_MAX, Note};
use chancery_log::tile::TileReader;
use clap::Args;

use crate::files;

/// How long a checkpoint is waited for that covers a fresh record: 5 s; the service makes one each second.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked for.
const POLL: Duration = Duration::from_millis(100);

/// Where published files are read from.
#[derive(Args, Debug)]
pub(crate) struct PublishedArgs {
    /// The directory of the log's published files, here or mirrored: `DIR/log` of a service.
    #[arg(long, value_name = "DIR", default_value = "chancery-data/log")]
    log: PathBuf,
}

/// Published files.
pub(crate) struct Published {
    place: PathBuf,
    shelf: Shelf,
}

impl PublishedArgs {
    /// Opens them.
    pub(crate) fn open(&self) -> Published {
        Published { place: self.log.clone(), shelf: Shelf::at(&self.log) }
    }
}

impl Published {
    /// The checkpoint that is there now.
    pub(crate) fn checkpoint(&self) -> Result<(Note, TreeHead)> {
        let what = || {
            let place = self.place.display();
            format!("`{place}` has no checkpoint of a log; `--log DIR` names another directory")
        };
        let bytes = self.shelf.read(CHECKPOINT_FILE).with_context(what)?;
        parse(&bytes).with_context(what)
    }

    /// The first checkpoint that covers the record at `index`, if that comes soon.
    pub(crate) fn checkpoint_over(&self, index: u64) -> Result<(Note, TreeHead)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.checkpoint() {
                Ok((note, tree)) if index < tree.size => return Ok((note, tree)),
                Ok((_, tree)) if Instant::now() >= deadline => bail!(
                    "the checkpoint in `{}` covers {} records, and record {index} is not among them: the service \
                     makes one each second while it runs",
                    self.place.display(),
                    tree.size
                ),
                Err(error) if Instant::now() >= deadline || !self.place.is_dir() => {
                    return Err(error);
                }
                _ => sleep(POLL),
            }
        }
    }

    /// The tiles.
    pub(crate) fn tiles(&self) -> impl TileReader {
        |tile| read_hashes(&self.shelf, tile)
    }
}

/// Reads a checkpoint that was kept.
pub(crate) fn kept_checkpoint(path: &Path) -> Result<(Note, TreeHead)> {
    let text = files::read_text(path, NOTE_BYTES_MAX)?;
    parse(text.as_bytes()).with_context(|| format!("`{}`", path.display()))
}

fn parse(bytes: &[u8]) -> Result<(Note, TreeHead)> {
    let note = Note::parse(bytes)?;
    let checkpoint: Checkpoint = note.unverified_text().parse()?;
    Ok((note, checkpoint.tree))
}
