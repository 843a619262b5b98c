//! Names: parsed once into canonical newtypes, so that one thing has one spelling.
//!
//! A [`Name`] is 1 to 64 bytes of lower-case letters, digits, `-`, `_` and `.`, and begins with a letter
//! or a digit. There is no case folding and no trimming: another spelling is refused, never mended.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::limits::NAME_BYTES_MAX;

/// The text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to 64 lower-case letters, digits, `-`, `_` or `.`, and begins with a letter or digit"
)]
pub struct NameError;

/// The name of a key, tenant, environment, region or service.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.".contains(&c);
        let first = text.bytes().next().ok_or(NameError)?;
        let starts_well = first.is_ascii_lowercase() || first.is_ascii_digit();
        if starts_well && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_inner) {
            Ok(Self(text.into()))
        } else {
            Err(NameError)
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<C> Encode<C> for Name {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Name {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        decoder.str()?.parse().map_err(|_| minicbor::decode::Error::message("not a name"))
    }
}

/// The three dimensions of a key's scope within its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Scope {
    /// Such as `production`.
    #[n(0)]
    pub environment: Name,
    /// Such as `eu-west`.
    #[n(1)]
    pub region: Name,
    /// Such as `billing`.
    #[n(2)]
    pub service: Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_is_taken_and_one_longer_is_not() {
        assert!("a".repeat(NAME_BYTES_MAX).parse::<Name>().is_ok());
        assert_eq!("a".repeat(NAME_BYTES_MAX + 1).parse::<Name>(), Err(NameError));
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["", "A", " a", "a ", "-a", ".", "..", "a/b", "a%2e", "é", "a\0", "a\n", "_a"]
        {
            assert_eq!(text.parse::<Name>(), Err(NameError), "{text:?}");
        }
    }
}
