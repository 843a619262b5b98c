//! The published files of a log, wherever they are: at the service, on this disk, or in a mirror of them.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use chancery_audit::publish::{CHECKPOINT_FILE, POLICY_FILE};
use chancery_audit::shelf::Shelf;
use chancery_audit::witnessed::{WITNESSED_CHECKPOINT, WITNESSED_POLICY};
use chancery_client::Client;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::{NOTE_BYTES_MAX, Note};
use chancery_log::tile::{Tile, TileReader, from_tile_bytes};
use chancery_log::{Hash, TreeHead};
use clap::Args;

use crate::cli::Shared;
use crate::{connection, files};

/// How long a checkpoint is waited for that covers a fresh record: 5 s; the service makes one each second.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same for one that witnesses cosigned: 15 s, a round of theirs and what it may take.
const WITNESSED_PATIENCE: Duration = Duration::from_secs(15);

/// How often it is looked for.
const POLL: Duration = Duration::from_millis(100);

/// Where published files are read from.
#[derive(Args, Debug)]
pub(crate) struct PublishedArgs {
    /// A directory of the log's published files: `DIR/log` of a service that does not run, or a mirror of them. By
    /// default the service is asked.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

/// Published files.
pub(crate) enum Published {
    /// In a directory.
    Directory(PathBuf, Shelf),
    /// At the service.
    Service(Box<Client>),
}

impl PublishedArgs {
    /// Opens them.
    pub(crate) fn open(&self, shared: &Shared) -> Result<Published> {
        self.open_or(shared, None)
    }

    /// Opens them; where no directory is named, those in `usual`, if there is such a directory.
    pub(crate) fn open_or(&self, shared: &Shared, usual: Option<&Path>) -> Result<Published> {
        match self.log.as_deref().or(usual) {
            Some(path) if path.is_dir() => {
                Ok(Published::Directory(path.to_owned(), Shelf::at(path)))
            }
            Some(path) => bail!("`{}` is no directory of published files", path.display()),
            None => Ok(Published::Service(Box::new(connection::client(shared)?))),
        }
    }
}

impl Published {
    /// The checkpoint that is there now.
    pub(crate) fn checkpoint(&self) -> Result<(Note, TreeHead)> {
        self.note(CHECKPOINT_FILE, "checkpoint of a log")
    }

    /// The last checkpoint that enough witnesses cosigned.
    pub(crate) fn witnessed(&self) -> Result<(Note, TreeHead)> {
        self.note(WITNESSED_CHECKPOINT, "checkpoint that witnesses cosigned")
    }

    fn note(&self, file: &str, what: &str) -> Result<(Note, TreeHead)> {
        let what = || match self {
            Self::Directory(path, _) => format!("`{}` has no {what}", path.display()),
            Self::Service(_) => format!("the service gives no {what}"),
        };
        parse(&self.read(file).with_context(what)?).with_context(what)
    }

    /// The log's own policy.
    pub(crate) fn policy(&self) -> Result<String> {
        self.text(POLICY_FILE)
    }

    /// The policy of the witnesses that have cosigned.
    pub(crate) fn witnessed_policy(&self) -> Result<String> {
        self.text(WITNESSED_POLICY)
    }

    fn text(&self, file: &str) -> Result<String> {
        let what = || format!("the published `{file}` cannot be read");
        String::from_utf8(self.read(file).with_context(what)?).with_context(what)
    }

    /// The first checkpoint that covers the record at `index`, if that comes soon.
    pub(crate) fn checkpoint_over(&self, index: u64) -> Result<(Note, TreeHead)> {
        let every = "the service makes one each second while it runs";
        over(index, PATIENCE, every, || self.checkpoint())
    }

    /// The first that witnesses cosigned, likewise.
    pub(crate) fn witnessed_over(&self, index: u64) -> Result<(Note, TreeHead)> {
        let every = "`serve --witness-every` says how often they are asked";
        over(index, WITNESSED_PATIENCE, every, || self.witnessed())
    }

    /// The tiles.
    pub(crate) fn tiles(&self) -> impl TileReader {
        |tile: Tile| {
            let whole =
                |tile: Tile| from_tile_bytes(&self.read(&tile.to_string()).ok()?, tile.width());
            // A partial tile may be gone once the full one is there.
            let wider = || whole(tile.full())?.get(..tile.width()).map(<[Hash]>::to_vec);
            whole(tile).or_else(wider)
        }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        match self {
            Self::Directory(_, files) => Ok(files.read(path)?),
            Self::Service(client) => {
                let read = client.log_file(path);
                read.map_err(|refusal| anyhow!("{}: {}", refusal.code, refusal.detail))
            }
        }
    }
}

/// Waits for a checkpoint that covers the record at `index`.
fn over(
    index: u64,
    patience: Duration,
    every: &str,
    latest: impl Fn() -> Result<(Note, TreeHead)>,
) -> Result<(Note, TreeHead)> {
    let deadline = Instant::now() + patience;
    loop {
        match latest() {
            Ok((note, tree)) if index < tree.size => return Ok((note, tree)),
            Ok((_, tree)) if Instant::now() >= deadline => bail!(
                "the checkpoint covers {} records, and record {index} is not among them: {every}",
                tree.size
            ),
            Err(error) if Instant::now() >= deadline => return Err(error),
            _ => sleep(POLL),
        }
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
