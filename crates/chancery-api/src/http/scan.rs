//! Bounds on JSON before it is parsed.
//!
//! One pass over the bytes in constant memory: how long, how deep, how many tokens. It also refuses
//! `null`, which no request has. What it lets through may still be no JSON; the parser says so.

use chancery_core::limits::{BATCH_ITEMS_MAX, JSON_DEPTH_MAX, REQUEST_BYTES_MAX};

use crate::http::HttpError;

/// The most tokens of one request: 32 768. The largest batch has 256 items of at most 72 tokens: an object,
/// six fields with name, value and comma, and a context of 16 pairs.
pub const JSON_TOKENS_MAX: usize = 32 * 1024;

// The largest batch is within the bound.
const _: () = assert!(BATCH_ITEMS_MAX * 72 + 16 <= JSON_TOKENS_MAX);

/// Checks the bounds.
///
/// # Errors
///
/// [`HttpError::TooLarge`] if one is broken; [`HttpError::Malformed`] if there is a `null`.
pub fn scan(body: &[u8]) -> Result<(), HttpError> {
    if body.len() > REQUEST_BYTES_MAX {
        return Err(HttpError::TooLarge("a request has at most 1.5 MiB"));
    }
    let mut scanner = Scanner { depth: 0, tokens: 0, place: Place::Outside };
    body.iter().try_for_each(|byte| scanner.take(*byte))
}

/// Where a byte stands.
#[derive(Clone, Copy)]
enum Place {
    /// Outside of text.
    Outside,
    /// In text.
    Text,
    /// In text, after a backslash.
    Escaped,
}

struct Scanner {
    depth: usize,
    tokens: usize,
    place: Place,
}

impl Scanner {
    fn take(&mut self, byte: u8) -> Result<(), HttpError> {
        match (self.place, byte) {
            (Place::Escaped, _) => self.place = Place::Text,
            (Place::Text, b'\\') => self.place = Place::Escaped,
            (Place::Text, b'"') => self.place = Place::Outside,
            (Place::Text, _) => {}
            (Place::Outside, _) => return self.take_outside(byte),
        }
        Ok(())
    }

    fn take_outside(&mut self, byte: u8) -> Result<(), HttpError> {
        match byte {
            b'"' => {
                self.place = Place::Text;
                self.count()
            }
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth > JSON_DEPTH_MAX {
                    return Err(HttpError::TooLarge("a request is nested at most 8 deep"));
                }
                self.count()
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                Ok(())
            }
            b',' => self.count(),
            b'n' => {
                Err(HttpError::Malformed("a field without a value is left out; `null` is refused"))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self) -> Result<(), HttpError> {
        self.tokens += 1;
        if self.tokens > JSON_TOKENS_MAX {
            return Err(HttpError::TooLarge(
                "a request has at most 32768 brackets, commas and texts",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_nesting_is_taken_and_one_deeper_is_not() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(scan(nested(JSON_DEPTH_MAX).as_bytes()), Ok(()));
        for depth in [JSON_DEPTH_MAX + 1, 10_000] {
            assert!(matches!(scan(nested(depth).as_bytes()), Err(HttpError::TooLarge(_))));
        }
    }

    #[test]
    fn the_most_tokens_are_taken_and_one_more_is_not() {
        let commas = |count: usize| ",".repeat(count);
        assert_eq!(scan(commas(JSON_TOKENS_MAX).as_bytes()), Ok(()));
        assert!(matches!(
            scan(commas(JSON_TOKENS_MAX + 1).as_bytes()),
            Err(HttpError::TooLarge(_))
        ));
    }

    #[test]
    fn the_longest_body_is_taken_and_one_byte_more_is_not() {
        assert_eq!(scan(&vec![b' '; REQUEST_BYTES_MAX]), Ok(()));
        assert!(matches!(scan(&vec![b' '; REQUEST_BYTES_MAX + 1]), Err(HttpError::TooLarge(_))));
    }

    #[test]
    fn what_stands_in_text_counts_for_nothing() {
        let text = format!(r#"{{"a":"\"{}null,,","b":"\\"}}"#, "[".repeat(100));
        assert_eq!(scan(text.as_bytes()), Ok(()));
        assert!(scan(br#"{"a":null}"#).is_err());
        // The text ends at the second quote: its backslash is itself escaped.
        assert!(scan(br#"{"a":"\\",null"#).is_err());
    }
}
