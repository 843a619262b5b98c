//! JSON that means one thing to every reader: no name twice, bounded depth, sorted output.
//!
//! Follows RFC 8259, narrowed as RFC 8725, 2.4 and RFC 7493, 2.3 ask for: a name occurs once in an object.
//! Whole numbers must fit in 64 bits; others are kept as the nearest double (RFC 7493, 2.2). Written out
//! again, names are sorted by their bytes and there is no white space, so that equal values have equal bytes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Fraction(f64),
    Text(String),
    Array(Vec<Value>),
    Object(Object),
}

/// An object, sorted by name.
pub(crate) type Object = BTreeMap<String, Value>;

/// The bytes are not JSON as this module takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// They are not one JSON value in UTF-8.
    #[error("not JSON")]
    Malformed,
    /// An object has a name twice.
    #[error("a name occurs twice in one object")]
    RepeatedName,
    /// Values are nested too deeply.
    #[error("nested too deeply")]
    TooDeep,
}

/// Parses one value nested at most `depth` deep, with nothing after it.
pub(crate) fn parse(bytes: &[u8], depth: usize) -> Result<Value, JsonError> {
    // A typed error does not pass through the deserializer, which knows only text.
    let refusal = Cell::new(JsonError::Malformed);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node { depth, refusal: &refusal }.deserialize(&mut deserializer);
    let value = value.map_err(|_| refusal.get())?;
    deserializer.end().map_err(|_| JsonError::Malformed)?;
    Ok(value)
}

/// The one encoding of a value.
pub(crate) fn encode(value: &impl Serialize) -> Result<Vec<u8>, JsonError> {
    serde_json::to_vec(value).map_err(|_| JsonError::Malformed)
}

/// What one value is parsed with.
#[derive(Clone, Copy)]
struct Node<'r> {
    /// How many levels it may still have, its own included.
    depth: usize,
    refusal: &'r Cell<JsonError>,
}

impl Node<'_> {
    fn refuse<E: de::Error>(self, error: JsonError) -> E {
        self.refusal.set(error);
        E::custom(error)
    }

    fn below<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| self.refuse(JsonError::TooDeep))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Negative(value), Value::Unsigned))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Fraction(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let node = self.below()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(node)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let node = self.below()?;
        let mut object = Object::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(node)?;
            if object.insert(name, value).is_some() {
                return Err(self.refuse(JsonError::RepeatedName));
            }
        }
        Ok(Value::Object(object))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Negative(value) => serializer.serialize_i64(*value),
            Self::Fraction(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => serializer.collect_map(members),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: Result<&str, JsonError>) {
        let output = parse(input.as_bytes(), 3).and_then(|value| encode(&value));
        assert_eq!(
            output.map(|bytes| String::from_utf8(bytes).unwrap()),
            expected.map(String::from),
            "{input}"
        );
    }

    #[test]
    fn output_is_sorted_and_without_white_space() {
        check(" { \"b\" : [ 1 , -2 , 0.5 ] , \"a\" : null } ", Ok(r#"{"a":null,"b":[1,-2,0.5]}"#));
        check(r#""\u0061\/""#, Ok(r#""a/""#));
    }

    #[test]
    fn a_name_occurs_once_at_every_level() {
        check(r#"{"a":1,"a":1}"#, Err(JsonError::RepeatedName));
        check(r#"{"a":{"b":1,"b":2}}"#, Err(JsonError::RepeatedName));
        check(r#"[{"\u0061":1,"a":2}]"#, Err(JsonError::RepeatedName));
    }

    #[test]
    fn depth_is_bounded() {
        check("[[[1]]]", Ok("[[[1]]]"));
        check("[[[[1]]]]", Err(JsonError::TooDeep));
        check(r#"{"a":{"a":{"a":{}}}}"#, Err(JsonError::TooDeep));
        let deep = "[".repeat(60_000);
        check(&deep, Err(JsonError::TooDeep));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for input in
            ["", "{", "{}{}", "{} x", "nul", "NaN", "'a'", "{\"a\":1,}", "01", "\"\u{1}\"", "1e999"]
        {
            check(input, Err(JsonError::Malformed));
        }
        assert_eq!(parse(b"\"\xff\"", 3), Err(JsonError::Malformed));
    }
}
