//! Roots and proofs against those of other implementations: `ct-merkle` over leaves, `tlog_tiles` over tiles.

use chancery_log::{Frontier, Hash, consistency_proof, inclusion_proof, leaf_hash, root_of};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;

/// Trees of every size up to this are compared.
const SIZE_MAX: usize = 130;

fn bytes(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(Hash::as_bytes).copied().collect()
}

#[test]
fn roots_and_all_proofs_equal_those_of_the_oracle() {
    let mut oracle = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut frontier = Frontier::new();
    let mut leaves = Vec::new();
    for size in 1..=SIZE_MAX {
        let data = size.to_be_bytes().to_vec();
        leaves.push(leaf_hash(&data));
        frontier.append(leaf_hash(&data));
        oracle.push(data);
        assert_eq!(root_of(&leaves).as_bytes()[..], oracle.root().as_bytes()[..]);
        assert_eq!(frontier.root(), root_of(&leaves));
        for place in 0..size {
            let ours = inclusion_proof(&leaves, place as u64).unwrap();
            assert_eq!(bytes(&ours), oracle.prove_inclusion(place).as_bytes());
            let ours = consistency_proof(&leaves, place as u64 + 1).unwrap();
            assert_eq!(bytes(&ours), oracle.prove_consistency(size - place - 1).as_bytes());
        }
    }
}

#[cfg(test)]
mod tiles {
    use std::collections::{BTreeMap, BTreeSet};

    use chancery_log::tile::{Edge, Tile, TileKind, TileTree, to_tile_bytes};
    use chancery_log::{Hash, leaf_hash};

    use super::bytes;

    /// The hashes that the oracle stores, in its own order.
    struct Stored(Vec<tlog_tiles::Hash>);

    impl tlog_tiles::HashReader for Stored {
        fn read_hashes(&self, places: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
            let at = |place: &u64| self.0[usize::try_from(*place).unwrap()];
            Ok(places.iter().map(at).collect())
        }
    }

    /// A tree of both, and the tiles of ours.
    struct Both {
        stored: Stored,
        tiles: BTreeMap<Tile, Vec<Hash>>,
        edge: Edge,
    }

    impl Both {
        fn new() -> Self {
            Self { stored: Stored(Vec::new()), tiles: BTreeMap::new(), edge: Edge::new() }
        }

        fn append(&mut self) {
            let size = self.edge.size();
            let data = size.to_be_bytes();
            let hashes = tlog_tiles::stored_hashes(size, &data, &self.stored).unwrap();
            self.stored.0.extend(hashes);
            self.edge.append(leaf_hash(&data), |tile, hashes| {
                self.tiles.insert(tile, hashes);
            });
        }

        /// All tiles of the tree as it is.
        fn tiles(&self) -> BTreeMap<Tile, Vec<Hash>> {
            let partials = self.edge.partials().map(|(tile, hashes)| (tile, hashes.to_vec()));
            self.tiles.clone().into_iter().chain(partials).collect()
        }
    }

    /// The oracle's name of a tile: it has the height in its path.
    fn oracle_of(tile: Tile) -> tlog_tiles::Tile {
        let level = match tile.kind() {
            TileKind::Entries => 0,
            TileKind::Hashes(level) => level,
        };
        let width = u32::try_from(tile.width()).unwrap();
        tlog_tiles::Tile::new(8, level, tile.index(), width, tile.kind() == TileKind::Entries)
    }

    fn paths(tiles: impl Iterator<Item = tlog_tiles::Tile>) -> BTreeSet<String> {
        tiles.map(|tile| tile.path()).collect()
    }

    #[test]
    fn tiles_have_the_paths_and_the_bytes_of_the_oracle() {
        let mut both = Both::new();
        for size in 1..=66_500_u64 {
            both.append();
            if size != 1 && size % 4_999 != 0 && !(255..=258).contains(&size) && size < 66_500 {
                continue;
            }
            let ours = both.tiles();
            let theirs = tlog_tiles::Tile::new_tiles(8, 0, size);
            assert_eq!(
                paths(ours.keys().copied().map(oracle_of)),
                paths(theirs.into_iter()),
                "{size}"
            );
            for (tile, hashes) in ours.iter().filter(|(tile, _)| tile.index() % 37 == 0) {
                let bytes = oracle_of(*tile).read_data(&both.stored).unwrap();
                assert_eq!(bytes, to_tile_bytes(hashes), "{tile} of {size}");
            }
            assert_eq!(
                both.edge.root().as_bytes(),
                &tlog_tiles::tree_hash(size, &both.stored).unwrap().0
            );
        }
    }

    #[test]
    fn a_tile_is_where_the_oracle_has_it() {
        for (kind, name) in
            [(TileKind::Entries, "data"), (TileKind::Hashes(0), "0"), (TileKind::Hashes(3), "3")]
        {
            for index in [0, 7, 255, 999, 1_000, 999_999, 1_000_000, 123_456_789] {
                for width in [1, 17, 255, 256] {
                    let levels = if name == "3" { 256_u64.pow(3) } else { 1 };
                    let Some(tile) = Tile::of_tree(kind, index, (index * 256 + width) * levels)
                    else {
                        panic!("{index}")
                    };
                    let theirs = oracle_of(tile).path();
                    let theirs =
                        theirs.replacen("tile/8/", "tile/", 1).replacen("data", "entries", 1);
                    assert_eq!(tile.to_string(), theirs);
                    assert_eq!(theirs.parse(), Ok(tile));
                }
            }
        }
    }

    #[test]
    fn proofs_from_tiles_equal_those_of_the_oracle() {
        let mut both = Both::new();
        for _ in 0..1_300 {
            both.append();
        }
        let flat = |hashes: Vec<tlog_tiles::Hash>| {
            hashes.into_iter().flat_map(|hash| hash.0).collect::<Vec<u8>>()
        };
        for size in [1_u64, 2, 255, 256, 257, 700, 1_024, 1_300] {
            let tiles = both.tiles();
            let mut tree = TileTree::new(size, |tile: Tile| {
                let mut found = tiles.iter();
                let same =
                    |known: &Tile| (known.kind(), known.index()) == (tile.kind(), tile.index());
                found.find(|(known, _)| same(known))?.1.get(..tile.width()).map(<[Hash]>::to_vec)
            });
            for place in (0..size).filter(|place| place % 29 == 0 || place + 2 > size) {
                let theirs = tlog_tiles::prove_record(size, place, &both.stored).unwrap();
                assert_eq!(
                    bytes(&tree.inclusion_proof(place).unwrap()),
                    flat(theirs),
                    "{place} of {size}"
                );
                let theirs = tlog_tiles::prove_tree(size, place + 1, &both.stored).unwrap();
                assert_eq!(
                    bytes(&tree.consistency_proof(place + 1).unwrap()),
                    flat(theirs),
                    "{place} of {size}"
                );
            }
        }
    }
}
