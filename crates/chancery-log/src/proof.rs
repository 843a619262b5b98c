//! Proofs that a leaf is in a tree, and that a tree is the beginning of another.
//!
//! Made after the recursive definitions of RFC 9162, sections 2.1.3.1 and 2.1.4.1,
//! and verified after the procedures of 2.1.3.2 and 2.1.4.2. The same proofs stand
//! in RFC 6962, sections 2.1.1 and 2.1.2.
//!
//! Invariant: sizes and index alone say how many hashes a proof has, and a proof of
//! any other length is refused before the first hash is computed.
//!
//! A root does not bind the size of its tree: the caller takes both from one signed
//! tree head. A proof is made here from all leaf hashes; how a large log finds them
//! is not this module's concern.

use crate::hash::{Hash, node_hash};
use crate::tree::{TREE_SIZE_MAX, root_of, split};

/// The most hashes in a proof.
///
/// An inclusion proof has one for each of at most 63 levels, a consistency proof one
/// more for the subtree it starts from.
pub const PROOF_HASHES_MAX: usize = 64;

// One hash for each of `ilog2 + 1` levels of the largest tree, and the starting subtree.
const _: () = assert!(TREE_SIZE_MAX.ilog2() as usize + 1 < PROOF_HASHES_MAX);

/// A leaf hash and its place in the tree, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// How many leaves stand before it.
    pub index: u64,
    /// Its leaf hash.
    pub hash: Hash,
}

/// The size and root of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// The number of leaves.
    pub size: u64,
    /// The root hash.
    pub root: Hash,
}

/// The leaf to be proved is not in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leaf {index} is not in a tree of {size} leaves")]
pub struct ProveInclusionError {
    index: u64,
    size: usize,
}

/// The tree to be proved from is empty or the larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {new} leaves is not proved from one of {old}")]
pub struct ProveConsistencyError {
    old: u64,
    new: usize,
}

/// An inclusion proof does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InclusionError {
    /// The leaf lies outside the tree.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    IndexBeyondSize {
        /// The leaf's place.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The tree is larger than [`TREE_SIZE_MAX`].
    #[error("a tree has at most {limit} leaves, found {found}")]
    TooLarge {
        /// The most leaves a tree may have.
        limit: u64,
        /// The tree's size.
        found: u64,
    },
    /// The proof has too few or too many hashes.
    #[error("the proof must have {expected} hashes, found {found}")]
    Length {
        /// The hashes that index and size call for.
        expected: usize,
        /// The hashes in the proof.
        found: usize,
    },
    /// Leaf and proof lead to another root.
    #[error("the proof leads to root `{found}`, expected `{expected}`")]
    Root {
        /// The tree's root.
        expected: Hash,
        /// The root computed from leaf and proof.
        found: Hash,
    },
}

/// A consistency proof does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsistencyError {
    /// The old tree is empty or larger than the new one.
    #[error("a tree of {new} leaves is not proved from one of {old}")]
    Sizes {
        /// The old tree's size.
        old: u64,
        /// The new tree's size.
        new: u64,
    },
    /// The new tree is larger than [`TREE_SIZE_MAX`].
    #[error("a tree has at most {limit} leaves, found {found}")]
    TooLarge {
        /// The most leaves a tree may have.
        limit: u64,
        /// The new tree's size.
        found: u64,
    },
    /// The proof has too few or too many hashes.
    #[error("the proof must have {expected} hashes, found {found}")]
    Length {
        /// The hashes that the sizes call for.
        expected: usize,
        /// The hashes in the proof.
        found: usize,
    },
    /// The proof leads to another old root.
    #[error("the proof leads to old root `{found}`, expected `{expected}`")]
    OldRoot {
        /// The old tree's root.
        expected: Hash,
        /// The old root computed from the proof.
        found: Hash,
    },
    /// The proof leads to another new root.
    #[error("the proof leads to new root `{found}`, expected `{expected}`")]
    NewRoot {
        /// The new tree's root.
        expected: Hash,
        /// The new root computed from the proof.
        found: Hash,
    },
}

/// `PATH(index, D_n)`: proves that leaf `index` is in the tree over `leaf_hashes`.
///
/// # Errors
///
/// [`ProveInclusionError`] if there is no such leaf.
pub fn inclusion_proof(leaf_hashes: &[Hash], index: u64) -> Result<Vec<Hash>, ProveInclusionError> {
    let size = leaf_hashes.len();
    let place = usize::try_from(index).ok().filter(|place| *place < size);
    let place = place.ok_or(ProveInclusionError { index, size })?;
    let mut proof = Vec::new();
    path(leaf_hashes, place, &mut proof);
    Ok(proof)
}

/// `PROOF(old_size, D_n)`: proves that the tree over `leaf_hashes` begins with the
/// tree over its first `old_size` leaves.
///
/// # Errors
///
/// [`ProveConsistencyError`] if `old_size` is 0 or beyond the number of leaves.
pub fn consistency_proof(
    leaf_hashes: &[Hash],
    old_size: u64,
) -> Result<Vec<Hash>, ProveConsistencyError> {
    let new = leaf_hashes.len();
    let old = usize::try_from(old_size).ok().filter(|old| (1..=new).contains(old));
    let old = old.ok_or(ProveConsistencyError { old: old_size, new })?;
    let mut proof = Vec::new();
    subproof(leaf_hashes, old, OldTree::Whole, &mut proof);
    Ok(proof)
}

/// Checks that `leaf` is in the tree of `head` (RFC 9162, 2.1.3.2).
///
/// # Errors
///
/// [`InclusionError`] unless it is proved.
pub fn verify_inclusion(
    leaf: &Leaf,
    head: &TreeHead,
    proof: &[Hash],
) -> Result<(), InclusionError> {
    if head.size > TREE_SIZE_MAX {
        return Err(InclusionError::TooLarge { limit: TREE_SIZE_MAX, found: head.size });
    }
    if leaf.index >= head.size {
        return Err(InclusionError::IndexBeyondSize { index: leaf.index, size: head.size });
    }
    let mut climb = Climb { node: leaf.index, last: head.size - 1 };
    let (expected, found) = (climb.steps(), proof.len());
    if expected != found {
        return Err(InclusionError::Length { expected, found });
    }
    let found = proof.iter().fold(leaf.hash, |below, sibling| match climb.up() {
        Sibling::Left => node_hash(sibling, &below),
        Sibling::Right => node_hash(&below, sibling),
    });
    if found != head.root {
        return Err(InclusionError::Root { expected: head.root, found });
    }
    Ok(())
}

/// Checks that the tree of `new` begins with the tree of `old` (RFC 9162, 2.1.4.2).
///
/// Heads of equal size are consistent when their roots are equal; their proof is
/// empty.
///
/// # Errors
///
/// [`ConsistencyError`] unless it is proved.
pub fn verify_consistency(
    old: &TreeHead,
    new: &TreeHead,
    proof: &[Hash],
) -> Result<(), ConsistencyError> {
    if new.size > TREE_SIZE_MAX {
        return Err(ConsistencyError::TooLarge { limit: TREE_SIZE_MAX, found: new.size });
    }
    if !(1..=new.size).contains(&old.size) {
        return Err(ConsistencyError::Sizes { old: old.size, new: new.size });
    }
    let (old_root, new_root) = if old.size == new.size {
        check_length(0, proof)?;
        (new.root, new.root)
    } else {
        roots_proved(old, new.size, proof)?
    };
    if old_root != old.root {
        return Err(ConsistencyError::OldRoot { expected: old.root, found: old_root });
    }
    if new_root != new.root {
        return Err(ConsistencyError::NewRoot { expected: new.root, found: new_root });
    }
    Ok(())
}

/// The old and new root that the proof of a larger tree leads to.
fn roots_proved(
    old: &TreeHead,
    new_size: u64,
    proof: &[Hash],
) -> Result<(Hash, Hash), ConsistencyError> {
    // The climb starts from the last complete subtree of the old tree.
    let level = old.size.trailing_zeros();
    let mut climb = Climb { node: (old.size - 1) >> level, last: (new_size - 1) >> level };
    // RFC 9162, 2.1.4.2: "If first is an exact power of 2, then prepend first_hash".
    let (start, siblings) = match proof.split_first() {
        Some((first, rest)) if !old.size.is_power_of_two() => (*first, rest),
        _ => (old.root, proof),
    };
    let from_proof = usize::from(!old.size.is_power_of_two());
    check_length(climb.steps() + from_proof, proof)?;
    Ok(siblings.iter().fold((start, start), |(old, new), sibling| match climb.up() {
        Sibling::Left => (node_hash(sibling, &old), node_hash(sibling, &new)),
        Sibling::Right => (old, node_hash(&new, sibling)),
    }))
}

/// Refuses a consistency proof of any but the `expected` length.
fn check_length(expected: usize, proof: &[Hash]) -> Result<(), ConsistencyError> {
    let found = proof.len();
    if expected == found { Ok(()) } else { Err(ConsistencyError::Length { expected, found }) }
}

/// On which side of the climb a node's sibling stands.
enum Sibling {
    Left,
    Right,
}

/// A way from a node up to the root, which each hash of a proof leads one step on.
///
/// `node` and `last` are the `fn` and `sn` of RFC 9162: the places, at one level, of
/// the node climbed from and of the level's last node.
struct Climb {
    // Invariant: `node <= last`.
    node: u64,
    last: u64,
}

impl Climb {
    /// How many siblings there are on the way to the root.
    ///
    /// Below the level where the climb meets the tree's right border there is one on
    /// every level; on the border, one where the level has an even place to its left.
    fn steps(&self) -> usize {
        let below = u64::BITS - (self.node ^ self.last).leading_zeros();
        let border = self.node.unbounded_shr(below).count_ones();
        (below + border) as usize
    }

    /// Goes up past one sibling, and says where it stands.
    fn up(&mut self) -> Sibling {
        // RFC 9162, 2.1.3.2: "If LSB(fn) is set, or if fn is equal to sn".
        let sibling = if self.node & 1 == 1 {
            Sibling::Left
        } else if self.node == self.last {
            // The last node of a level with an odd number of them rises unhashed.
            self.rise(self.node.trailing_zeros());
            Sibling::Left
        } else {
            Sibling::Right
        };
        self.rise(1);
        sibling
    }

    fn rise(&mut self, levels: u32) {
        self.node = self.node.unbounded_shr(levels);
        self.last = self.last.unbounded_shr(levels);
    }
}

/// RFC 9162, 2.1.3.1: the siblings on the way from leaf `place` up to the root.
fn path(leaf_hashes: &[Hash], place: usize, proof: &mut Vec<Hash>) {
    if leaf_hashes.len() < 2 {
        return;
    }
    let (left, right) = split(leaf_hashes);
    if place < left.len() {
        path(left, place, proof);
        proof.push(root_of(right));
    } else {
        path(right, place - left.len(), proof);
        proof.push(root_of(left));
    }
}

/// Whether the subtree reached is the old tree itself, whose root the verifier has.
#[derive(Clone, Copy)]
enum OldTree {
    Part,
    Whole,
}

/// RFC 9162, 2.1.4.1: the nodes that lead from the first `old` leaves to both roots.
fn subproof(leaf_hashes: &[Hash], old: usize, tree: OldTree, proof: &mut Vec<Hash>) {
    if old == leaf_hashes.len() {
        if let OldTree::Part = tree {
            proof.push(root_of(leaf_hashes));
        }
        return;
    }
    let (left, right) = split(leaf_hashes);
    if old <= left.len() {
        subproof(left, old, tree, proof);
        proof.push(root_of(right));
    } else {
        subproof(right, old - left.len(), OldTree::Part, proof);
        proof.push(root_of(left));
    }
}

#[cfg(test)]
mod tests;
