//! How single values are spelt in JSON: bytes, tokens, ids, contexts.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_core::context::{Context, Pair};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, as base64 with padding (RFC 4648, 4). Another spelling of the same bytes is refused.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Base64 {
    /// As text.
    #[must_use]
    pub fn to_text(&self) -> String {
        STANDARD.encode(&self.0)
    }

    /// `None` for no bytes, which an absent field stands for.
    #[must_use]
    pub fn unless_empty(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self(bytes.to_vec()))
    }

    /// The bytes of a text, if it is the one text of them.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok().map(Self)
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Base64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes in base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Base64, E> {
                Base64::from_text(text).ok_or_else(|| E::custom("not canonical base64"))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// A handle's text, which is a credential: it does not show itself in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a handle")
    }
}

/// A context as a JSON object from names to values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextObject(pub Context);

impl ContextObject {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for ContextObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pairs = self.0.pairs();
        let mut map = serializer.serialize_map(Some(pairs.len()))?;
        for pair in pairs {
            map.serialize_entry(pair.name(), pair.value())?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for ContextObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = ContextObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from names to values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ContextObject, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    pairs.push(Pair::new(&name, &value).map_err(A::Error::custom)?);
                }
                // A name that occurs twice is refused there.
                Context::new(pairs).map(ContextObject).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// A value that is written as an object. Serde would take a struct's fields from a list as well.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// A field that is an object, for `#[serde(deserialize_with = "object")]`.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|object| object.0)
}

/// A field that is an object if it is there.
pub(crate) fn object_if_any<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    object(deserializer).map(Some)
}

/// A field that is a list of objects.
pub(crate) fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|object| object.0).collect())
}

/// Words of plans, for `#[serde(with = "word")]`.
pub(crate) mod word {
    use std::borrow::Cow;

    use chancery_core::rollout::Word;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<W: Word, S: Serializer>(
        word: &W,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(word.spelt())
    }

    pub(crate) fn deserialize<'de, W: Word, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<W, D::Error> {
        let text: Cow<'de, str> = Deserialize::deserialize(deserializer)?;
        W::of(&text).map_err(D::Error::custom)
    }
}

/// Values that have one spelling as text, for `#[serde(with = "text")]`.
pub(crate) mod text {
    use super::{Deserialize, Deserializer, Serializer, fmt};
    use std::borrow::Cow;
    use std::marker::PhantomData;
    use std::str::FromStr;

    pub(crate) fn serialize<T: fmt::Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        struct Text<T>(PhantomData<T>);

        impl<T: FromStr> serde::de::Visitor<'_> for Text<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text of the form that this field has")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
                text.parse().map_err(|_| E::custom("not of the form that this field has"))
            }
        }

        deserializer.deserialize_str(Text(PhantomData))
    }

    /// The same where the field may be absent.
    pub(crate) mod option {
        use super::{Cow, Deserialize, Deserializer, FromStr, Serializer, fmt};
        use serde::de::Error as _;

        #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
        pub(crate) fn serialize<T: fmt::Display, S: Serializer>(
            value: &Option<T>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => serializer.collect_str(value),
                None => serializer.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<T>, D::Error> {
            let Some(text) = Option::<Cow<'de, str>>::deserialize(deserializer)? else {
                return Ok(None);
            };
            let value = text
                .parse()
                .map_err(|_| D::Error::custom("not of the form that this field has"))?;
            Ok(Some(value))
        }
    }
}

/// Closed lists of words, for `#[serde(with = "…")]`.
macro_rules! spelt {
    ($module:ident: $type:ident, $name:ident, $of:ident) => {
        pub(crate) mod $module {
            use super::{$name, $of, $type};
            use serde::de::Error as _;
            use serde::{Deserialize, Deserializer, Serializer};

            pub(crate) fn serialize<S: Serializer>(
                value: &$type,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($name(*value))
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$type, D::Error> {
                let text: std::borrow::Cow<'de, str> = Deserialize::deserialize(deserializer)?;
                $of(&text).ok_or_else(|| D::Error::custom("no such word"))
            }
        }
    };
}
pub(crate) use spelt;
