//! PEM files with one item (RFC 7468): the strict form, and no text around it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The text is not one PEM item of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PEM file with one `{expected}`")]
pub struct PemError {
    /// The label of the item that was wanted.
    pub expected: &'static str,
}

/// The bytes of the one item with `label`.
///
/// # Errors
///
/// [`PemError`] if the text is anything else.
pub fn decode(text: &str, label: &'static str) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let error = PemError { expected: label };
    let body = text.trim_end().strip_prefix(&format!("-----BEGIN {label}-----")).ok_or(error)?;
    let body = body.strip_suffix(&format!("-----END {label}-----")).ok_or(error)?;
    let joined: Zeroizing<String> = Zeroizing::new(body.lines().map(str::trim).collect());
    STANDARD.decode(joined.as_str()).map(Zeroizing::new).map_err(|_| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_item_of_the_wanted_label_is_taken_and_nothing_else() {
        let text = "-----BEGIN PUBLIC KEY-----\nAQID\nBA==\n-----END PUBLIC KEY-----\n";
        assert_eq!(decode(text, "PUBLIC KEY").unwrap().as_slice(), [1, 2, 3, 4]);
        assert_eq!(
            decode(&text.replace('\n', "\r\n"), "PUBLIC KEY").unwrap().as_slice(),
            [1, 2, 3, 4]
        );
        assert!(decode(text, "PRIVATE KEY").is_err());
        assert!(decode(&format!("{text}{text}"), "PUBLIC KEY").is_err());
        assert!(decode(&text.replace("AQID", "AQI*"), "PUBLIC KEY").is_err());
    }
}
