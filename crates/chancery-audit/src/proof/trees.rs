//! Proofs about whole trees: that one continues another, or that a log contradicts itself.
//!
//! ```text
//! proof = CBOR [1, claim, [checkpoint (text), checkpoint (text)], [hash (32), …], policy digest (32)]    the last if named
//! claim = [1]                    the second continues the first
//!       | [2, root (32)]         the log of the second had this root where the first says another
//! ```
//!
//! The hashes are those of RFC 9162, 2.1.4.1. A log that shows one history to some and another to others has
//! signed two checkpoints of which none continues the other. Where they are of the same size, they say so
//! themselves; else the hashes lead from the root that the second one had at the size of the first.

use chancery_core::cbor;
use chancery_log::note::Note;
use chancery_log::tile::{TileError, TileReader, TileTree};
use chancery_log::{Hash, TreeHead, verify_consistency};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use super::{ProofError, Trust, Vouched};

const FORMAT: u8 = 1;

/// A proof about two trees.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct TreeProof {
    #[n(0)]
    format: u8,
    #[n(1)]
    claim: Claim,
    #[n(2)]
    checkpoints: [String; 2],
    #[n(3)]
    hashes: Vec<ByteArray<32>>,
    #[n(4)]
    policy: Option<ByteArray<32>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
enum Claim {
    #[n(1)]
    Continues,
    #[n(2)]
    Forks {
        #[n(0)]
        root: ByteArray<32>,
    },
}

/// What is proved about two trees.
#[derive(Clone, Debug)]
pub enum Trees {
    /// The log of the second has all of the first, in the same order, and nothing of it was altered.
    Consistent {
        /// The earlier one.
        old: Vouched,
        /// The later one.
        new: Vouched,
    },
    /// The log signed two histories.
    Fork {
        /// The smaller one, or one of the same size.
        one: Vouched,
        /// The other.
        other: Vouched,
    },
}

impl TreeProof {
    /// Makes the proof that `new` continues `old`, or, if it does not, that the log has forked. The tiles are
    /// those of `new`.
    ///
    /// # Errors
    ///
    /// [`TileError`] if a tile is missing, or the trees are in the other order.
    pub fn make(
        (old, old_tree): (&Note, TreeHead),
        (new, new_tree): (&Note, TreeHead),
        tiles: impl TileReader,
    ) -> Result<Self, TileError> {
        let beyond = TileError::OutOfTree { size: new_tree.size };
        if old_tree.size > new_tree.size {
            return Err(beyond);
        }
        let (hashes, root) = if old_tree.size == new_tree.size {
            (Vec::new(), new_tree.root)
        } else {
            let mut tree = TileTree::new(new_tree.size, tiles);
            (tree.consistency_proof(old_tree.size)?, tree.root_at(old_tree.size)?)
        };
        // What tiles say is not believed: they must be those of the tree that was signed.
        let had = TreeHead { size: old_tree.size, root };
        verify_consistency(&had, &new_tree, &hashes).map_err(|_| beyond)?;
        let claim = if root == old_tree.root {
            Claim::Continues
        } else {
            Claim::Forks { root: (*root.as_bytes()).into() }
        };
        Ok(Self {
            format: FORMAT,
            claim,
            checkpoints: [old.to_string(), new.to_string()],
            hashes: hashes.iter().map(|hash| (*hash.as_bytes()).into()).collect(),
            policy: None,
        })
    }

    /// The same, naming the policy under which it was made.
    #[must_use]
    pub fn naming(self, policy: Option<[u8; 32]>) -> Self {
        Self { policy: policy.map(ByteArray::from), ..self }
    }

    /// The digest of the policy that it names: a word of who made the proof, signed by nobody.
    #[must_use]
    pub fn policy(&self) -> Option<[u8; 32]> {
        self.policy.map(|digest| *digest)
    }

    /// Whether it is to prove that the log has forked.
    #[must_use]
    pub fn is_fork(&self) -> bool {
        matches!(self.claim, Claim::Forks { .. })
    }

    /// Its encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`ProofError::NotAProof`] if the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        let proof: Option<Self> = cbor::decode(bytes, "proof").ok();
        proof.filter(|proof| proof.format == FORMAT).ok_or(ProofError::NotAProof)
    }

    /// Checks it.
    ///
    /// # Errors
    ///
    /// [`ProofError`], which says what does not hold.
    pub fn check(&self, trust: &Trust) -> Result<Trees, ProofError> {
        let vouched = |text: &String| trust.vouched(Note::parse(text.as_bytes())?);
        let [old, new] = &self.checkpoints;
        let (old, new) = (vouched(old)?, vouched(new)?);
        if old.checkpoint.origin != new.checkpoint.origin {
            return Err(ProofError::NotACheckpoint);
        }
        let hashes: Vec<Hash> = self.hashes.iter().map(|hash| Hash::from(**hash)).collect();
        let (old_tree, new_tree) = (&old.checkpoint.tree, &new.checkpoint.tree);
        match &self.claim {
            Claim::Continues => {
                verify_consistency(old_tree, new_tree, &hashes)?;
                Ok(Trees::Consistent { old, new })
            }
            Claim::Forks { root } => {
                let had = TreeHead { size: old_tree.size, root: Hash::from(**root) };
                verify_consistency(&had, new_tree, &hashes)?;
                if had == *old_tree {
                    return Err(ProofError::NoFork);
                }
                Ok(Trees::Fork { one: old, other: new })
            }
        }
    }
}
