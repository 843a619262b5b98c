//! What the log has promised: the published checkpoint and the tiles under it, against which records are held.
//!
//! A record that the checkpoint covers must be the leaf that the tiles have in its place, if the tiles lead from there to
//! the checkpoint's root. Where they are missing or altered nothing is known: the record stands on its own leaf, and is
//! counted.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use chancery_audit::publish::{CHECKPOINT_FILE, read_hashes};
use chancery_audit::shelf::Shelf;
use chancery_crypto::notes::NoteKey;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::{Note, NoteVerifier, VerifierKey};
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
pub(super) enum Says {
    /// It has another record there.
    Another,
    /// It has it.
    Yes,
    /// Its tiles do not tell.
    Unknown,
}

impl Promised {
    /// What is published in a directory, under the checkpoint that one of these keys has signed; and what is wrong with
    /// that.
    pub(super) fn read(directory: &Path, keys: &[&VerifierKey]) -> (Self, Option<String>) {
        match checkpoint(directory, keys) {
            Ok(tree) => (Self::of(directory, tree), None),
            Err(what) => (Self::of(directory, None), Some(what)),
        }
    }

    /// The tiles in a directory under a checkpoint that was verified; of none, nothing was promised.
    fn of(directory: &Path, tree: Option<TreeHead>) -> Self {
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

    /// What the checkpoint says of the record at `index`; nothing if it does not cover that.
    pub(super) fn says(&self, index: u64, leaf: &Hash) -> Option<Says> {
        let (tree, tiles) = self.tree.as_ref().filter(|(tree, _)| index < tree.size)?;
        Some(says(tree, &mut lock(tiles), index, leaf))
    }

    /// Why the record at `index`, whose leaf has that hash, is not the one that was promised.
    pub(super) fn contradicts(&self, index: u64, leaf: &Hash) -> Option<&'static str> {
        match self.says(index, leaf)? {
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

/// The tree of the checkpoint in a directory, if there is one that one of these keys has signed.
fn checkpoint(directory: &Path, keys: &[&VerifierKey]) -> Result<Option<TreeHead>, String> {
    let foreign = || "the published checkpoint is not of this log, or was altered".to_owned();
    let Ok(bytes) = Shelf::at(directory).read(CHECKPOINT_FILE) else { return Ok(None) };
    let keys: Result<Vec<NoteKey>, _> = keys.iter().map(|&key| NoteKey::new(key.clone())).collect();
    let keys = keys.map_err(|_| foreign())?;
    let known: Vec<&dyn NoteVerifier> = keys.iter().map(|key| key as &dyn NoteVerifier).collect();
    let verified = Note::parse(&bytes).and_then(|note| note.verify(&known));
    let checkpoint = verified.ok().and_then(|note| note.text().parse::<Checkpoint>().ok());
    Ok(Some(checkpoint.ok_or_else(foreign)?.tree))
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
