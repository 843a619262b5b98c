//! The keys that a verifier takes bundles from, and how many of them must have signed.
//!
//! ```text
//! chancery bundle pins v1
//! threshold 2
//! ed25519 <base64 of SubjectPublicKeyInfo>
//! ml-dsa-44 <base64 of SubjectPublicKeyInfo>
//! ```
//!
//! A line each, ending in a line feed; the keys in any order, each once.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_core::bundle::BundleSigner;
use chancery_core::suite::Suite;

use crate::key::PublicKey;

/// The longest text of pins, in bytes: 64 KiB, room for sixteen keys of the longest kind.
pub const PINS_BYTES_MAX: usize = 64 * 1024;

/// The most keys that are pinned: 16.
const PINS_MAX: usize = 16;

/// The first line.
const TITLE: &str = "chancery bundle pins v1";

/// Pinned keys, and how many of them must have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    keys: Vec<PublicKey>,
    threshold: usize,
}

/// The text or the keys are no pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinsError {
    /// It is not of the form that pins have.
    #[error("line {line} is not one of a file of bundle pins; `chancery bundle pin` writes one")]
    Malformed {
        /// Which line, from 1.
        line: usize,
    },
    /// The threshold is none, or more than there are keys.
    #[error("a threshold is at least 1 and at most the number of different pinned keys, 16")]
    Threshold,
}

impl Pins {
    /// Pins keys. One that is given twice counts once.
    ///
    /// # Errors
    ///
    /// [`PinsError::Threshold`] if so many signatures there cannot be, or none are asked for.
    pub fn new(keys: Vec<PublicKey>, threshold: usize) -> Result<Self, PinsError> {
        let mut different: Vec<PublicKey> = Vec::new();
        for key in keys {
            if !different.contains(&key) {
                different.push(key);
            }
        }
        let is_possible = threshold >= 1 && threshold <= different.len();
        if !is_possible || different.len() > PINS_MAX {
            return Err(PinsError::Threshold);
        }
        Ok(Self { keys: different, threshold })
    }

    /// Pins every one of these signers, all of whom must sign.
    ///
    /// # Errors
    ///
    /// [`PinsError`] if one is no key of its algorithm, or there are none.
    pub fn of_signers(signers: &[BundleSigner]) -> Result<Self, PinsError> {
        let keys = signers.iter().map(|signer| PublicKey::from_spki(signer.suite, &signer.public));
        let keys = keys.collect::<Result<Vec<_>, _>>();
        let keys = keys.map_err(|_| PinsError::Malformed { line: 0 })?;
        let threshold = keys.len();
        Self::new(keys, threshold)
    }

    /// Reads the text.
    ///
    /// # Errors
    ///
    /// [`PinsError`] if it is not one of pins.
    pub fn parse(text: &str) -> Result<Self, PinsError> {
        let malformed = |line| PinsError::Malformed { line };
        let body = text.strip_suffix('\n').filter(|_| text.len() <= PINS_BYTES_MAX);
        let mut lines = body.ok_or(malformed(1))?.split('\n');
        lines.next().filter(|line| *line == TITLE).ok_or(malformed(1))?;
        let threshold = lines.next().and_then(|line| line.strip_prefix("threshold "));
        let threshold = threshold.and_then(|number| number.parse().ok()).ok_or(malformed(2))?;
        let keys = lines.enumerate().map(|(at, line)| key(line).ok_or(malformed(at + 3)));
        let pins = Self::new(keys.collect::<Result<_, _>>()?, threshold)?;
        // One set of pins has one text, but for the order of its keys.
        if pins.to_text().len() == text.len() { Ok(pins) } else { Err(malformed(2)) }
    }

    /// The text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{TITLE}\nthreshold {}\n", self.threshold);
        for key in &self.keys {
            let name = key.suite().properties().name;
            // Writing to a `String` has no way to fail.
            let _ = writeln!(text, "{name} {}", STANDARD.encode(key.spki()));
        }
        text
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// How many of them must have signed.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }
}

fn key(line: &str) -> Option<PublicKey> {
    let (name, base64) = line.split_once(' ')?;
    let suite: Suite = name.parse().ok()?;
    PublicKey::from_spki(suite, &STANDARD.decode(base64).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::keys;
    use super::*;

    fn pins() -> Pins {
        Pins::of_signers(&keys().signers()).unwrap()
    }

    #[test]
    fn pins_survive_their_text() {
        let text = pins().to_text();
        assert!(text.starts_with("chancery bundle pins v1\nthreshold 2\ned25519 "));
        assert_eq!(Pins::parse(&text), Ok(pins()));
    }

    #[test]
    fn other_texts_are_refused() {
        let text = pins().to_text();
        for (wrong, line) in [
            (text.replace("v1", "v2"), 1),
            (text.trim_end().to_owned(), 1),
            (text.replace("threshold 2", "threshold 02"), 2),
            (text.replace("threshold 2", "threshold x"), 2),
            (text.replace("ed25519", "ml-dsa-65"), 3),
            (format!("{text}\n"), 5),
        ] {
            assert_eq!(Pins::parse(&wrong), Err(PinsError::Malformed { line }), "{wrong}");
        }
    }

    #[test]
    fn a_key_that_is_given_twice_counts_once() {
        let twice = vec![pins().keys[0].clone(), pins().keys[0].clone()];
        assert_eq!(Pins::new(twice.clone(), 2), Err(PinsError::Threshold));
        assert_eq!(Pins::new(twice.clone(), 0), Err(PinsError::Threshold));
        assert_eq!(Pins::new(twice, 1).unwrap().keys.len(), 1);
        let three = pins().to_text().replace("threshold 2", "threshold 3");
        assert_eq!(Pins::parse(&three), Err(PinsError::Threshold));
    }
}
