//! JSON (RFC 8259) that is written once as a pattern, and filled in for each record.
//!
//! Most of an event is the same from one record to the next. A [`Pattern`] is the text of it with places left open; filling
//! it copies the text between them.

use std::fmt::{self, Write as _};

/// A text with open places, each for a `S`.
#[derive(Debug)]
pub(crate) struct Pattern<S> {
    text: String,
    /// Where each place is, in the order of the text.
    places: Vec<(usize, S)>,
}

/// An object under way. Its fields are those that are written, in that order.
#[derive(Debug)]
pub(crate) struct Object<'o, S> {
    pattern: &'o mut Pattern<S>,
    is_empty: bool,
}

impl<S> Pattern<S> {
    /// One object.
    pub(crate) fn object(fields: impl FnOnce(&mut Object<'_, S>)) -> Self {
        let mut pattern = Self { text: String::new(), places: Vec::new() };
        pattern.nested(fields);
        pattern
    }

    fn nested(&mut self, fields: impl FnOnce(&mut Object<'_, S>)) {
        self.text.push('{');
        let mut object = Object { pattern: self, is_empty: true };
        fields(&mut object);
        self.text.push('}');
    }

    /// Writes the text behind what `out` holds; `fill` writes what stands in each place.
    pub(crate) fn fill(&self, out: &mut String, mut fill: impl FnMut(&S, &mut String)) {
        let mut begin = 0;
        for (end, place) in &self.places {
            out.push_str(self.text.get(begin..*end).unwrap_or_default());
            fill(place, out);
            begin = *end;
        }
        out.push_str(self.text.get(begin..).unwrap_or_default());
    }
}

impl<S> Object<'_, S> {
    /// A field's name, which needs no escape, and what follows it.
    fn named(&mut self, name: &str) -> &mut Pattern<S> {
        let text = &mut self.pattern.text;
        text.push_str(if self.is_empty { "\"" } else { ",\"" });
        self.is_empty = false;
        text.push_str(name);
        text.push_str("\":");
        self.pattern
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        let escaped = serde_json::Value::from(value).to_string();
        self.named(name).text.push_str(&escaped);
    }

    /// What is shown without anything that needs an escape, as a text.
    pub(crate) fn shown(&mut self, name: &str, value: impl fmt::Display) {
        // Writing to a `String` cannot fail.
        let _ = write!(self.named(name).text, "\"{value}\"");
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &str, value: u32) {
        let _ = write!(self.named(name).text, "{value}");
    }

    /// An open place for a number.
    pub(crate) fn open_number(&mut self, name: &str, place: S) {
        let pattern = self.named(name);
        pattern.places.push((pattern.text.len(), place));
    }

    /// A text that begins so, and then has an open place for what needs no escape.
    pub(crate) fn open_text(&mut self, name: &str, begin: &str, place: S) {
        let escaped = serde_json::Value::from(begin).to_string();
        let pattern = self.named(name);
        pattern.text.push_str(escaped.strip_suffix('"').unwrap_or(&escaped));
        pattern.places.push((pattern.text.len(), place));
        pattern.text.push('"');
    }

    /// An object.
    pub(crate) fn object(&mut self, name: &str, fields: impl FnOnce(&mut Object<'_, S>)) {
        self.named(name).nested(fields);
    }

    /// A list of one object.
    pub(crate) fn list(&mut self, name: &str, fields: impl FnOnce(&mut Object<'_, S>)) {
        let pattern = self.named(name);
        pattern.text.push('[');
        pattern.nested(fields);
        pattern.text.push(']');
    }
}

/// The longest number of 64 bits, in digits.
const DIGITS_MAX: usize = 20;

/// Appends a number.
pub(crate) fn push_number(out: &mut String, mut number: u64) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        if number == 0 && first < DIGITS_MAX {
            break;
        }
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        first = at;
    }
    let digits = digits.get(first..).and_then(|digits| std::str::from_utf8(digits).ok());
    out.push_str(digits.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_filled_in_reads_as_it_was_meant() {
        let odd = "a\"b\\c\nd\u{1}e\u{7f}é";
        let pattern = Pattern::object(|it| {
            it.text("odd", odd);
            it.open_number("number", 'n');
            it.object("none", |_| {});
            it.list("list", |it| it.shown("seven", 7));
            it.open_text("text", "a\"#", 't');
            it.number("last", 3);
        });
        let mut out = String::from("> ");
        pattern.fill(&mut out, |place, out| match place {
            'n' => push_number(out, u64::MAX),
            _ => out.push_str("filled"),
        });
        let read: Value = serde_json::from_str(out.strip_prefix("> ").unwrap()).unwrap();
        let list = json!([{ "seven": "7" }]);
        let expected = json!({
            "odd": odd, "number": u64::MAX, "none": {}, "list": list, "text": "a\"#filled", "last": 3,
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn numbers_are_written_as_numbers_are() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = String::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }
}
