//! SHA-256 of short messages, in one go (FIPS 180-4).
//!
//! Most of what is hashed here has two or three blocks: nodes, leaves, commitments. For those, a hash that
//! takes its input in pieces costs as much again as the compression. So the message is padded by hand in a
//! buffer on the stack and compressed at once.
//!
//! The compression is that of `sha2`; only the padding (5.1.1) and the initial value (5.3.3) are ours, and the
//! tests hold them against `sha2` at every length.

use sha2::block_api::compress256;

use crate::hash::HASH_BYTES;

/// A block of the compression, in bytes (FIPS 180-4, table 1).
const BLOCK_BYTES: usize = 64;

/// The most blocks: 3, which is what the longest commitment of an audit record takes. More would only be
/// cleared for nothing.
const BLOCKS_MAX: usize = 3;

/// What the padding takes at least: the byte with the bit 1, and the length (FIPS 180-4, 5.1.1).
const PADDING_BYTES_MIN: usize = 1 + 8;

/// The longest message that counts as short: 183 bytes.
pub const SHORT_BYTES_MAX: usize = BLOCKS_MAX * BLOCK_BYTES - PADDING_BYTES_MIN;

/// FIPS 180-4, 5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// `SHA-256(parts)`, the parts concatenated as they are; `None` if they are longer than [`SHORT_BYTES_MAX`].
#[must_use]
pub fn sha256_of_short(parts: &[&[u8]]) -> Option<[u8; HASH_BYTES]> {
    let mut blocks = [[0; BLOCK_BYTES]; BLOCKS_MAX];
    let mut rest = blocks.as_flattened_mut();
    for part in parts {
        let (place, behind) = rest.split_at_mut_checked(part.len())?;
        place.copy_from_slice(part);
        rest = behind;
    }
    let length = BLOCKS_MAX * BLOCK_BYTES - rest.len();
    *rest.first_mut()? = 0x80;
    let message = blocks.get_mut(..(length + PADDING_BYTES_MIN).div_ceil(BLOCK_BYTES))?;
    let bits = u64::try_from(length).ok()? * 8;
    *message.last_mut()?.last_chunk_mut()? = bits.to_be_bytes();
    let mut state = INITIAL;
    compress256(&mut state, message);
    Some(bytes_of(state))
}

fn bytes_of(state: [u32; 8]) -> [u8; HASH_BYTES] {
    let mut bytes = [0; HASH_BYTES];
    for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *place = word.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn every_short_length_in_one_part_or_two_has_the_hash_that_it_has_in_pieces() {
        let bytes: Vec<u8> = (0..=255_u8).cycle().take(SHORT_BYTES_MAX).collect();
        for length in 0..=SHORT_BYTES_MAX {
            let message = &bytes[..length];
            let expected: [u8; 32] = Sha256::digest(message).into();
            assert_eq!(sha256_of_short(&[message]), Some(expected), "{length} bytes");
            let (one, two) = message.split_at(length / 3);
            assert_eq!(sha256_of_short(&[one, &[], two]), Some(expected), "{length} bytes");
        }
    }

    #[test]
    fn a_longer_message_is_not_short() {
        let longer = [0; SHORT_BYTES_MAX + 1];
        assert_eq!(sha256_of_short(&[&longer]), None);
        assert_eq!(sha256_of_short(&[&[0; SHORT_BYTES_MAX + PADDING_BYTES_MIN]]), None);
        assert_eq!(sha256_of_short(&[&longer, &longer]), None);
    }
}
