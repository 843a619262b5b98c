//! One line of a file of ciphertexts: what it holds, and the line with another ciphertext in its place.
//!
//! **Invariant:** a ciphertext in a field that is read is counted, also where the line cannot be encrypted again: in an object
//! with an unusable `context`, or with more than one ciphertext.

use std::fmt;

use chancery_api::http::fields::{Base64, ContextObject};
use chancery_core::context::Context;
use chancery_crypto::envelope::ENVELOPE_BYTES_MAX;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::item::{Named, Of, Todo, named};

/// What a line holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing.
    Empty,
    /// A ciphertext, and the context that it was encrypted in if that is its own.
    Ciphertext(Vec<u8>, Option<Context>),
    /// What stands in its fields for ciphertexts, nothing for what is none; and why it cannot be encrypted again.
    Unfit(Vec<Option<Vec<u8>>>, &'static str),
    /// No ciphertext.
    Other(&'static str),
}

/// The fields of a line that is an object.
#[derive(Deserialize)]
struct Object {
    ciphertext: Option<String>,
    output: Option<String>,
    context: Option<ContextObject>,
}

/// Everything in such an object that stands for a ciphertext, however often.
struct Loose(Vec<Option<Vec<u8>>>);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        let mut found = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            match (name.as_str(), value) {
                // As good as no field.
                (_, Value::Null) => {}
                ("ciphertext" | "output", value) => found.push(value.as_str().and_then(decoded)),
                _ => {}
            }
        }
        Ok(Loose(found))
    }
}

/// What stands on a line.
pub(super) fn parsed(line: &[u8]) -> Line {
    let Ok(text) = std::str::from_utf8(line) else { return Line::Other("it is not text") };
    let text = text.trim();
    if text.is_empty() {
        return Line::Empty;
    }
    if !text.starts_with('{') {
        return ciphertext(text, None);
    }
    match serde_json::from_str(text) {
        Ok(Object { ciphertext: Some(_), output: Some(_), .. }) => {
            unfit(text, "it has both `ciphertext` and `output`: leave one of them")
        }
        Ok(
            Object { ciphertext: Some(bytes), context, .. }
            | Object { output: Some(bytes), context, .. },
        ) => ciphertext(&bytes, context.map(|context| context.0)),
        Ok(_) => Line::Other("it has no field `ciphertext`"),
        Err(_) => {
            unfit(text, "it is no JSON object with `ciphertext` once and a `context` of texts")
        }
    }
}

fn unfit(text: &str, why: &'static str) -> Line {
    match serde_json::from_str(text) {
        Ok(Loose(found)) if !found.is_empty() => Line::Unfit(found, why),
        _ => Line::Other(why),
    }
}

fn ciphertext(text: &str, context: Option<Context>) -> Line {
    let bytes = decoded(text);
    bytes.map_or(Line::Other("it is not base64 of a ciphertext"), |bytes| {
        Line::Ciphertext(bytes, context)
    })
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    // A little more than the longest one takes, before it is decoded.
    let is_short = text.len() <= ENVELOPE_BYTES_MAX.div_ceil(3) * 4;
    Base64::from_text(text).filter(|_| is_short).map(|bytes| bytes.0)
}

/// What the header of a ciphertext says that is there as a whole.
fn named_whole(of: &Of, bytes: &[u8]) -> Named {
    named(of, bytes, u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// What a line counts for.
pub(super) fn counted(of: &Of, line: &[u8]) -> Vec<Named> {
    match parsed(line) {
        Line::Empty => Vec::new(),
        Line::Other(why) => vec![Named::Other(why)],
        Line::Ciphertext(bytes, _) => vec![named_whole(of, &bytes)],
        Line::Unfit(found, why) => {
            let counted = |bytes: Option<Vec<u8>>| {
                bytes.map_or(Named::Other(why), |bytes| named_whole(of, &bytes))
            };
            found.into_iter().map(counted).collect()
        }
    }
}

/// What is to be done with a line.
pub(super) fn todo((of, target): (&Of, u32), line: &[u8]) -> Todo {
    let (bytes, context) = match parsed(line) {
        Line::Empty => return Todo::Keep { is_done: false },
        Line::Other(why) | Line::Unfit(_, why) => return Todo::Leave(why),
        Line::Ciphertext(bytes, context) => (bytes, context),
    };
    match named_whole(of, &bytes) {
        Named::Envelope(version) if version == target => Todo::Keep { is_done: true },
        Named::Envelope(_) => Todo::Rewrap(bytes, context),
        Named::Chunked(_) => Todo::Leave("a file of chunks does not lie on a line"),
        Named::Other(why) => Todo::Leave(why),
    }
}

/// A line with another ciphertext in the place of the old one; nothing if that does not stand there once.
pub(super) fn replaced(line: &[u8], old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(line).ok()?;
    let old = Base64(old.to_vec()).to_text();
    let mut found = text.match_indices(&old);
    let (at, _) = found.next()?;
    if found.next().is_some() {
        return None;
    }
    let (before, after) = (text.get(..at)?, text.get(at + old.len()..)?);
    Some([before, &Base64(new.to_vec()).to_text(), after].concat().into_bytes())
}

#[cfg(test)]
mod tests {
    use chancery_core::context::Pair;

    use super::super::super::item::tests::{envelope, of};
    use super::*;

    fn text(bytes: &[u8]) -> String {
        Base64(bytes.to_vec()).to_text()
    }

    #[test]
    fn a_line_is_base64_or_an_object_that_has_it() {
        let bytes = envelope(2, 1);
        let is = |line: &str| parsed(line.as_bytes());
        let plain = Line::Ciphertext(bytes.clone(), None);
        assert_eq!(is(&format!("{}\n", text(&bytes))), plain);
        assert_eq!(is(&format!("{{\"id\":7,\"ciphertext\":\"{}\"}}\n", text(&bytes))), plain);
        assert_eq!(is(&format!("{{\"output\":\"{}\"}}", text(&bytes))), plain);
        let context = Context::new(vec![Pair::parse("customer=7").unwrap()]).unwrap();
        let line =
            format!("{{\"ciphertext\":\"{}\",\"context\":{{\"customer\":\"7\"}}}}", text(&bytes));
        assert_eq!(is(&line), Line::Ciphertext(bytes, Some(context)));
        assert_eq!(is("\r\n"), Line::Empty);
        for other in ["{}", "[]", "not base64!", "{\"ciphertext\":\"??\"}", "{\"ciphertext\":"] {
            assert!(matches!(is(other), Line::Other(_)), "{other}");
        }
        assert_eq!(parsed(&[0xff, b'\n']), Line::Other("it is not text"));
    }

    /// The old version is not retired because a line has a slip in it.
    #[test]
    fn a_line_that_cannot_be_encrypted_again_counts_for_all_its_ciphertexts() {
        let (old, new, of) = (text(&envelope(2, 1)), text(&envelope(2, 2)), of());
        let (one, two) = (Named::Envelope(1), Named::Envelope(2));
        let check = |line: &str, expected: &[Named]| {
            assert_eq!(counted(&of, line.as_bytes()), expected, "{line}");
            let left = matches!(todo((&of, 2), line.as_bytes()), Todo::Leave(_));
            assert!(left, "{line}");
        };
        check(&format!("{{\"ciphertext\":\"{old}\",\"context\":{{\"n\":7}}}}"), &[one]);
        check(&format!("{{\"ciphertext\":\"{old}\",\"context\":\"n\"}}"), &[one]);
        check(&format!("{{\"ciphertext\":\"{old}\",\"ciphertext\":\"{new}\"}}"), &[one, two]);
        check(&format!("{{\"ciphertext\":\"{new}\",\"ciphertext\":\"{old}\"}}"), &[two, one]);
        check(&format!("{{\"output\":\"{old}\",\"ciphertext\":\"{new}\"}}"), &[one, two]);
        let why = "it is no JSON object with `ciphertext` once and a `context` of texts";
        let other = Named::Other(why);
        check(&format!("{{\"ciphertext\":7,\"output\":\"{old}\"}}"), &[other, one]);
        check(&format!("{{\"ciphertext\":[\"{old}\"]}}"), &[other]);
        check(&format!("{{\"ciphertext\":\"{old}\""), &[other]);
    }

    #[test]
    fn only_the_ciphertext_of_a_line_is_replaced_and_only_if_it_stands_there_once() {
        let (old, new) = (envelope(2, 1), envelope(2, 2));
        let line = format!(" {{\"b\": 1,\"ciphertext\" : \"{}\", \"a\":2}}\r\n", text(&old));
        let expected = line.replace(&text(&old), &text(&new)).into_bytes();
        assert_eq!(replaced(line.as_bytes(), &old, &new), Some(expected));
        let twice = format!("{line}{line}");
        assert_eq!(replaced(twice.as_bytes(), &old, &new), None);
        assert_eq!(replaced(b"{\"ciphertext\":\"\\u0041\"}", &old, &new), None);
    }

    #[test]
    fn what_is_to_be_done_with_a_line_is_said_by_its_header() {
        let of = of();
        let line = |bytes: &[u8]| text(bytes).into_bytes();
        let todo = |line: &[u8]| todo((&of, 2), line);
        assert_eq!(todo(&line(&envelope(2, 2))), Todo::Keep { is_done: true });
        assert_eq!(todo(b"\n"), Todo::Keep { is_done: false });
        assert_eq!(todo(&line(&envelope(2, 1))), Todo::Rewrap(envelope(2, 1), None));
        assert!(matches!(todo(&line(&envelope(3, 1))), Todo::Leave(_)));
        assert!(matches!(todo(b"a letter"), Todo::Leave(_)));
    }
}
