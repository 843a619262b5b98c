//! What the log has promised: the published checkpoint and the tiles under it, against which records are held.
//!
//! A record that the checkpoint covers must be the leaf that the tiles have in its place, if the tiles lead from there to
//! the checkpoint's root. Where they are missing or altered nothing is known: the record stands on its own leaf, and is
//! counted.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use chancery_audit::publish::read_hashes;
use chancery_audit::shelf::Shelf;
use chancery_log::tile::{Tile, TileTree};
use chancery_log::{Hash, Leaf, TreeHead, verify_inclusion};

use crate::counters::lock;

/// Where tiles come from.
type Tiles = Box<dyn FnMut(Tile) -> Option<Vec<Hash>> + Send>;

/// A checkpoint that this log signed, and its tiles.
pub(super) struct Promised {
    tree: Option<(TreeHead, Mutex<TileTree<Tiles>>)>,
    unheld: AtomicU64,
}

/// What a checkpoint says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It has another record there.
    Another,
    /// It has it.
    Yes,
    /// Its tiles do not tell.
    Unknown,
}

impl Promised {
    /// The tiles in a directory under a checkpoint that was verified; of none, nothing was promised.
    pub(super) fn of(directory: &Path, tree: Option<TreeHead>) -> Self {
        let shelf = Shelf::at(directory);
        let tree = tree.map(|tree| {
            let tiles: Tiles = Box::new(move |tile| read_hashes(&shelf, tile));
            (tree, Mutex::new(TileTree::new(tree.size, tiles)))
        });
        Self { tree, unheld: AtomicU64::new(0) }
    }

    /// What was promised last.
    pub(super) fn tree(&self) -> Option<TreeHead> {
        self.tree.as_ref().map(|(tree, _)| *tree)
    }

    /// How often a record that the checkpoint covers could not be held against it.
    pub(super) fn unheld(&self) -> u64 {
        self.unheld.load(Ordering::Relaxed)
    }

    /// Why the record at `index`, whose leaf has that hash, is not the one that was promised.
    pub(super) fn contradicts(&self, index: u64, leaf: &Hash) -> Option<&'static str> {
        let (tree, tiles) = self.tree.as_ref().filter(|(tree, _)| index < tree.size)?;
        match says(tree, &mut lock(tiles), index, leaf) {
            Says::Yes => None,
            Says::Another => Some(
                "the log's checkpoint covers another record in this place: the log was altered",
            ),
            Says::Unknown => {
                self.unheld.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

fn says(tree: &TreeHead, tiles: &mut TileTree<Tiles>, index: u64, leaf: &Hash) -> Says {
    let (Ok(there), Ok(proof)) = (tiles.leaf(index), tiles.inclusion_proof(index)) else {
        return Says::Unknown;
    };
    // Tiles that do not lead to the checkpoint say nothing of the record.
    match verify_inclusion(&Leaf { index, hash: there }, tree, &proof) {
        Err(_) => Says::Unknown,
        Ok(()) if there == *leaf => Says::Yes,
        Ok(()) => Says::Another,
    }
}

#[cfg(test)]
mod tests {
    use chancery_log::root_of;

    use super::*;

    fn leaves() -> Vec<Hash> {
        (0..5).map(|byte| Hash::from([byte; 32])).collect()
    }

    fn tree_of(hashes: Vec<Hash>) -> TileTree<Tiles> {
        TileTree::new(5, Box::new(move |tile: Tile| Some(hashes.get(..tile.width())?.to_vec())))
    }

    #[test]
    fn another_record_is_told_from_tiles_that_were_altered() {
        let tree = TreeHead { size: 5, root: root_of(&leaves()) };
        let (ours, other) = (Hash::from([3; 32]), Hash::from([9; 32]));
        assert_eq!(says(&tree, &mut tree_of(leaves()), 3, &ours), Says::Yes);
        assert_eq!(says(&tree, &mut tree_of(leaves()), 3, &other), Says::Another);
        for altered in 0..5 {
            let mut hashes = leaves();
            hashes[altered] = other;
            for leaf in [ours, other] {
                let said = says(&tree, &mut tree_of(hashes.clone()), 3, &leaf);
                assert_eq!(said, Says::Unknown, "{altered}");
            }
        }
        let mut none = TileTree::new(5, Box::new(|_| None) as Tiles);
        assert_eq!(says(&tree, &mut none, 3, &ours), Says::Unknown);
    }
}
