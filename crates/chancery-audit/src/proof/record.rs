//! One record of a proof that has several under one checkpoint.
//!
//! ```text
//! record = [index, [hash (32), …], opening (bytes)]
//! ```

use chancery_log::tile::{TileError, TileReader, TileTree};
use chancery_log::{Hash, Leaf, TreeHead, verify_inclusion};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use super::ProofError;
use crate::opening::{Opened, Opening};

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct RecordProof {
    #[n(0)]
    pub(crate) index: u64,
    #[n(1)]
    path: Vec<ByteArray<32>>,
    #[cbor(n(2), with = "minicbor::bytes")]
    opening: Vec<u8>,
}

impl RecordProof {
    /// The proofs of records that were opened, in their order.
    ///
    /// # Errors
    ///
    /// [`TileError`] if a tile is missing, or is not that of the tree.
    pub(crate) fn of_each(
        records: &[(u64, Opening)],
        tree: TreeHead,
        tiles: impl TileReader,
    ) -> Result<Vec<Self>, TileError> {
        let mut published = TileTree::new(tree.size, tiles);
        let mut proved = |(index, opening): &(u64, Opening)| {
            let path = published.inclusion_proof(*index)?;
            let leaf = Leaf { index: *index, hash: opening.leaf() };
            // What tiles say is not believed: the path must lead to the root that was signed.
            verify_inclusion(&leaf, &tree, &path)
                .map_err(|_| TileError::OutOfTree { size: tree.size })?;
            let path = path.iter().map(|hash| (*hash.as_bytes()).into()).collect();
            Ok(Self { index: *index, path, opening: opening.to_bytes() })
        };
        records.iter().map(&mut proved).collect()
    }

    /// What the record says, as far as it is shown, if it is in the log of that tree.
    ///
    /// # Errors
    ///
    /// [`ProofError`], which says what does not hold.
    pub(crate) fn open(&self, tree: &TreeHead) -> Result<Opened, ProofError> {
        let opening = Opening::parse(&self.opening)?;
        let path: Vec<Hash> = self.path.iter().map(|hash| Hash::from(**hash)).collect();
        let leaf = Leaf { index: self.index, hash: opening.leaf() };
        verify_inclusion(&leaf, tree, &path)?;
        Ok(opening.open()?)
    }
}
