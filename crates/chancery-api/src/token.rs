//! Handles as text: `chancery-handle-1.` and base64url without padding (RFC 4648, 5).
//!
//! The prefix lets a scanner find a handle that leaked into a repository or a trace. There is one text
//! for one handle: bits that do not count are refused, and so is white space.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_core::limits::HANDLE_BYTES_MAX;

/// What every handle begins with as text.
pub const PREFIX: &str = "chancery-handle-1.";

/// The longest handle as text, in bytes.
pub const TOKEN_BYTES_MAX: usize = PREFIX.len() + HANDLE_BYTES_MAX.div_ceil(3) * 4;

/// The text is not a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a handle: one begins with `{PREFIX}` and goes on in base64url without padding")]
pub struct TokenError;

/// A handle's bytes as text.
#[must_use]
pub fn encode(handle: &[u8]) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(handle))
}

/// The bytes of a handle's text.
///
/// # Errors
///
/// [`TokenError`] if the text is anything but the one text of a handle's bytes.
pub fn decode(text: &str) -> Result<Vec<u8>, TokenError> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(TokenError);
    }
    let encoded = text.strip_prefix(PREFIX).ok_or(TokenError)?;
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_has_one_text() {
        assert_eq!(decode(&encode(&[1, 2, 3, 4])), Ok(vec![1, 2, 3, 4]));
        // `AB` and `AA` differ in bits that carry nothing for one byte.
        assert_eq!(decode("chancery-handle-1.AA"), Ok(vec![0]));
        for text in [
            "AA",
            "chancery-handle-1.AB",
            "chancery-handle-1.AA==",
            " chancery-handle-1.AA",
            "chancery-handle-1.AA\n",
            "chancery-handle-2.AA",
            "Chancery-handle-1.AA",
        ] {
            assert_eq!(decode(text), Err(TokenError), "{text:?}");
        }
    }

    #[test]
    fn the_longest_handle_is_taken_and_a_longer_text_is_not() {
        assert!(decode(&encode(&vec![7; HANDLE_BYTES_MAX])).is_ok());
        assert_eq!(decode(&encode(&vec![7; HANDLE_BYTES_MAX + 3])), Err(TokenError));
    }
}
