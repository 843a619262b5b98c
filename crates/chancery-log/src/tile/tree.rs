//! A tree that is read from its tiles: roots and proofs at any size, in a few reads.
//!
//! A proof takes at most one tile for each of eight levels and each end of the ranges that it spans, so its
//! cost grows with the logarithm of the log. Proofs are those of [`crate::proof`], and are verified there.

use crate::hash::{EMPTY_ROOT, Hash};
use crate::proof::TreeHead;
use crate::tile::{TILE_HEIGHT, TILE_WIDTH, Tile, TileKind};
use crate::tree::root_of;

/// Where tiles come from.
pub trait TileReader {
    /// The hashes of a tile, if it is there and has as many as it must.
    fn hashes(&mut self, tile: Tile) -> Option<Vec<Hash>>;
}

impl<F: FnMut(Tile) -> Option<Vec<Hash>>> TileReader for F {
    fn hashes(&mut self, tile: Tile) -> Option<Vec<Hash>> {
        self(tile)
    }
}

/// A root or a proof is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// A tile is not there, or not whole.
    #[error("`{0}` is missing or not whole")]
    Missing(Tile),
    /// What is asked about lies outside the tree.
    #[error("a tree of {size} leaves does not have that")]
    OutOfTree {
        /// The tree's size.
        size: u64,
    },
}

/// A tree of one size, read from tiles.
#[derive(Debug)]
pub struct TileTree<R> {
    size: u64,
    tiles: R,
    /// The tile that was read last of each level.
    last: Vec<Option<(Tile, Vec<Hash>)>>,
}

impl<R: TileReader> TileTree<R> {
    /// The tree of `size` leaves that `tiles` hold.
    pub fn new(size: u64, tiles: R) -> Self {
        Self { size, tiles, last: Vec::new() }
    }

    /// Its root, computed from its tiles.
    ///
    /// # Errors
    ///
    /// [`TileError::Missing`].
    pub fn root(&mut self) -> Result<Hash, TileError> {
        self.root_at(self.size)
    }

    /// The root that it had when it had `size` leaves.
    ///
    /// # Errors
    ///
    /// [`TileError`].
    pub fn root_at(&mut self, size: u64) -> Result<Hash, TileError> {
        match size {
            0 => Ok(EMPTY_ROOT),
            size if size > self.size => Err(TileError::OutOfTree { size: self.size }),
            size => self.range(0, size),
        }
    }

    /// Its size and root.
    ///
    /// # Errors
    ///
    /// [`TileError::Missing`].
    pub fn head(&mut self) -> Result<TreeHead, TileError> {
        Ok(TreeHead { size: self.size, root: self.root()? })
    }

    /// The hash of the leaf at `index`.
    ///
    /// # Errors
    ///
    /// [`TileError`].
    pub fn leaf(&mut self, index: u64) -> Result<Hash, TileError> {
        if index >= self.size {
            return Err(TileError::OutOfTree { size: self.size });
        }
        self.range(index, index + 1)
    }

    /// Proves that the leaf at `index` is in the tree (RFC 9162, 2.1.3.1).
    ///
    /// # Errors
    ///
    /// [`TileError`].
    pub fn inclusion_proof(&mut self, index: u64) -> Result<Vec<Hash>, TileError> {
        if index >= self.size {
            return Err(TileError::OutOfTree { size: self.size });
        }
        let (mut start, mut end) = (0, self.size);
        let mut proof = Vec::new();
        while end - start > 1 {
            let middle = start + left_of(end - start);
            if index < middle {
                proof.push(self.range(middle, end)?);
                end = middle;
            } else {
                proof.push(self.range(start, middle)?);
                start = middle;
            }
        }
        proof.reverse();
        Ok(proof)
    }

    /// Proves that the tree of `old` leaves is its beginning (RFC 9162, 2.1.4.1).
    ///
    /// # Errors
    ///
    /// [`TileError`]; nothing is proved from an empty tree.
    pub fn consistency_proof(&mut self, old: u64) -> Result<Vec<Hash>, TileError> {
        if old == 0 || old > self.size {
            return Err(TileError::OutOfTree { size: self.size });
        }
        let (mut start, mut end) = (0, self.size);
        let mut proof = Vec::new();
        while end != old {
            let middle = start + left_of(end - start);
            if old <= middle {
                proof.push(self.range(middle, end)?);
                end = middle;
            } else {
                proof.push(self.range(start, middle)?);
                start = middle;
            }
        }
        // RFC 9162, 2.1.4.1: the old tree itself needs no hash, any other subtree that ends with it does.
        if start != 0 {
            proof.push(self.range(start, end)?);
        }
        proof.reverse();
        Ok(proof)
    }

    /// The root over the leaves from `start` to `end`.
    fn range(&mut self, start: u64, end: u64) -> Result<Hash, TileError> {
        let length = end - start;
        if length.is_power_of_two() {
            return self.complete(start, length.ilog2());
        }
        let middle = start + left_of(length);
        let (left, right) = (self.range(start, middle)?, self.range(middle, end)?);
        Ok(crate::hash::node_hash(&left, &right))
    }

    /// The root over the 2^`height` leaves from `start` on, which is a multiple of that.
    fn complete(&mut self, start: u64, height: u32) -> Result<Hash, TileError> {
        // A full tile's own root stands in the level above, which is there as soon as the tile is full.
        let level = height / TILE_HEIGHT;
        let first = start >> (TILE_HEIGHT * level);
        let count = 1_u64 << (height % TILE_HEIGHT);
        let kind = u8::try_from(level).map(TileKind::Hashes);
        let out = TileError::OutOfTree { size: self.size };
        let kind = kind.map_err(|_| out)?;
        let tile = Tile::of_tree(kind, first / TILE_WIDTH, self.size).ok_or(out)?;
        let hashes = self.tile(tile, level)?;
        let within = usize::try_from(first % TILE_WIDTH).map_err(|_| out)?;
        let count = usize::try_from(count).map_err(|_| out)?;
        let hashes = hashes.get(within..within + count).ok_or(TileError::Missing(tile))?;
        Ok(root_of(hashes))
    }

    fn tile(&mut self, tile: Tile, level: u32) -> Result<&[Hash], TileError> {
        let level = usize::try_from(level).map_err(|_| TileError::Missing(tile))?;
        if self.last.len() <= level {
            self.last.resize(level + 1, None);
        }
        let missing = TileError::Missing(tile);
        let last = self.last.get_mut(level).ok_or(missing)?;
        if last.as_ref().is_none_or(|(known, _)| *known != tile) {
            let hashes = self.tiles.hashes(tile).filter(|hashes| hashes.len() == tile.width());
            *last = Some((tile, hashes.ok_or(missing)?));
        }
        last.as_ref().map(|(_, hashes)| hashes.as_slice()).ok_or(missing)
    }
}

/// How many leaves stand left of the root of a tree of at least two.
///
/// RFC 6962, 2.1: "let k be the largest power of two smaller than n".
fn left_of(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::hash::leaf_hash;
    use crate::proof::{Leaf, verify_consistency, verify_inclusion};
    use crate::tile::Edge;

    /// The tiles of a tree: full ones, and for each size the partial ones.
    fn tiles(size: u64) -> (BTreeMap<Tile, Vec<Hash>>, Vec<Hash>) {
        let (mut edge, mut tiles, mut leaves) = (Edge::new(), BTreeMap::new(), Vec::new());
        for index in 0..size {
            let leaf = leaf_hash(&index.to_be_bytes());
            leaves.push(leaf);
            edge.append(leaf, |tile, hashes| {
                tiles.insert(tile, hashes);
            });
        }
        tiles.extend(edge.partials().map(|(tile, hashes)| (tile, hashes.to_vec())));
        (tiles, leaves)
    }

    /// Hands tiles out, cut to what an earlier tree had of them, and counts.
    struct Counting<'t> {
        tiles: &'t BTreeMap<Tile, Vec<Hash>>,
        reads: usize,
    }

    impl TileReader for &mut Counting<'_> {
        fn hashes(&mut self, tile: Tile) -> Option<Vec<Hash>> {
            self.reads += 1;
            let found = self
                .tiles
                .iter()
                .find(|(known, _)| (known.kind(), known.index()) == (tile.kind(), tile.index()));
            found?.1.get(..tile.width()).map(<[Hash]>::to_vec)
        }
    }

    #[test]
    fn roots_and_proofs_are_those_of_the_leaves_at_every_size() {
        let (tiles, leaves) = tiles(700);
        for size in
            (1..=700_u64).filter(|size| *size < 20 || size % 37 == 0 || *size > 509 && *size < 516)
        {
            let of_tree = &leaves[..usize::try_from(size).unwrap()];
            let mut counting = Counting { tiles: &tiles, reads: 0 };
            let mut tree = TileTree::new(size, &mut counting);
            let head = tree.head().unwrap();
            assert_eq!(head.root, root_of(of_tree));
            for index in (0..size).filter(|index| *index < 5 || index % 61 == 0 || index + 3 > size)
            {
                let proof = tree.inclusion_proof(index).unwrap();
                let hash = tree.leaf(index).unwrap();
                assert_eq!(hash, of_tree[usize::try_from(index).unwrap()]);
                verify_inclusion(&Leaf { index, hash }, &head, &proof).unwrap();
                let old = index + 1;
                let old_root = root_of(&of_tree[..usize::try_from(old).unwrap()]);
                assert_eq!(tree.root_at(old), Ok(old_root));
                let proof = tree.consistency_proof(old).unwrap();
                verify_consistency(&TreeHead { size: old, root: old_root }, &head, &proof).unwrap();
            }
        }
    }

    #[test]
    fn a_proof_reads_a_few_tiles_of_a_large_tree() {
        let (tiles, leaves) = tiles(70_000);
        for index in [0, 255, 256, 65_535, 65_536, 69_999] {
            let mut counting = Counting { tiles: &tiles, reads: 0 };
            let mut tree = TileTree::new(70_000, &mut counting);
            let proof = tree.inclusion_proof(index).unwrap();
            let head = TreeHead { size: 70_000, root: root_of(&leaves) };
            let hash = leaves[usize::try_from(index).unwrap()];
            verify_inclusion(&Leaf { index, hash }, &head, &proof).unwrap();
            assert!(counting.reads <= 8, "{} tiles for leaf {index}", counting.reads);
        }
    }

    #[test]
    fn what_is_not_in_the_tree_is_not_proved_and_a_missing_tile_is_named() {
        let mut tree = TileTree::new(300, |_: Tile| None);
        let outside = TileError::OutOfTree { size: 300 };
        assert_eq!(tree.inclusion_proof(300), Err(outside));
        assert_eq!(tree.consistency_proof(0), Err(outside));
        assert_eq!(tree.consistency_proof(301), Err(outside));
        assert!(matches!(tree.inclusion_proof(7), Err(TileError::Missing(_))));
        assert_eq!(TileTree::new(0, |_: Tile| None).root(), Ok(EMPTY_ROOT));
    }
}
