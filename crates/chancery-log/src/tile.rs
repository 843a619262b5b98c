//! Tiles: a log's hashes in pieces of 256, each a file that never changes (C2SP tlog-tiles v0.1.0).
//!
//! ```text
//! tile/LEVEL/INDEX[.p/WIDTH]       WIDTH hashes of level 8 × LEVEL; 256 and no suffix when it is full
//! tile/entries/INDEX[.p/WIDTH]     for each leaf its length (2) and its data
//! INDEX                            three digits a part, all parts but the last behind an `x`
//! ```
//!
//! Hash i of tile n of level l is the root of the 256^l leaves from (256 n + i) × 256^l on. A partial tile has
//! what there is at one size of the tree.
//!
//! **Invariant:** a path names one tile, and a tile has one path.

use std::fmt;
use std::str::FromStr;

use crate::checkpoint::parse_decimal;
use crate::hash::Hash;
use crate::tree::TREE_SIZE_MAX;

mod edge;
mod tree;

pub use edge::{Edge, EdgeError};
pub use tree::{TileError, TileReader, TileTree};

/// The hashes of a full tile, and the entries of a full bundle.
pub const TILE_WIDTH: u64 = 256;

/// The levels of a tree that a tile spans.
pub(crate) const TILE_HEIGHT: u32 = TILE_WIDTH.ilog2();

/// The highest level at which a tile of the largest tree has a hash: 7.
pub const TILE_LEVEL_MAX: u8 = 7;

const _: () = assert!(TREE_SIZE_MAX.ilog2() / TILE_HEIGHT == TILE_LEVEL_MAX as u32);

/// Where the hashes of a tile come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// The entries themselves.
    Entries,
    /// Hashes of this level of tiles.
    Hashes(u8),
}

/// A tile or a bundle of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    kind: TileKind,
    index: u64,
    // Invariant: 1 to 256.
    width: u16,
}

/// The path names no tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile")]
pub struct TilePathError;

impl Tile {
    /// The tile at `index` with what a tree of `size` leaves has of it; `None` if that is nothing.
    #[must_use]
    pub fn of_tree(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(kind.height()).unwrap_or_default();
        let width = hashes.checked_sub(index.checked_mul(TILE_WIDTH)?)?.min(TILE_WIDTH);
        let width = u16::try_from(width).ok().filter(|width| *width > 0)?;
        Some(Self { kind, index, width })
    }

    /// What it is a tile of.
    #[must_use]
    pub fn kind(self) -> TileKind {
        self.kind
    }

    /// Its place among the tiles of its kind.
    #[must_use]
    pub fn index(self) -> u64 {
        self.index
    }

    /// How many hashes or entries it has.
    #[must_use]
    pub fn width(self) -> usize {
        usize::from(self.width)
    }

    /// Whether it will not grow any more.
    #[must_use]
    pub fn is_full(self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// What it had when it had `width` hashes or entries; at most what it has now, and one at least.
    #[must_use]
    pub fn narrowed(self, width: usize) -> Self {
        let width = u16::try_from(width).unwrap_or(u16::MAX).clamp(1, self.width);
        Self { width, ..self }
    }

    /// The full tile in its place.
    #[must_use]
    pub fn full(self) -> Self {
        Self { width: 256, ..self }
    }
}

impl TileKind {
    /// How many levels of the tree stand below it.
    fn height(self) -> u32 {
        match self {
            Self::Entries => 0,
            Self::Hashes(level) => TILE_HEIGHT * u32::from(level),
        }
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => f.write_str("tile/entries/")?,
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        write_index(self.index, f)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

fn write_index(index: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let digits = index.to_string();
    let digits = format!("{digits:0>width$}", width = digits.len().next_multiple_of(3));
    let (parents, last) = digits.split_at(digits.len() - 3);
    for parent in parents.as_bytes().chunks(3) {
        write!(f, "x{}/", String::from_utf8_lossy(parent))?;
    }
    f.write_str(last)
}

impl FromStr for Tile {
    type Err = TilePathError;

    fn from_str(path: &str) -> Result<Self, TilePathError> {
        let tile = parse(path).ok_or(TilePathError)?;
        // What is read and would be written otherwise is another spelling.
        if tile.to_string() == path { Ok(tile) } else { Err(TilePathError) }
    }
}

fn parse(path: &str) -> Option<Tile> {
    let (kind, place) = path.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(level.parse().ok().filter(|level| *level <= TILE_LEVEL_MAX)?),
    };
    let (place, width) = match place.split_once(".p/") {
        None => (place, TILE_WIDTH),
        Some((place, width)) => (place, parse_decimal(width).filter(|w| (1..256).contains(w))?),
    };
    let digits: String = place.chars().filter(char::is_ascii_digit).collect();
    let index = digits.parse().ok().filter(|index| *index <= TREE_SIZE_MAX / TILE_WIDTH)?;
    Some(Tile { kind, index, width: u16::try_from(width).ok()? })
}

/// The bytes of a tile's hashes.
#[must_use]
pub fn to_tile_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The hashes in a tile's bytes, if they are those of so many.
#[must_use]
pub fn from_tile_bytes(bytes: &[u8], width: usize) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    let is_whole = rest.is_empty() && hashes.len() == width;
    is_whole.then(|| hashes.iter().map(|hash| Hash::from(*hash)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = |kind, index, size| Tile::of_tree(kind, index, size).unwrap().to_string();
        let full = |index: u64| (index + 1) * 256;
        assert_eq!(tile(TileKind::Hashes(0), 0, 256), "tile/0/000");
        assert_eq!(tile(TileKind::Hashes(0), 999, full(999)), "tile/0/999");
        assert_eq!(tile(TileKind::Hashes(0), 1_000, full(1_000)), "tile/0/x001/000");
        let large = 1_234_067;
        assert_eq!(tile(TileKind::Entries, large, full(large)), "tile/entries/x001/x234/067");
        assert_eq!(tile(TileKind::Hashes(1), 1, 70_000), "tile/1/001.p/17");
        assert_eq!(tile(TileKind::Hashes(1), 1, 70_000 * 256), "tile/1/001");
        assert_eq!(tile(TileKind::Hashes(0), 273, 70_000), "tile/0/273.p/112");
    }

    #[test]
    fn a_tree_has_the_tiles_that_it_has_hashes_for() {
        assert_eq!(Tile::of_tree(TileKind::Hashes(0), 0, 0), None);
        assert_eq!(Tile::of_tree(TileKind::Hashes(0), 1, 256), None);
        assert_eq!(Tile::of_tree(TileKind::Hashes(1), 0, 255), None);
        assert_eq!(Tile::of_tree(TileKind::Hashes(1), 0, 256).map(Tile::width), Some(1));
        assert_eq!(
            Tile::of_tree(TileKind::Hashes(TILE_LEVEL_MAX), 0, TREE_SIZE_MAX).map(Tile::width),
            Some(127)
        );
        assert_eq!(Tile::of_tree(TileKind::Hashes(9), 0, TREE_SIZE_MAX), None);
        assert_eq!(Tile::of_tree(TileKind::Entries, u64::MAX, 5), None);
    }

    #[test]
    fn every_path_is_read_back_and_no_other_spelling_is() {
        for size in [1, 255, 256, 257, 65_536, 70_000, 16_777_217] {
            for kind in [TileKind::Entries, TileKind::Hashes(0), TileKind::Hashes(1)] {
                for index in [0, 1, 200, 1_023] {
                    let Some(tile) = Tile::of_tree(kind, index, size) else { continue };
                    assert_eq!(tile.to_string().parse(), Ok(tile));
                }
            }
        }
        for path in [
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/00/001",
            "tile/+0/001",
            "tile/8/001",
            "tile/0/001.p/256",
            "tile/0/001.p/0",
            "tile/0/001.p/01",
            "tile/0/001.p/",
            "tile/0/../001",
            "tile/0/x001000",
            "tile/0/001/000",
            "tile/entries/",
            "tile//001",
            "/tile/0/001",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(path.parse::<Tile>(), Err(TilePathError), "{path}");
        }
    }

    #[test]
    fn hashes_survive_their_bytes() {
        let hashes: Vec<Hash> = (0..5_u8).map(|byte| Hash::from([byte; 32])).collect();
        let bytes = to_tile_bytes(&hashes);
        assert_eq!(from_tile_bytes(&bytes, 5), Some(hashes));
        assert_eq!(from_tile_bytes(&bytes, 4), None);
        assert_eq!(from_tile_bytes(&bytes[1..], 5), None);
    }
}
