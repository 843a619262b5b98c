//! A tenant's digest of its rows, kept up row by row.
//!
//! The form is LtHash (Bellare and Micciancio, 1997; Lewi et al., 2019): 1 024 lanes of 16 bits. Each row is
//! expanded, under a key, from its name, its row version and its seal's tag; the digest is the sum of all
//! rows, lane by lane, modulo 2^16. Writing a row subtracts the old and adds the new.
//!
//! ```text
//! seed     = HMAC-SHA-256[key](LTHASH_ROW ‖ name length (4) ‖ name ‖ 8 ‖ row version (8) ‖ 16 ‖ tag (16))
//! lanes(r) = AES-256-CTR[seed](0^2048), as 1 024 big-endian numbers of 16 bits
//! digest   = Σ lanes(r) mod 2^16
//! ```
//!
//! It is never an exclusive or: that falls to linear algebra.

use crate::labels;
use crate::mac::KeyedHash;
use crate::primitive::{PrimitiveError, keystream};

/// How many lanes a digest has.
pub const LANES: usize = 1_024;

/// The bytes of a digest.
pub const DIGEST_BYTES: usize = LANES * 2;

/// The sum over a tenant's rows.
#[derive(Clone, PartialEq, Eq)]
pub struct RowsDigest(Vec<u16>);

impl std::fmt::Debug for RowsDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RowsDigest").field(&self.0.first()).finish()
    }
}

impl Default for RowsDigest {
    fn default() -> Self {
        Self(vec![0; LANES])
    }
}

/// What stands for one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowMark<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its row version.
    pub version: u64,
    /// The tag of its seal.
    pub tag: [u8; 16],
}

impl RowsDigest {
    /// A row was written.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if the provider cannot; the digest is as it was.
    pub fn add(&mut self, key: &KeyedHash, row: &RowMark<'_>) -> Result<(), PrimitiveError> {
        self.combine(key, row, u16::wrapping_add)
    }

    /// A row was overwritten or deleted.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if the provider cannot; the digest is as it was.
    pub fn subtract(&mut self, key: &KeyedHash, row: &RowMark<'_>) -> Result<(), PrimitiveError> {
        self.combine(key, row, u16::wrapping_sub)
    }

    fn combine(
        &mut self,
        key: &KeyedHash,
        row: &RowMark<'_>,
        with: fn(u16, u16) -> u16,
    ) -> Result<(), PrimitiveError> {
        let version = row.version.to_be_bytes();
        let seed = key.of(labels::LTHASH_ROW, &[row.name, &version, &row.tag]);
        let mut lanes = [0; DIGEST_BYTES];
        keystream(&seed, &mut lanes)?;
        for (lane, [high, low]) in self.0.iter_mut().zip(lanes.as_chunks::<2>().0) {
            *lane = with(*lane, u16::from_be_bytes([*high, *low]));
        }
        Ok(())
    }

    /// The 2 048 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|lane| lane.to_be_bytes()).collect()
    }

    /// The digest of 2 048 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (lanes, rest) = bytes.as_chunks::<2>();
        let is_whole = lanes.len() == LANES && rest.is_empty();
        is_whole.then(|| Self(lanes.iter().map(|lane| u16::from_be_bytes(*lane)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &[u8], version: u64) -> RowMark<'_> {
        RowMark { name, version, tag: [3; 16] }
    }

    #[test]
    fn order_does_not_matter_and_what_is_added_can_be_taken_away() {
        let key = KeyedHash::new(&[1; 32]);
        let mut one = RowsDigest::default();
        let mut other = RowsDigest::default();
        one.add(&key, &row(b"a", 1)).unwrap();
        one.add(&key, &row(b"b", 1)).unwrap();
        other.add(&key, &row(b"b", 1)).unwrap();
        other.add(&key, &row(b"a", 1)).unwrap();
        assert_eq!(one, other);
        one.subtract(&key, &row(b"a", 1)).unwrap();
        one.subtract(&key, &row(b"b", 1)).unwrap();
        assert_eq!(one, RowsDigest::default());
    }

    #[test]
    fn a_row_taken_twice_is_not_no_row() {
        let key = KeyedHash::new(&[1; 32]);
        let mut digest = RowsDigest::default();
        digest.add(&key, &row(b"a", 1)).unwrap();
        digest.add(&key, &row(b"a", 1)).unwrap();
        assert_ne!(digest, RowsDigest::default());
    }

    #[test]
    fn name_version_tag_and_key_all_count() {
        let digest = |key: u8, row: &RowMark<'_>| {
            let mut digest = RowsDigest::default();
            digest.add(&KeyedHash::new(&[key; 32]), row).unwrap();
            digest
        };
        let base = digest(1, &row(b"a", 1));
        assert_ne!(base, digest(1, &row(b"b", 1)));
        assert_ne!(base, digest(1, &row(b"a", 2)));
        assert_ne!(base, digest(1, &RowMark { tag: [4; 16], ..row(b"a", 1) }));
        assert_ne!(base, digest(2, &row(b"a", 1)));
        assert_eq!(RowsDigest::from_bytes(&base.to_bytes()), Some(base));
    }
}
