//! The log as others see it: tiles, bundles of entries, and the checkpoint over them (C2SP tlog-tiles).
//!
//! ```text
//! checkpoint                       the signed note
//! gap                              which retired log it follows, if it does
//! tile/LEVEL/INDEX[.p/WIDTH]       hashes
//! tile/entries/INDEX[.p/WIDTH]     for each record its leaf, behind its length (2)
//! ```
//!
//! All of it is computed again from frames that are read back from the disk, over [`Edge`], which is another
//! path to the root than the one by which the frames got theirs. A root that two paths lead to is a
//! [`Recomputed`], and only that can become a checkpoint.
//!
//! **Invariant:** tiles are durable before the checkpoint that covers them is there.

use std::collections::BTreeSet;
use std::io;

use chancery_core::limits::FRAME_RECORDS_MAX;
use chancery_log::note::{Note, VerifierKey};
use chancery_log::tile::{
    Edge, EdgeError, TILE_WIDTH, Tile, TileKind, from_tile_bytes, to_tile_bytes,
};
use chancery_log::{Hash, TreeHead};

use crate::disk::Disk;
use crate::frames::{FrameReader, ReadBackError};
use crate::record::leaf;
use crate::shelf::Shelf;

/// The directory of what is published, in the data directory.
pub const LOG_DIRECTORY: &str = "log";

/// The checkpoint's file.
pub const CHECKPOINT_FILE: &str = "checkpoint";

/// The file that says which keys sign this log's checkpoints, in the form of a policy (C2SP tlog-policy).
pub const POLICY_FILE: &str = "policy";

/// The file that says which log this one follows, where that one was retired ([`gap`](crate::gap)).
pub const GAP_FILE: &str = "gap";

/// So many records are taken at once: 65 536, whose full tiles and bundles take 5 MiB.
const RECORDS_AT_ONCE: u64 = 65_536;

/// The most that one round takes: the last frame of it may begin just below.
const ROUND_RECORDS_MAX: u64 = RECORDS_AT_ONCE + 8_192;

const _: () = assert!(ROUND_RECORDS_MAX == RECORDS_AT_ONCE + FRAME_RECORDS_MAX as u64);

/// What all tiles are below.
const TILE_DIRECTORY: &str = "tile";

/// An entry in a bundle: its length, and a leaf of 37 bytes.
pub const ENTRY_BYTES: usize = 2 + 37;

/// A state of the log that two separate computations came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recomputed(TreeHead);

impl Recomputed {
    /// The log before its first record, over which there is nothing to compute.
    #[must_use]
    pub fn nothing() -> Self {
        Self(TreeHead { size: 0, root: Edge::new().root() })
    }

    /// The size and the root.
    #[must_use]
    pub fn tree(&self) -> TreeHead {
        self.0
    }
}

/// The log cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What was published cannot be taken up.
    #[error("what was published is not whole")]
    Edge(#[from] EdgeError),
    /// Frames and what was computed from them contradict each other: a bit was flipped, in memory or on the disk.
    #[error("{size} records were read back, and lead to another root than their frame says")]
    OtherRoot {
        /// How many records there are.
        size: u64,
    },
    /// Frames cannot be read back.
    #[error(transparent)]
    ReadBack(#[from] ReadBackError),
    /// Files cannot be written.
    #[error("the published files cannot be written")]
    Shelf(#[source] io::Error),
}

/// Publishes one log.
pub struct Publisher {
    shelf: Shelf,
    edge: Edge,
    /// The leaves behind the last full bundle.
    entries: Vec<u8>,
    /// What is full, and not on the shelf yet.
    full: Vec<(Tile, Vec<u8>)>,
    /// The directories of partial tiles that are on the shelf, as far as this publisher knows.
    partial: BTreeSet<String>,
    /// Up to this size an earlier one may have left others, which it did not come to remove.
    doubtful_to: u64,
    /// Where the log goes on.
    frames: Option<FrameReader>,
}

impl Publisher {
    /// Begins with an empty log.
    #[must_use]
    pub fn new(shelf: Shelf) -> Self {
        let (edge, entries, full) = (Edge::new(), Vec::new(), Vec::new());
        let doubtful_to = if shelf.has(TILE_DIRECTORY) { u64::MAX } else { 0 };
        Self { shelf, edge, entries, full, partial: BTreeSet::new(), doubtful_to, frames: None }
    }

    /// Goes on behind what was published at `tree`.
    ///
    /// # Errors
    ///
    /// [`PublishError::Edge`] or [`PublishError::OtherRoot`] if the files are not those of that tree.
    pub fn take_up(shelf: Shelf, tree: TreeHead) -> Result<Self, PublishError> {
        let mut read = |tile: Tile| read_hashes(&shelf, tile);
        let edge = Edge::take_up(tree.size, &mut read)?;
        if edge.root() != tree.root {
            return Err(PublishError::OtherRoot { size: tree.size });
        }
        let bundle = Tile::of_tree(TileKind::Entries, tree.size / TILE_WIDTH, tree.size);
        let entries = match bundle {
            Some(bundle) => read_entries(&shelf, bundle).ok_or(EdgeError::Missing(bundle))?,
            None => Vec::new(),
        };
        let partials = edge.partials().map(|(tile, _)| tile).chain(bundle);
        let partial = partials.map(|tile| partial_directory(tile.full())).collect();
        // A round that was cut short left tiles of a later size, and this one's may end as much further on.
        let doubtful_to = tree.size.saturating_add(2 * ROUND_RECORDS_MAX);
        Ok(Self { shelf, edge, entries, full: Vec::new(), partial, doubtful_to, frames: None })
    }

    /// How many records were read back.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// What was published.
    #[must_use]
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Reads back what is durable, up to `size` records or a bounded number more, and computes the tree over
    /// it. `None` if nothing is new.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; then nothing of it may be signed.
    pub fn advance(
        &mut self,
        disk: &dyn Disk,
        size: u64,
    ) -> Result<Option<Recomputed>, PublishError> {
        let start = self.size();
        if size <= start {
            return Ok(None);
        }
        let mut frames = match self.frames.take() {
            Some(frames) => frames,
            None => FrameReader::from_record(disk, start)?,
        };
        let (mut last, mut roots) = (None, Vec::new());
        while self.size() < size && self.size() - start < RECORDS_AT_ONCE {
            roots.clear();
            let seen = frames.look_at_next(disk, |frame, _| {
                for item in frame.items() {
                    roots.push(item?.root);
                }
                Ok(frame.facts.tree_root)
            });
            let Some(root) = seen? else { break };
            for root in &roots {
                self.append(root);
            }
            last = Some(root);
        }
        self.frames = Some(frames);
        let Some(expected) = last else { return Ok(None) };
        let tree = TreeHead { size: self.size(), root: self.edge.root() };
        if tree.root != expected {
            return Err(PublishError::OtherRoot { size: tree.size });
        }
        Ok(Some(Recomputed(tree)))
    }

    fn append(&mut self, root: &Hash) {
        let leaf = leaf(root);
        self.entries.extend_from_slice(&entry(&leaf));
        let Self { edge, full, .. } = self;
        edge.append(chancery_log::leaf_hash(&leaf), |tile, hashes| {
            full.push((tile, to_tile_bytes(&hashes)));
        });
        if self.size().is_multiple_of(TILE_WIDTH) {
            let index = self.size() / TILE_WIDTH - 1;
            let entries = std::mem::take(&mut self.entries);
            let bundle = Tile::of_tree(TileKind::Entries, index, self.size());
            self.full.extend(bundle.map(|bundle| (bundle, entries)));
        }
    }

    /// Puts tiles on the shelf, and removes what was published of those that are full now.
    fn put(&mut self, tiles: &[(Tile, Vec<u8>)]) -> io::Result<()> {
        let files: Vec<_> = tiles.iter().map(|(tile, bytes)| (tile.to_string(), bytes)).collect();
        let partials = tiles.iter().filter(|(tile, _)| !tile.is_full());
        self.partial.extend(partials.map(|(tile, _)| partial_directory(tile.full())));
        self.shelf.put_all(files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())))?;
        for (tile, _) in tiles.iter().filter(|(tile, _)| tile.is_full()) {
            // Whoever has an older checkpoint takes the beginning of the full one.
            let directory = partial_directory(*tile);
            if self.partial.contains(&directory) || self.size() <= self.doubtful_to {
                self.shelf.remove_all(&directory)?;
                self.partial.remove(&directory);
            }
        }
        Ok(())
    }

    /// Puts the tiles of a checkpoint on the shelf, then the checkpoint itself.
    ///
    /// # Errors
    ///
    /// [`PublishError::Shelf`]; it can be done again.
    pub fn publish(&mut self, checkpoint: &Note) -> Result<(), PublishError> {
        let size = self.size();
        let bundle = Tile::of_tree(TileKind::Entries, size / TILE_WIDTH, size);
        let hashes = self.edge.partials().map(|(tile, hashes)| (tile, to_tile_bytes(hashes)));
        let partial = hashes.chain(bundle.map(|bundle| (bundle, self.entries.clone())));
        let mut tiles = std::mem::take(&mut self.full);
        let full = tiles.len();
        tiles.extend(partial);
        let put = self.put(&tiles);
        tiles.truncate(full);
        self.full = tiles;
        put.map_err(PublishError::Shelf)?;
        self.full.clear();
        let note = checkpoint.to_string();
        self.shelf.put(CHECKPOINT_FILE, note.as_bytes()).map_err(PublishError::Shelf)
    }
}

/// Where the partial tiles of a full one are.
fn partial_directory(full: Tile) -> String {
    format!("{full}.p")
}

/// An entry of a bundle: the leaf behind its length.
#[must_use]
pub fn entry(leaf: &[u8; 37]) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    let (length, rest) = entry.split_at_mut(2);
    length.copy_from_slice(&[0, 37]);
    rest.copy_from_slice(leaf);
    entry
}

/// The policy that names the keys of a log and asks for no witness.
#[must_use]
pub fn policy_text<'k>(keys: impl IntoIterator<Item = &'k VerifierKey>) -> String {
    let lines = keys.into_iter().map(|key| format!("log {key}\n"));
    lines.chain(["quorum none\n".to_owned()]).collect::<Vec<_>>().concat()
}

/// The entries of a bundle, from the full one where the partial one is not there any more.
fn read_entries(shelf: &Shelf, bundle: Tile) -> Option<Vec<u8>> {
    let length = bundle.width() * ENTRY_BYTES;
    let read = |bundle: Tile| shelf.read(&bundle.to_string()).ok();
    let whole = read(bundle).filter(|bytes| bytes.len() == length);
    whole.or_else(|| read(bundle.full())?.get(..length).map(<[u8]>::to_vec))
}

/// The hashes of a published tile; of a full one, where that is there and the partial one is not any more.
#[must_use]
pub fn read_hashes(shelf: &Shelf, tile: Tile) -> Option<Vec<Hash>> {
    let read = |tile: Tile| from_tile_bytes(&shelf.read(&tile.to_string()).ok()?, tile.width());
    read(tile).or_else(|| read(tile.full())?.get(..tile.width()).map(<[Hash]>::to_vec))
}
