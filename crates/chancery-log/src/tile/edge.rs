//! The right edge of a tree in tiles: what of each level is not full yet.
//!
//! [`Edge`] computes the tree of RFC 6962 as tiles hold it, 256 hashes at a time. That is another path to the
//! root than [`Frontier`](crate::Frontier)'s, and the two are held against each other before a checkpoint is
//! signed.
//!
//! **Invariant:** level l has the `size / 256^l mod 256` hashes that stand behind its last full tile.

use crate::hash::{EMPTY_ROOT, Hash, node_hash};
use crate::tile::{TILE_HEIGHT, TILE_WIDTH, Tile, TileKind, TileReader};
use crate::tree::{TREE_SIZE_MAX, root_of};

/// The edge cannot be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// A tile of the edge is not there, or not whole.
    #[error("`{0}` is missing or not whole")]
    Missing(Tile),
    /// The size is beyond [`TREE_SIZE_MAX`].
    #[error("a tree has at most {TREE_SIZE_MAX} leaves")]
    TooLarge,
}

/// The part of a growing tree that is not in full tiles yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of the empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, levels: Vec::new() }
    }

    /// Takes the edge of a tree of `size` leaves up from its partial tiles.
    ///
    /// # Errors
    ///
    /// [`EdgeError`]. That the tiles are those of a certain tree only its root can show.
    pub fn take_up(size: u64, tiles: &mut impl TileReader) -> Result<Self, EdgeError> {
        if size > TREE_SIZE_MAX {
            return Err(EdgeError::TooLarge);
        }
        let mut levels = Vec::new();
        for level in (0..).take_while(|level| size >> (TILE_HEIGHT * u32::from(*level)) > 0) {
            let hashes = size >> (TILE_HEIGHT * u32::from(level));
            let partial = Tile::of_tree(TileKind::Hashes(level), hashes / TILE_WIDTH, size);
            levels.push(match partial {
                Some(tile) => tiles.hashes(tile).ok_or(EdgeError::Missing(tile))?,
                None => Vec::new(),
            });
        }
        Ok(Self { size, levels })
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf at the end. Each tile that becomes full by it goes to `full`, lowest level first.
    pub fn append(&mut self, leaf: Hash, mut full: impl FnMut(Tile, Vec<Hash>)) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0_u8.. {
            let position = usize::from(level);
            if self.levels.len() == position {
                self.levels.push(Vec::with_capacity(256));
            }
            let Some(hashes) = self.levels.get_mut(position) else { return };
            hashes.push(hash);
            if hashes.len() < 256 {
                return;
            }
            let hashes = std::mem::take(hashes);
            hash = root_of(&hashes);
            let index = (self.size >> (TILE_HEIGHT * (u32::from(level) + 1))) - 1;
            if let Some(tile) = Tile::of_tree(TileKind::Hashes(level), index, self.size) {
                full(tile, hashes);
            }
        }
    }

    /// The partial tiles that a checkpoint of this size needs, lowest level first.
    pub fn partials(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        (0_u8..).zip(&self.levels).filter_map(|(level, hashes)| {
            let index = (self.size >> (TILE_HEIGHT * u32::from(level))) / TILE_WIDTH;
            let tile = Tile::of_tree(TileKind::Hashes(level), index, self.size)?;
            Some((tile, hashes.as_slice()))
        })
    }

    /// The root hash of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        // Within a level the hashes are of subtrees of one size; what is right of them is smaller.
        let peaks = self.levels.iter().flat_map(|hashes| peaks(hashes).into_iter().rev());
        peaks.reduce(|right, left| node_hash(&left, &right)).unwrap_or(EMPTY_ROOT)
    }
}

/// The roots of the complete subtrees over hashes of one level, largest first.
fn peaks(hashes: &[Hash]) -> Vec<Hash> {
    let mut rest = hashes;
    let mut peaks = Vec::new();
    while let Some(log) = rest.len().checked_ilog2() {
        let (left, right) = rest.split_at(1 << log);
        peaks.push(root_of(left));
        rest = right;
    }
    peaks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::frontier::Frontier;
    use crate::hash::leaf_hash;
    use crate::tile::{from_tile_bytes, to_tile_bytes};

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    #[test]
    fn edge_and_frontier_agree_at_every_size() {
        let (mut edge, mut frontier) = (Edge::new(), Frontier::new());
        for index in 0..70_000 {
            if index < 1_000 || index % 251 == 0 || index > 65_530 && index < 65_540 {
                assert_eq!(edge.root(), frontier.root(), "{index} leaves");
            }
            edge.append(leaf(index), |_, _| {});
            frontier.append(leaf(index));
        }
        assert_eq!((edge.size(), edge.root()), (frontier.size(), frontier.root()));
    }

    #[test]
    fn an_edge_goes_on_from_the_tiles_that_it_left() {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut edge = Edge::new();
        for index in 0..66_000 {
            edge.append(leaf(index), |tile, hashes| {
                assert!(tile.is_full());
                assert_eq!(files.insert(tile.to_string(), to_tile_bytes(&hashes)), None);
            });
            if index % 9_973 != 0 && !(65_534..65_538).contains(&index) {
                continue;
            }
            for (tile, hashes) in edge.partials() {
                files.insert(tile.to_string(), to_tile_bytes(hashes));
            }
            let mut reader =
                |tile: Tile| from_tile_bytes(files.get(&tile.to_string())?, tile.width());
            let taken_up = Edge::take_up(edge.size(), &mut reader).unwrap();
            assert_eq!(taken_up.root(), edge.root());
            let mut nothing = |_: Tile| None;
            assert!(Edge::take_up(edge.size(), &mut nothing).is_err());
        }
        assert_eq!(files.keys().filter(|path| !path.contains(".p/")).count(), 257 + 1);
    }

    #[test]
    fn a_tree_that_is_too_large_is_refused() {
        let refused = Edge::take_up(TREE_SIZE_MAX + 1, &mut |_: Tile| None);
        assert_eq!(refused, Err(EdgeError::TooLarge));
    }
}
