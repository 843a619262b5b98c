//! Pages of frames: the log as it is handed to somebody who follows it and opens it for themselves.
//!
//! ```text
//! offset  size  field (big-endian)
//! 0       8     magic, "CHYPGE1\n"
//! 8       8     how many records of the log are durable
//! 16      32    the log's receipt key, by which its name is made
//! 48      8     number of the last frame that ends in the page
//! 56      8     size of the tree after it
//! 64      32    its hash
//! 96      64    Ed25519[receipt key](AUDIT_PAGE ‖ log id (32) ‖ bytes 48 to 95)
//! 160     …     frames as they stand in their segment, padding not, one behind the other
//! ```
//!
//! Bytes 48 to 159 are zeros where no frame ends. The first frame may be without its beginning, which an earlier page had,
//! and the last without its end: only one that takes more than a page is parted.
//!
//! A frame's hash stands in the next one, so the one that is signed vouches for every bit before it, of what is sealed
//! too. [`Follower`] holds that, and each frame's leaves against its root.

use chancery_crypto::key::PrivateKey;
use chancery_crypto::labels;

use crate::codec::{LayoutError, Reader};
use crate::origin::Origin;

mod fill;
mod follow;

pub use fill::{Wanted, fill};
pub use follow::{FollowError, Follower, Taken};

const MAGIC: &[u8; 8] = b"CHYPGE1\n";

/// The bytes before the frames.
pub const PAGE_HEAD_BYTES: usize = 160;

/// The last frame that ends in a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastFrame {
    /// Its number.
    pub number: u64,
    /// The size of the tree after it.
    pub tree_size: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl LastFrame {
    fn to_bytes(self) -> [u8; 48] {
        let mut bytes = [0; 48];
        let (number, rest) = bytes.split_at_mut(8);
        number.copy_from_slice(&self.number.to_be_bytes());
        let (tree_size, hash) = rest.split_at_mut(8);
        tree_size.copy_from_slice(&self.tree_size.to_be_bytes());
        hash.copy_from_slice(&self.hash);
        bytes
    }

    fn to_signed_bytes(self, log_id: &[u8; 32]) -> Vec<u8> {
        [labels::AUDIT_PAGE, log_id, &self.to_bytes()].concat()
    }
}

/// What a page says before its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHead {
    /// How many records of the log are durable.
    pub size: u64,
    /// The log's receipt key.
    pub receipt_key: [u8; 32],
    /// The last frame that ends in the page, with its signature.
    pub last: Option<(LastFrame, [u8; 64])>,
}

impl PageHead {
    /// The head of a page of that log, signed; nothing if the provider fails.
    #[must_use]
    pub fn sign(
        size: u64,
        last: Option<LastFrame>,
        (origin, key): (&Origin, &PrivateKey),
    ) -> Option<Self> {
        let signed = |last: LastFrame| {
            let signature = key.sign(&last.to_signed_bytes(&origin.log_id)).ok()?;
            Some((last, signature.try_into().ok()?))
        };
        let last = match last {
            None => None,
            Some(last) => Some(signed(last)?),
        };
        Some(Self { size, receipt_key: origin.receipt_key, last })
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let none = (LastFrame::default(), [0; 64]);
        let (last, signature) = self.last.as_ref().unwrap_or(&none);
        let size = self.size.to_be_bytes();
        [MAGIC, &size[..], &self.receipt_key, &last.to_bytes(), signature].concat()
    }

    /// Reads the head of a page.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if it has none.
    pub fn parse(page: &[u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader::new(page.get(..PAGE_HEAD_BYTES).ok_or(LayoutError)?);
        reader.expect(MAGIC)?;
        let (size, receipt_key) = (reader.u64()?, reader.array()?);
        let (number, tree_size) = (reader.u64()?, reader.u64()?);
        let last = LastFrame { number, tree_size, hash: reader.array()? };
        let signature = reader.array()?;
        let is_none = last == LastFrame::default() && signature == [0; 64];
        Ok(Self { size, receipt_key, last: (!is_none).then_some((last, signature)) })
    }
}
