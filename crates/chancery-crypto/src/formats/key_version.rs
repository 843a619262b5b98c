//! One version of one key, as it is named in tokens and envelopes: `<key id>.<version>`.

use std::fmt;
use std::str::FromStr;

use chancery_core::id::KeyId;

/// Names one version of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyVersion {
    /// The key.
    pub key: KeyId,
    /// Its version.
    pub version: u32,
}

/// The text does not name a key version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key id, a dot and a version number")]
pub struct KeyVersionError;

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.key, self.version)
    }
}

impl FromStr for KeyVersion {
    type Err = KeyVersionError;

    fn from_str(text: &str) -> Result<Self, KeyVersionError> {
        let (key, version) = text.split_once('.').ok_or(KeyVersionError)?;
        let key = key.parse().map_err(|_| KeyVersionError)?;
        let version = version.parse().map_err(|_| KeyVersionError)?;
        let parsed = Self { key, version };
        // One version has one spelling: no plus sign, no leading zero.
        if parsed.to_string() == text { Ok(parsed) } else { Err(KeyVersionError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_version_has_one_spelling() {
        let text = "01881234-5678-7bab-abab-abababababab.7";
        assert_eq!(text.parse::<KeyVersion>().unwrap().to_string(), text);
        for other in ["", ".7", "01881234-5678-7bab-abab-abababababab", "7"] {
            assert_eq!(other.parse::<KeyVersion>(), Err(KeyVersionError), "{other}");
        }
        for version in ["", "07", "+7", "-7", "7.", "4294967296", " 7"] {
            let other = format!("01881234-5678-7bab-abab-abababababab.{version}");
            assert_eq!(other.parse::<KeyVersion>(), Err(KeyVersionError), "{other}");
        }
    }
}
