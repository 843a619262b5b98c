//! The caller's context: a bounded, sorted list of name=value pairs.
//!
//! Names have 1 to 32 bytes of lower-case letters, digits, `-`, `_` and `.`; values have 0 to 128 bytes
//! of UTF-8 without control characters. Pairs are sorted by name and no name occurs twice, so that equal
//! contexts have equal bytes.

use minicbor::{Decode, Encode};

use crate::limits::{CONTEXT_NAME_BYTES_MAX, CONTEXT_PAIRS_MAX, CONTEXT_VALUE_BYTES_MAX};

/// One name=value pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    name: String,
    value: String,
}

/// The pairs are not a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// A name is empty, too long, or has a character that names do not have.
    #[error("a context name has 1 to 32 lower-case letters, digits, `-`, `_` or `.`")]
    BadName,
    /// A value is too long or has a control character.
    #[error("a context value has at most 128 bytes and no control characters")]
    BadValue,
    /// One name occurs twice.
    #[error("a context names each thing once")]
    Repeated,
    /// There are more than sixteen pairs.
    #[error("a context has at most 16 pairs")]
    TooMany,
}

impl Pair {
    /// Makes a pair.
    ///
    /// # Errors
    ///
    /// [`ContextError`] if name or value is not of the form that contexts have.
    pub fn new(name: &str, value: &str) -> Result<Self, ContextError> {
        let is_name = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.".contains(&c);
        if name.is_empty() || name.len() > CONTEXT_NAME_BYTES_MAX || !name.bytes().all(is_name) {
            return Err(ContextError::BadName);
        }
        if value.len() > CONTEXT_VALUE_BYTES_MAX || value.chars().any(char::is_control) {
            return Err(ContextError::BadValue);
        }
        Ok(Self { name: name.into(), value: value.into() })
    }

    /// Parses `name=value`; the value may itself contain `=`.
    ///
    /// # Errors
    ///
    /// [`ContextError`] if the text has no `=`, or a part has the wrong form.
    pub fn parse(text: &str) -> Result<Self, ContextError> {
        let (name, value) = text.split_once('=').ok_or(ContextError::BadName)?;
        Self::new(name, value)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl<C> Encode<C> for Pair {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.array(2)?.str(&self.name)?.str(&self.value)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Pair {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        if decoder.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("a pair has two parts"));
        }
        Self::new(decoder.str()?, decoder.str()?)
            .map_err(|_| minicbor::decode::Error::message("not a context pair"))
    }
}

/// A caller's context. The empty one binds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Context(Vec<Pair>);

impl Context {
    /// Sorts `pairs` into a context.
    ///
    /// # Errors
    ///
    /// [`ContextError`] if there are too many, or a name occurs twice.
    pub fn new(mut pairs: Vec<Pair>) -> Result<Self, ContextError> {
        if pairs.len() > CONTEXT_PAIRS_MAX {
            return Err(ContextError::TooMany);
        }
        pairs.sort();
        if pairs.windows(2).any(|two| matches!(two, [a, b] if a.name == b.name)) {
            return Err(ContextError::Repeated);
        }
        Ok(Self(pairs))
    }

    /// The pairs, sorted by name.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.0
    }

    /// Whether it has no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it contains `pin` exactly.
    #[must_use]
    pub fn satisfies(&self, pin: &Pair) -> bool {
        self.0.binary_search(pin).is_ok()
    }
}

impl<C> Encode<C> for Context {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.0.encode(encoder, context)
    }
}

impl<'b, C> Decode<'b, C> for Context {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        context: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        let error = || minicbor::decode::Error::message("not a sorted context");
        let pairs = Vec::<Pair>::decode(decoder, context)?;
        let sorted = Self::new(pairs.clone()).map_err(|_| error())?;
        // Another order is another encoding of the same context: refused.
        if sorted.0 == pairs { Ok(sorted) } else { Err(error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor;

    fn pair(text: &str) -> Pair {
        Pair::parse(text).unwrap()
    }

    #[test]
    fn order_of_the_caller_does_not_matter() {
        let one = Context::new(vec![pair("b=2"), pair("a=1")]).unwrap();
        let two = Context::new(vec![pair("a=1"), pair("b=2")]).unwrap();
        assert_eq!(cbor::encode(&one), cbor::encode(&two));
        assert_eq!(cbor::decode(&cbor::encode(&one), "context"), Ok(one));
    }

    #[test]
    fn an_unsorted_encoding_is_refused() {
        let bytes = cbor::encode(&vec![pair("b=2"), pair("a=1")]);
        assert!(cbor::decode::<Context>(&bytes, "context").is_err());
    }

    #[test]
    fn limits_hold_one_below_and_one_above() {
        let many = |n: usize| (0..n).map(|i| pair(&format!("n{i}=v"))).collect();
        assert!(Context::new(many(CONTEXT_PAIRS_MAX)).is_ok());
        assert_eq!(Context::new(many(CONTEXT_PAIRS_MAX + 1)), Err(ContextError::TooMany));
        assert!(Pair::new(&"n".repeat(CONTEXT_NAME_BYTES_MAX), "").is_ok());
        assert!(Pair::new(&"n".repeat(CONTEXT_NAME_BYTES_MAX + 1), "").is_err());
        assert!(Pair::new("n", &"v".repeat(CONTEXT_VALUE_BYTES_MAX)).is_ok());
        assert!(Pair::new("n", &"v".repeat(CONTEXT_VALUE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_name_occurs_once() {
        assert_eq!(Context::new(vec![pair("a=1"), pair("a=2")]), Err(ContextError::Repeated));
    }
}
