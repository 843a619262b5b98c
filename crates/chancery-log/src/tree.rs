//! The root of a tree, straight from its definition.
//!
//! RFC 6962, section 2.1, over leaves that are already hashed. This is the slower
//! and plainer of the two ways to a root: it sees all leaves and keeps nothing, so
//! that it can check what [`Frontier`](crate::Frontier) accumulated.

use crate::hash::{EMPTY_ROOT, Hash, node_hash};

/// The most leaves a tree may have: 2^63 - 1.
///
/// At a million leaves a second this lasts 290 000 years. It keeps every size
/// representable as a signed integer of 64 bits, and a consistency proof within
/// [`PROOF_HASHES_MAX`](crate::PROOF_HASHES_MAX).
pub const TREE_SIZE_MAX: u64 = u64::MAX >> 1;

/// `MTH(D[n])`: the root hash of the tree over `leaf_hashes`.
///
/// Takes n - 1 hashes, and stack for one call per level.
#[must_use]
pub fn root_of(leaf_hashes: &[Hash]) -> Hash {
    match leaf_hashes {
        [] => EMPTY_ROOT,
        [only] => *only,
        _ => {
            let (left, right) = split(leaf_hashes);
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// Parts at least two leaves into the two subtrees under their root.
///
/// RFC 6962, 2.1: "let k be the largest power of two smaller than n".
pub(crate) fn split(leaf_hashes: &[Hash]) -> (&[Hash], &[Hash]) {
    let half = leaf_hashes.len().div_ceil(2).next_power_of_two();
    leaf_hashes.split_at(half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    #[test]
    fn an_empty_tree_has_the_empty_root() {
        assert_eq!(root_of(&[]), EMPTY_ROOT);
    }

    #[test]
    fn a_tree_of_one_leaf_is_that_leaf() {
        let leaf = leaf_hash(b"only");
        assert_eq!(root_of(&[leaf]), leaf);
    }

    #[test]
    fn the_left_subtree_is_the_largest_smaller_power_of_two() {
        let leaves = [EMPTY_ROOT; 33];
        let left = |size: usize| split(&leaves[..size]).0.len();
        let sizes = [2, 3, 4, 5, 7, 8, 9, 16, 17, 32, 33];
        assert_eq!(sizes.map(left), [1, 2, 2, 4, 4, 4, 8, 8, 16, 16, 32]);
    }
}
