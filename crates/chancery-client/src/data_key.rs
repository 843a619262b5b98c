//! What `generate-data-key` gives: a data key in clear, and the same key wrapped.
//!
//! ```text
//! answer = data key (32) ‖ wrapped key (147)
//! ```
//!
//! The service keeps the wrapped key alone; a repeat with the same operation id unwraps it again and answers
//! the same.

use chancery_crypto::envelope::OVERHEAD_BYTES;
use chancery_crypto::primitive::AES_256_KEY_BYTES;
use zeroize::Zeroizing;

use crate::uses::Used;

/// The length of a wrapped data key, in bytes: an envelope around 32.
const WRAPPED_BYTES: usize = OVERHEAD_BYTES + AES_256_KEY_BYTES;

/// A data key as it was answered.
#[derive(PartialEq, Eq)]
pub struct MadeDataKey {
    /// The key in clear.
    pub key: Zeroizing<[u8; AES_256_KEY_BYTES]>,
    /// The key, wrapped.
    pub wrapped: Vec<u8>,
}

/// The answer holds no data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer of {found} bytes holds no data key")]
pub struct DataKeyError {
    /// How many bytes it has.
    pub found: usize,
}

impl MadeDataKey {
    /// Takes the answer's output apart, and leaves nothing of it in `used`.
    ///
    /// # Errors
    ///
    /// [`DataKeyError`] if it has another length.
    pub fn take(used: &mut Used) -> Result<Self, DataKeyError> {
        let output = Zeroizing::new(std::mem::take(&mut used.output));
        let error = DataKeyError { found: output.len() };
        let (key, wrapped) = output.split_first_chunk::<AES_256_KEY_BYTES>().ok_or(error)?;
        if wrapped.len() != WRAPPED_BYTES {
            return Err(error);
        }
        Ok(Self { key: Zeroizing::new(*key), wrapped: wrapped.to_vec() })
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

    fn used(output: Vec<u8>) -> Used {
        let operation = OperationId::from_bytes([2; 16]);
        Used { operation, output, version: 1, log_index: 0, receipt: Vec::new() }
    }

    #[test]
    fn an_answer_is_a_key_and_the_same_key_wrapped() {
        let wrapped = vec![9; WRAPPED_BYTES];
        let mut used = used([vec![7; 32], wrapped.clone()].concat());
        let expected = MadeDataKey { key: Zeroizing::new([7; 32]), wrapped };
        assert_eq!(MadeDataKey::take(&mut used).unwrap(), expected);
        assert!(used.output.is_empty());
    }

    #[test]
    fn an_answer_of_any_other_length_is_no_data_key() {
        for length in [0, 31, 32, WRAPPED_BYTES, WRAPPED_BYTES + 31, WRAPPED_BYTES + 33] {
            let taken = MadeDataKey::take(&mut used(vec![0; length]));
            assert_eq!(taken, Err(DataKeyError { found: length }));
        }
    }
}
