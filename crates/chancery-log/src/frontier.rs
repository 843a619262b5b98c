//! A growing tree, held as the roots of its complete subtrees.
//!
//! A tree of n leaves (RFC 6962, section 2.1) consists of one complete subtree for
//! each bit set in n. Their roots, the *peaks*, are all that is needed to append
//! leaves and to compute the root: 2 KiB at most, whatever the size.
//!
//! Invariant: there are as many peaks as bits set in the size, largest subtree
//! first.
//!
//! A frontier proves nothing about its leaves and cannot make proofs, since it
//! does not keep them.

use crate::hash::{EMPTY_ROOT, Hash, node_hash};
use crate::tree::TREE_SIZE_MAX;

/// The peaks of a tree and its size (a compact range that starts at 0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    // Invariant: `peaks.len() == size.count_ones()`.
    peaks: Vec<Hash>,
}

/// The parts do not make a frontier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrontierError {
    /// The number of peaks does not fit the size.
    #[error("a tree of {size} leaves has {expected} peaks, found {found}")]
    PeakCount {
        /// The stated number of leaves.
        size: u64,
        /// The peaks that such a tree has.
        expected: usize,
        /// The peaks that were given.
        found: usize,
    },
    /// The size is beyond [`TREE_SIZE_MAX`].
    #[error("a tree has at most {limit} leaves, found {found}")]
    TooLarge {
        /// The most leaves a tree may have.
        limit: u64,
        /// The stated number of leaves.
        found: u64,
    },
}

impl Frontier {
    /// The frontier of the empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// Takes up a frontier that was put away as its parts.
    ///
    /// # Errors
    ///
    /// [`FrontierError`] if the size is too large or the number of peaks does not
    /// fit it. That the peaks are those of a certain tree only its root can show.
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Result<Self, FrontierError> {
        if size > TREE_SIZE_MAX {
            return Err(FrontierError::TooLarge { limit: TREE_SIZE_MAX, found: size });
        }
        let (expected, found) = (size.count_ones() as usize, peaks.len());
        if expected != found {
            return Err(FrontierError::PeakCount { size, expected, found });
        }
        Ok(Self { size, peaks })
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds one leaf at the end; takes one hash on average, and at most 63.
    ///
    /// # Panics
    ///
    /// If the size overflows, which takes 2^63 appends.
    pub fn append(&mut self, leaf_hash: Hash) {
        let mut peak = leaf_hash;
        // Each trailing 1 of the size is a subtree as large as the one being added.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            peak = node_hash(&left, &peak);
        }
        self.peaks.push(peak);
        self.size += 1;
    }

    /// Adds leaves at the end, one after the other.
    ///
    /// # Panics
    ///
    /// As [`Self::append`].
    pub fn extend(&mut self, leaf_hashes: &[Hash]) {
        for leaf_hash in leaf_hashes {
            self.append(*leaf_hash);
        }
    }

    /// The root hash of the tree; takes one hash less than there are peaks.
    #[must_use]
    pub fn root(&self) -> Hash {
        let smallest_first = self.peaks.iter().rev().copied();
        smallest_first.reduce(|right, left| node_hash(&left, &right)).unwrap_or(EMPTY_ROOT)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::hash::leaf_hash;
    use crate::tree::root_of;

    #[test]
    fn frontier_and_definition_agree_at_every_size() {
        let mut frontier = Frontier::new();
        let mut leaves = Vec::new();
        for index in 0..=300_u64 {
            assert_eq!(frontier.root(), root_of(&leaves), "{index} leaves");
            assert_eq!(frontier.size(), index);
            assert_eq!(frontier.peaks().len(), index.count_ones() as usize);
            let leaf = leaf_hash(&index.to_be_bytes());
            frontier.append(leaf);
            leaves.push(leaf);
        }
    }

    proptest! {
        #[test]
        fn frontier_and_definition_agree_on_any_leaves(
            leaves in proptest::collection::vec(any::<[u8; 32]>(), 0..300),
        ) {
            let leaves: Vec<Hash> = leaves.into_iter().map(Hash::from).collect();
            let mut frontier = Frontier::new();
            for leaf in &leaves {
                frontier.append(*leaf);
            }
            prop_assert_eq!(frontier.root(), root_of(&leaves));
        }

        #[test]
        fn a_frontier_put_away_and_taken_up_goes_on_as_before(
            before in 0_u64..200, after in 0_u64..200,
        ) {
            let mut whole = Frontier::new();
            (0..before).for_each(|index| whole.append(leaf_hash(&index.to_be_bytes())));
            let mut resumed = Frontier::from_parts(whole.size(), whole.peaks().to_vec()).unwrap();
            for index in before..before + after {
                whole.append(leaf_hash(&index.to_be_bytes()));
                resumed.append(leaf_hash(&index.to_be_bytes()));
            }
            prop_assert_eq!(resumed.root(), whole.root());
            prop_assert_eq!(resumed, whole);
        }
    }

    #[test]
    fn a_peak_too_few_or_too_many_is_refused() {
        for found in [1, 3] {
            let refused = Frontier::from_parts(6, vec![EMPTY_ROOT; found]).unwrap_err();
            assert_eq!(refused, FrontierError::PeakCount { size: 6, expected: 2, found });
        }
    }

    #[test]
    fn the_largest_tree_is_taken_and_a_larger_one_refused() {
        assert!(Frontier::from_parts(TREE_SIZE_MAX, vec![EMPTY_ROOT; 63]).is_ok());
        let refused = Frontier::from_parts(TREE_SIZE_MAX + 1, vec![EMPTY_ROOT]).unwrap_err();
        let (limit, found) = (TREE_SIZE_MAX, TREE_SIZE_MAX + 1);
        assert_eq!(refused, FrontierError::TooLarge { limit, found });
    }
}
