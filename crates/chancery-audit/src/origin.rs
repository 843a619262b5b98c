//! Where a log comes from: its name, its id, and the key that signs its frame heads.
//!
//! ```text
//! log id = SHA-256(LOG_ID ‖ receipt public key (32))
//! origin = "chancery.log/" ‖ first 26 characters of base32(log id), in lower case
//! ```
//!
//! The file `origin` in the log's directory has four lines: the format's name, the origin, the log id and
//! the public key in hexadecimal. It is written once, before the first segment, and never again.

use std::fmt::Write as _;

use chancery_core::id::NodeId;
use chancery_core::suite::Suite;
use chancery_crypto::key::{PrivateKey, PublicKey};
use chancery_crypto::labels;
use chancery_crypto::primitive::sha256;

/// The name of the file.
pub const ORIGIN_FILE: &str = "origin";

/// The first line of the file.
const FORMAT: &str = "chancery audit origin 1";

/// What SubjectPublicKeyInfo puts before an Ed25519 key (RFC 8410, 4).
pub(crate) const ED25519_SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// A log's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The log's id.
    pub log_id: [u8; 32],
    /// The Ed25519 key that signs frame heads.
    pub receipt_key: [u8; 32],
}

/// The file is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file `{ORIGIN_FILE}` is not a log's origin, or was altered")]
pub struct OriginError;

impl Origin {
    /// The origin of the log whose frame heads `receipt_key` verifies.
    #[must_use]
    pub fn of(receipt_key: [u8; 32]) -> Self {
        Self { log_id: sha256(&[labels::LOG_ID, &receipt_key]), receipt_key }
    }

    /// The origin of the log whose frame heads `key` signs.
    ///
    /// # Errors
    ///
    /// [`OriginError`] if the key is not an Ed25519 key.
    pub fn of_signer(key: &PrivateKey) -> Result<Self, OriginError> {
        let spki =
            key.public().filter(|public| public.suite() == Suite::Ed25519).ok_or(OriginError)?;
        let raw = spki.spki().strip_prefix(&ED25519_SPKI_PREFIX).ok_or(OriginError)?;
        Ok(Self::of(raw.try_into().map_err(|_| OriginError)?))
    }

    /// The node that keeps the log: the first sixteen bytes of the log's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId::from_bytes(*self.log_id.first_chunk().unwrap_or(&[0; 16]))
    }

    /// The name by which the log is known.
    #[must_use]
    pub fn name(&self) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let bits = self.log_id.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
        let bits: Vec<u8> = bits.take(26 * 5).collect();
        let value =
            |five: &[u8]| five.iter().fold(0_usize, |number, bit| number << 1 | usize::from(*bit));
        let letters = bits.chunks(5).filter_map(|five| ALPHABET.get(value(five)).copied());
        format!("chancery.log/{}", letters.map(char::from).collect::<String>())
    }

    /// The key as one that verifies.
    ///
    /// # Errors
    ///
    /// [`OriginError`] if it is no point of the curve.
    pub fn verifier(&self) -> Result<PublicKey, OriginError> {
        let spki = [ED25519_SPKI_PREFIX.as_slice(), &self.receipt_key].concat();
        PublicKey::from_spki(Suite::Ed25519, &spki).map_err(|_| OriginError)
    }

    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{FORMAT}\n{}\n{}\n{}\n", self.name(), hex(&self.log_id), hex(&self.receipt_key))
    }

    /// Reads the file's text.
    ///
    /// # Errors
    ///
    /// [`OriginError`] if it is anything but what [`Origin::to_text`] writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, OriginError> {
        let text = std::str::from_utf8(bytes).map_err(|_| OriginError)?;
        let key = text.lines().nth(3).ok_or(OriginError)?;
        let origin = Self::of(unhex(key).ok_or(OriginError)?);
        if origin.to_text() == text { Ok(origin) } else { Err(OriginError) }
    }
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let pairs = text.as_bytes().as_chunks::<2>().0;
    let bytes =
        pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_survives_its_file_and_any_altered_byte_is_found() {
        let origin = Origin::of([7; 32]);
        let text = origin.to_text().into_bytes();
        assert_eq!(Origin::parse(&text), Ok(origin));
        for position in 0..text.len() {
            let mut altered = text.clone();
            altered[position] ^= 1;
            assert!(Origin::parse(&altered).is_err(), "byte {position}");
        }
    }
}
