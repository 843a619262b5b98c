//! Signatures that carry what they sign: a JWS in either serialization, a DSSE envelope, an output of COSE, a note.
//!
//! Such a signature is verified by itself, and what it carries is then compared with what was expected. The
//! claims of a JWS are compared as values, since they are encoded anew when they are signed; payloads and the text of a
//! note byte for byte. Whether one signature is in it or two makes no difference to that.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chancery_core::purpose::Format;
use chancery_crypto::formats::{cose, jws_json};
use chancery_log::note::Note;
use serde_json::Value;

/// Whether signatures of a format carry what they sign, so that they are verified with an empty message.
#[must_use]
pub fn carries_payload(format: Format) -> bool {
    format.carries_payload()
}

/// Whether a signature of a format that carries its payload carries this one. Verifies nothing.
#[must_use]
pub fn is_about(format: Format, signature: &[u8], payload: &[u8]) -> bool {
    match format {
        Format::Dsse => dsse_payload(signature).is_some_and(|carried| carried == payload),
        Format::Jws => {
            let carried = jws_payload(signature).and_then(|bytes| parse(&bytes));
            carried.is_some() && carried == parse(payload)
        }
        Format::JwsJson => {
            let carried = jws_json::unverified_payload(signature).and_then(|bytes| parse(&bytes));
            carried.is_some() && carried == parse(payload)
        }
        Format::Cose => cose::unverified_payload(signature) == Some(payload),
        Format::Note => {
            Note::parse(signature).is_ok_and(|note| note.unverified_text().as_bytes() == payload)
        }
        Format::Aead | Format::Bound | Format::Hkdf | Format::Raw | Format::SshSig => false,
    }
}

fn parse(json: &[u8]) -> Option<Value> {
    serde_json::from_slice(json).ok()
}

fn dsse_payload(envelope: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(parse(envelope)?.get("payload")?.as_str()?).ok()
}

fn jws_payload(token: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(token.split(|&byte| byte == b'.').nth(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_about_its_claims_however_they_are_written() {
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(br#"{"a":1,"b":"x"}"#));
        let about = |payload: &str| is_about(Format::Jws, token.as_bytes(), payload.as_bytes());
        assert!(about(r#"{ "b": "x", "a": 1 }"#));
        assert!(
            !about(r#"{"a":1,"b":"y"}"#) && !about(r#"{"a":1}"#) && !about("") && !about("claims")
        );
    }

    #[test]
    fn a_jws_of_the_json_serialization_is_about_its_claims_alike() {
        let payload = URL_SAFE_NO_PAD.encode(br#"{"a":1,"b":"x"}"#);
        let output =
            format!(r#"{{"payload":"{payload}","protected":"eyJhIjoxfQ","signature":"c2ln"}}"#);
        let about =
            |payload: &str| is_about(Format::JwsJson, output.as_bytes(), payload.as_bytes());
        assert!(about(r#"{ "b": "x", "a": 1 }"#));
        assert!(!about(r#"{"a":1}"#) && !about("") && !about("claims"));
    }

    #[test]
    fn an_envelope_is_about_the_very_bytes_in_it() {
        let envelope = format!(r#"{{"payload":"{}"}}"#, STANDARD.encode(r#"{"a":1}"#));
        assert!(is_about(Format::Dsse, envelope.as_bytes(), br#"{"a":1}"#));
        assert!(!is_about(Format::Dsse, envelope.as_bytes(), br#"{"a": 1}"#));
    }

    #[test]
    fn a_note_is_about_its_text_and_an_output_of_cose_about_its_payload() {
        let line = format!("\n\u{2014} example.com/notes {}\n", STANDARD.encode([0; 68]));
        let note = format!("text\n{line}");
        assert!(is_about(Format::Note, note.as_bytes(), b"text\n"));
        assert!(!is_about(Format::Note, note.as_bytes(), b"text"));
        let output = b"\xd2\x84\x40\xa0\x43abc\x43sig";
        assert!(is_about(Format::Cose, output, b"abc"));
        assert!(!is_about(Format::Cose, output, b"ab") && !is_about(Format::Cose, b"", b""));
    }

    #[test]
    fn what_is_no_signature_of_the_format_is_about_nothing() {
        let formats =
            [Format::Dsse, Format::Jws, Format::JwsJson, Format::Bound, Format::Cose, Format::Note];
        for format in formats {
            for signature in ["", "..", "{}", r#"{"payload":1}"#, "e30.*.c2ln"] {
                assert!(!is_about(format, signature.as_bytes(), b""), "{signature}");
            }
        }
    }
}
