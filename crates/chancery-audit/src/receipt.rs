//! Receipts: what a caller keeps to show, without the service, that its operation was recorded.
//!
//! ```text
//! receipt = CBOR [1, head, signature (64), position in the frame, [path hash (32), …], payload seed (32),
//!                 payload section, [payload path hash (32) × 3]]
//! ```
//!
//! A receipt leads from the opened payload section to its group's commitment, to the record's root, to its
//! leaf, by the path to the frame root, and so to the signed head. It proves what the log promised, not that
//! the log kept it: that is what a later inclusion proof is for. A caller can use it to show that a tail
//! which once existed was dropped.

use chancery_core::cbor;
use chancery_core::record_group::RecordGroup;
use chancery_crypto::key::PublicKey;
use chancery_crypto::section::{commit_group, salts};
use chancery_log::{Hash, Leaf, TreeHead, inclusion_proof, verify_inclusion};
use minicbor::{Decode, Encode};

use crate::codec::Reader;
use crate::frame::{Frame, Head};
use crate::opening::{GroupOpening, Opening};
use crate::record::{PayloadSection, hash_of_leaf, root_by_payload};
use crate::sealer::{MonthKeys, commit_payload, payload_group};

const FORMAT: u8 = 1;

/// The longest receipt that is read: 4 KiB; one has about 1 KiB.
pub const RECEIPT_BYTES_MAX: usize = 4 * 1024;

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Receipt {
    #[n(0)]
    format: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    head: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    signature: [u8; 64],
    #[n(3)]
    position: u32,
    #[n(4)]
    path: Vec<minicbor::bytes::ByteArray<32>>,
    #[cbor(n(5), with = "minicbor::bytes")]
    seed: [u8; 32],
    #[n(6)]
    payload: PayloadSection,
    #[n(7)]
    payload_path: [minicbor::bytes::ByteArray<32>; 3],
}

/// What a receipt shows once it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The record's position in the log.
    pub index: u64,
    /// The head that promises it.
    pub head: Head,
    /// What was signed or encrypted, and what came out, as digests.
    pub payload: PayloadSection,
}

/// The receipt shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The head's signature is not the log's.
    #[error("the receipt's head is not signed by this log")]
    BadSignature,
    /// The bytes are no receipt.
    #[error("not a receipt")]
    NotAReceipt,
    /// The payload does not lead to the head.
    #[error("the receipt's payload is not under its head")]
    NotIncluded,
}

impl Receipt {
    /// Makes the receipt of one item of a frame.
    #[must_use]
    pub fn make(
        frame: &Frame,
        log_id: [u8; 32],
        signature: [u8; 64],
        position: u32,
        keys: &MonthKeys,
    ) -> Option<Vec<u8>> {
        let item = frame.items.get(usize::try_from(position).ok()?)?;
        let (payload, seed, payload_path) = keys.open_payload(item)?;
        let leaves: Vec<Hash> = frame.items.iter().map(crate::frame::Item::leaf_hash).collect();
        let path = inclusion_proof(&leaves, u64::from(position)).ok()?;
        let receipt = Self {
            format: FORMAT,
            head: frame.head(log_id).to_bytes(),
            signature,
            position,
            path: path.iter().map(|hash| (*hash.as_bytes()).into()).collect(),
            seed,
            payload,
            payload_path: payload_path.map(|hash| (*hash.as_bytes()).into()),
        };
        Some(cbor::encode(&receipt))
    }

    /// Reads a receipt, and checks nothing.
    ///
    /// # Errors
    ///
    /// [`ReceiptError::NotAReceipt`] if the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        cbor::decode(bytes, "receipt")
            .ok()
            .filter(|receipt: &Self| receipt.format == FORMAT)
            .ok_or(ReceiptError::NotAReceipt)
    }

    /// The record's position in the log, if the receipt has a head.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        parse_head(&self.head)?.first_index.checked_add(u64::from(self.position))
    }

    /// What the receipt opens: the payload's group, and nothing of who or by which key.
    #[must_use]
    pub fn opening(&self) -> Option<Opening> {
        let (salts, _) = salts::<4>(&self.seed).ok()?;
        let value = cbor::encode(&payload_group(&salts, &self.payload));
        let [.., salt] = salts;
        let commitment = commit_group(RecordGroup::Payload.number(), &salt, &value);
        let root = root_by_payload(&commitment, &self.payload_path.map(|hash| Hash::from(*hash)));
        let group = GroupOpening {
            group: RecordGroup::Payload.number(),
            salt: salt.into(),
            value,
            siblings: self.payload_path,
        };
        Some(Opening::new(root, vec![group], Some((&self.seed, self.payload.clone()))))
    }

    /// Checks a receipt against the key of the log it should be of.
    ///
    /// # Errors
    ///
    /// [`ReceiptError`], which says what does not hold.
    pub fn check(bytes: &[u8], log: &PublicKey) -> Result<Shown, ReceiptError> {
        let receipt = Self::parse(bytes)?;
        let head = parse_head(&receipt.head).ok_or(ReceiptError::NotAReceipt)?;
        let signed = log.verify(&head.to_signed_bytes(), &receipt.signature);
        signed.map_err(|_| ReceiptError::BadSignature)?;
        receipt.check_path(&head)?;
        let index = head.first_index + u64::from(receipt.position);
        Ok(Shown { index, head, payload: receipt.payload })
    }

    fn check_path(&self, head: &Head) -> Result<(), ReceiptError> {
        let refused = ReceiptError::NotIncluded;
        let commitment = commit_payload(&self.seed, &self.payload).map_err(|_| refused)?;
        let payload_path = self.payload_path.map(|hash| Hash::from(*hash));
        let leaf = hash_of_leaf(&root_by_payload(&commitment, &payload_path));
        let size = head.tree_size.checked_sub(head.first_index).ok_or(refused)?;
        let path: Vec<Hash> = self.path.iter().map(|hash| Hash::from(**hash)).collect();
        let leaf = Leaf { index: u64::from(self.position), hash: leaf };
        let tree = TreeHead { size, root: head.frame_root };
        verify_inclusion(&leaf, &tree, &path).map_err(|_| refused)
    }
}

fn parse_head(bytes: &[u8]) -> Option<Head> {
    let mut reader = Reader::new(bytes);
    let head = Head {
        log_id: reader.array().ok()?,
        incarnation: reader.u32().ok()?,
        number: reader.u64().ok()?,
        first_index: reader.u64().ok()?,
        tree_size: reader.u64().ok()?,
        tree_root: Hash::from(reader.array::<32>().ok()?),
        frame_root: Hash::from(reader.array::<32>().ok()?),
    };
    reader.end().ok()?;
    Some(head)
}
