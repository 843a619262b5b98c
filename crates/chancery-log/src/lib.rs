//! The pure Merkle log: hashes, trees and proofs.
//!
//! The tree is that of RFC 6962, section 2.1, over SHA-256; proofs are made and
//! verified after RFC 9162, sections 2.1.3 and 2.1.4, which describe the same tree
//! with an exact verification procedure. It is narrowed in two places: a tree has
//! at most [`TREE_SIZE_MAX`] leaves, and nothing is proved from an empty tree.
//!
//! Invariant: a root is computed by two separate paths, [`Frontier`] (one leaf at
//! a time) and [`root_of`] (the recursive definition over all leaves), which agree
//! for every sequence of leaves.
//!
//! In the forms of the C2SP transparency-log family: [`note`]s, [`checkpoint`]s and [`cosignature`]s, [`tile`]s,
//! [`tlog_proof`]s, what is said to a [`witness`], and the [`policy`] of who checks them.
//!
//! The crate reads no clock, file or network and holds no key. Leaves come in as
//! hashes; what a leaf contains, and how a tree head is signed, is decided elsewhere.

#![deny(clippy::disallowed_methods)]

pub mod checkpoint;
pub mod cosignature;
mod frontier;
mod hash;
pub mod note;
pub mod policy;
mod proof;
mod short;
pub mod tile;
pub mod tlog_proof;
mod tree;
pub mod witness;

pub use frontier::{Frontier, FrontierError};
pub use hash::{EMPTY_ROOT, HASH_BYTES, Hash, leaf_hash, node_hash};
pub use proof::{
    ConsistencyError, InclusionError, Leaf, PROOF_HASHES_MAX, ProveConsistencyError,
    ProveInclusionError, TreeHead, consistency_proof, inclusion_proof, verify_consistency,
    verify_inclusion,
};
pub use short::{SHORT_BYTES_MAX, sha256_of_short};
pub use tree::{TREE_SIZE_MAX, root_of};
