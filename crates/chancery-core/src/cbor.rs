//! Canonical CBOR: every value has exactly one encoding.
//!
//! Follows RFC 8949, section 4.2.1 (shortest integers, definite lengths), narrowed to arrays, unsigned
//! integers, byte strings and text. [`decode`] decodes, encodes again and compares, so that whatever it
//! accepts it would also have written.

use minicbor::decode::Decode;
use minicbor::encode::{Encode, Write};

/// The bytes are not the canonical encoding of a value of the expected type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the canonical encoding of a `{expected}`")]
pub struct DecodeError {
    /// What was expected, in the words of the format.
    pub expected: &'static str,
}

/// Room for most of what is encoded: 256 bytes, so that a group of an audit record takes one allocation.
const USUAL_BYTES: usize = 256;

/// Encodes `value`.
#[must_use]
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    append(&mut bytes, value);
    bytes
}

/// Encodes `value` behind what `out` holds, and says where it ends.
pub fn append<T: Encode<()>>(out: &mut Vec<u8>, value: &T) -> usize {
    let start = out.len();
    // Writing to a `Vec` has no way to fail, and our types encode totally.
    if minicbor::encode(value, Appended(out)).is_err() {
        out.truncate(start);
    }
    out.len()
}

/// A vector to write to, whose writes are compiled in place: most are of one byte, or of a length that is known.
struct Appended<'b>(&'b mut Vec<u8>);

impl Write for Appended<'_> {
    type Error = std::convert::Infallible;

    #[inline]
    fn write_all(&mut self, written: &[u8]) -> Result<(), Self::Error> {
        self.0.extend_from_slice(written);
        Ok(())
    }
}

/// Decodes `bytes`, all of them, as the canonical encoding of a `T`.
///
/// # Errors
///
/// [`DecodeError`] if they are anything else, trailing bytes included.
pub fn decode<'b, T: Decode<'b, ()> + Encode<()>>(
    bytes: &'b [u8],
    expected: &'static str,
) -> Result<T, DecodeError> {
    let error = DecodeError { expected };
    let value: T = minicbor::decode(bytes).map_err(|_| error)?;
    let mut rest = Comparison(bytes);
    minicbor::encode(&value, &mut rest).map_err(|_| error)?;
    if rest.0.is_empty() { Ok(value) } else { Err(error) }
}

/// A sink that compares what is written with the bytes it holds, without a copy.
struct Comparison<'b>(&'b [u8]);

/// What was written differs from what was read.
#[derive(Debug)]
struct Differs;

impl Write for Comparison<'_> {
    type Error = Differs;

    fn write_all(&mut self, written: &[u8]) -> Result<(), Differs> {
        self.0 = self.0.strip_prefix(written).ok_or(Differs)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_what_is_encoded_and_ends_where_it_says() {
        let mut bytes = encode(&1_000_u64);
        let start = bytes.len();
        assert_eq!(append(&mut bytes, &vec![1_u64, 2]), bytes.len());
        assert_eq!(bytes.split_at(start), (&encode(&1_000_u64)[..], &encode(&vec![1_u64, 2])[..]));
    }

    #[test]
    fn a_longer_form_of_an_integer_is_refused() {
        assert_eq!(decode::<u64>(&[0x05], "number"), Ok(5));
        assert!(decode::<u64>(&[0x18, 0x05], "number").is_err());
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert!(decode::<u64>(&[0x05, 0x05], "number").is_err());
    }

    #[test]
    fn an_indefinite_array_is_refused() {
        assert_eq!(decode::<Vec<u64>>(&[0x82, 1, 2], "numbers"), Ok(vec![1, 2]));
        assert!(decode::<Vec<u64>>(&[0x9f, 1, 2, 0xff], "numbers").is_err());
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = encode(&vec![1_u64, 1_000, 1_000_000]);
        for length in 0..bytes.len() {
            assert!(decode::<Vec<u64>>(&bytes[..length], "numbers").is_err());
        }
    }
}
