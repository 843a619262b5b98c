//! The hashes of a Merkle tree's leaves and nodes.
//!
//! RFC 6962, section 2.1, with SHA-256. A leaf is hashed behind one prefix byte and
//! a node behind another, so that no leaf can be passed off as a node: finding a
//! second tree with the same root takes a second preimage of SHA-256.
//!
//! Hashes here are public values. They are compared in variable time and printed
//! in full.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::short::sha256_of_short;

/// The length of a SHA-256 digest in bytes (RFC 6234).
pub const HASH_BYTES: usize = 32;

/// The root of a tree without leaves: SHA-256 of the empty string (RFC 6962, 2.1).
pub const EMPTY_ROOT: Hash = Hash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// RFC 6962, 2.1: `MTH({d(0)}) = SHA-256(0x00 || d(0))`.
const LEAF_PREFIX: u8 = 0x00;

/// RFC 6962, 2.1: `MTH(D[n]) = SHA-256(0x01 || MTH(D[0:k]) || MTH(D[k:n]))`.
const NODE_PREFIX: u8 = 0x01;

/// A SHA-256 digest that stands for a leaf, a node or a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; HASH_BYTES]);

impl Hash {
    /// Takes a digest that was computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }
}

/// `SHA-256(0x00 || data)`: the hash of one leaf's data.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    Hash(sha256(&[&[LEAF_PREFIX], data]))
}

/// `SHA-256(0x01 || left || right)`: the hash of the node above two others.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(sha256(&[&[NODE_PREFIX], &left.0, &right.0]))
}

fn sha256(parts: &[&[u8]]) -> [u8; HASH_BYTES] {
    let in_pieces = || parts.iter().fold(Sha256::new(), Digest::chain_update).finalize().into();
    sha256_of_short(parts).unwrap_or_else(in_pieces)
}

impl From<[u8; HASH_BYTES]> for Hash {
    fn from(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Hash {
    /// Writes the digest in lower-case hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_root_is_the_digest_of_nothing() {
        assert_eq!(EMPTY_ROOT, Hash(Sha256::digest(b"").into()));
    }

    #[test]
    fn the_empty_leaf_has_its_published_hash() {
        assert_eq!(
            leaf_hash(b"").to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }

    #[test]
    fn a_long_leaf_has_the_digest_of_its_bytes_behind_the_prefix() {
        for length in [100, 182, 183, 184, 5_000] {
            let bytes = vec![7; length];
            let expected = Sha256::new().chain_update([LEAF_PREFIX]).chain_update(&bytes);
            assert_eq!(leaf_hash(&bytes), Hash(expected.finalize().into()), "{length} bytes");
        }
    }

    #[test]
    fn a_node_is_not_the_leaf_of_the_same_bytes() {
        let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
        let both = [*left.as_bytes(), *right.as_bytes()].concat();
        assert_ne!(node_hash(&left, &right), leaf_hash(&both));
    }

    #[test]
    fn a_node_depends_on_the_order_of_its_children() {
        let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
        assert_ne!(node_hash(&left, &right), node_hash(&right, &left));
    }

    #[test]
    fn a_hash_prints_as_hexadecimal() {
        let hash = Hash::from([0xab; HASH_BYTES]);
        assert_eq!(hash.to_string(), "ab".repeat(HASH_BYTES));
        assert_eq!(format!("{hash:?}"), format!("Hash({hash})"));
    }
}
