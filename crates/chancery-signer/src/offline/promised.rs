//! What the log has promised: the published checkpoint and the tiles under it, against which records are held.
//!
//! A record that the checkpoint covers must be the leaf that the tiles have in its place, and the tiles must lead to
//! the checkpoint's root. Where tiles are missing nothing is known, and the record stands on its own leaf.

use std::path::Path;
use std::sync::Mutex;

use chancery_audit::publish::read_hashes;
use chancery_audit::shelf::Shelf;
use chancery_log::tile::{Tile, TileTree};
use chancery_log::{Hash, Leaf, TreeHead, verify_inclusion};

use crate::counters::lock;

/// Where tiles come from.
type Tiles = Box<dyn FnMut(Tile) -> Option<Vec<Hash>> + Send>;

/// A checkpoint that this log signed, and its tiles.
pub(super) struct Promised(Option<(TreeHead, Mutex<TileTree<Tiles>>)>);

impl Promised {
    /// The tiles in a directory under a checkpoint that was verified; of none, nothing was promised.
    pub(super) fn of(directory: &Path, tree: Option<TreeHead>) -> Self {
        let shelf = Shelf::at(directory);
        Self(tree.map(|tree| {
            let tiles: Tiles = Box::new(move |tile| read_hashes(&shelf, tile));
            (tree, Mutex::new(TileTree::new(tree.size, tiles)))
        }))
    }

    /// What was promised last.
    pub(super) fn tree(&self) -> Option<TreeHead> {
        self.0.as_ref().map(|(tree, _)| *tree)
    }

    /// Why the record at `index`, whose leaf has that hash, is not the one that was promised.
    pub(super) fn contradicts(&self, index: u64, leaf: &Hash) -> Option<&'static str> {
        let (tree, tiles) = self.0.as_ref().filter(|(tree, _)| index < tree.size)?;
        let proof = lock(tiles).inclusion_proof(index).ok()?;
        let held = verify_inclusion(&Leaf { index, hash: *leaf }, tree, &proof);
        held.is_err().then_some(
            "the record is not the one that the log's checkpoint covers in its place: the log or its tiles were altered",
        )
    }
}
