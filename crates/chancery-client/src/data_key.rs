//! What `generate-data-key` gives: a fresh data key in clear, and the same key wrapped.
//!
//! ```text
//! first answer   = data key (32) ‖ wrapped key (147)
//! repeated answer =                 wrapped key (147)
//! ```
//!
//! The service keeps no data key in clear, so that a repeat with the same operation id brings the wrapped key
//! alone; unwrapping it is an operation of its own.

use chancery_crypto::envelope::OVERHEAD_BYTES;
use chancery_crypto::primitive::AES_256_KEY_BYTES;
use zeroize::Zeroizing;

use crate::uses::Used;

/// The length of a wrapped data key, in bytes: an envelope around 32.
const WRAPPED_BYTES: usize = OVERHEAD_BYTES + AES_256_KEY_BYTES;

/// A data key as it was answered.
#[derive(PartialEq, Eq)]
pub enum MadeDataKey {
    /// With the key in clear.
    Fresh {
        /// The key.
        key: Zeroizing<[u8; AES_256_KEY_BYTES]>,
        /// The key, wrapped.
        wrapped: Vec<u8>,
    },
    /// Made by an earlier request with this operation id: only the wrapped key is left.
    Repeated {
        /// The key, wrapped.
        wrapped: Vec<u8>,
    },
}

/// The answer holds no data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer of {found} bytes holds no data key")]
pub struct DataKeyError {
    /// How many bytes it has.
    pub found: usize,
}

impl MadeDataKey {
    /// Takes an answer apart.
    ///
    /// # Errors
    ///
    /// [`DataKeyError`] if it has the length of neither form.
    pub fn of(used: Used) -> Result<Self, DataKeyError> {
        let output = Zeroizing::new(used.output);
        let error = DataKeyError { found: output.len() };
        if output.len() == WRAPPED_BYTES {
            return Ok(Self::Repeated { wrapped: output.to_vec() });
        }
        let (key, wrapped) = output.split_first_chunk::<AES_256_KEY_BYTES>().ok_or(error)?;
        if wrapped.len() != WRAPPED_BYTES {
            return Err(error);
        }
        Ok(Self::Fresh { key: Zeroizing::new(*key), wrapped: wrapped.to_vec() })
    }

    /// The wrapped key.
    #[must_use]
    pub fn wrapped(&self) -> &[u8] {
        match self {
            Self::Fresh { wrapped, .. } | Self::Repeated { wrapped } => wrapped,
        }
    }
}

impl std::fmt::Debug for MadeDataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MadeDataKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_core::id::OperationId;

    fn made(output: Vec<u8>) -> Result<MadeDataKey, DataKeyError> {
        let operation = OperationId::from_bytes([2; 16]);
        MadeDataKey::of(Used { operation, output, version: 1, log_index: 0, receipt: Vec::new() })
    }

    #[test]
    fn a_first_answer_has_both_and_a_repeat_the_wrapped_key_alone() {
        let wrapped = vec![9; WRAPPED_BYTES];
        let fresh = made([vec![7; 32], wrapped.clone()].concat()).unwrap();
        assert_eq!(
            fresh,
            MadeDataKey::Fresh { key: Zeroizing::new([7; 32]), wrapped: wrapped.clone() }
        );
        assert_eq!(made(wrapped.clone()).unwrap(), MadeDataKey::Repeated { wrapped });
    }

    #[test]
    fn an_answer_of_any_other_length_is_no_data_key() {
        for length in [
            0,
            31,
            32,
            WRAPPED_BYTES - 1,
            WRAPPED_BYTES + 1,
            WRAPPED_BYTES + 31,
            WRAPPED_BYTES + 33,
        ] {
            assert_eq!(made(vec![0; length]), Err(DataKeyError { found: length }));
        }
    }
}
