//! The format `dsse`: a signature over a payload and its type.
//!
//! Follows DSSE 1.0: what is signed is the pre-authentication encoding
//! `"DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload`, lengths in decimal. The payload type is the
//! domain of the purpose, so that one key signs one type. What leaves is the JSON envelope
//!
//! ```json
//! {"payload":"<base64>","payloadType":"<type>","signatures":[{"keyid":"<key id>.<version>","sig":"<base64>"}]}
//! ```
//!
//! Narrowed: a payload whose type says JSON (`application/json`, or a name that ends in `+json`) must be one
//! JSON value in which no name occurs twice; base64 is the standard alphabet with padding (DSSE lets a
//! verifier take the other too); an envelope has no other members, at most 16 signatures, and one
//! signature of one key version. While a rollout has two versions of a key sign, an envelope has the signatures of
//! both, that of the version there was first.
//!
//! Version and posture epoch are not in the signed bytes: the version is bound by its key, the posture by the
//! audit. The payload is signed as it came, since its own digest is what others refer to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_core::limits::MESSAGE_BYTES_MAX;

use super::{
    Assembly, FormatError, KeyVersion, Signing, ToBeSigned, Verified, VerifyError, Verifying,
    unbound,
};
use crate::json::{self, Object, Value};

/// The deepest nesting of a JSON payload: 32. Provenance statements need about ten.
pub const PAYLOAD_DEPTH_MAX: usize = 32;

/// The most signatures in an envelope: 16.
pub const SIGNATURES_MAX: usize = 16;

/// The longest signature with its key id, in bytes of JSON: 7 KiB; one of ML-DSA-87 takes 6 172 as base64.
const SIGNATURE_BYTES_MAX: usize = 7 * 1024;

/// The longest envelope, in bytes: the longest payload as base64, and sixteen signatures.
pub const ENVELOPE_BYTES_MAX: usize =
    MESSAGE_BYTES_MAX.div_ceil(3) * 4 + SIGNATURES_MAX * SIGNATURE_BYTES_MAX;

/// What an envelope is assembled from.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    payload: Vec<u8>,
    payload_type: String,
    key: KeyVersion,
}

pub(super) fn to_be_signed(signing: &Signing<'_>) -> Result<ToBeSigned, FormatError> {
    let payload = signing.payload.message()?;
    let payload_type = signing.purpose.domain();
    if is_json(payload_type) {
        json::parse(payload, PAYLOAD_DEPTH_MAX).map_err(FormatError::PayloadNotJson)?;
    }
    let context = unbound(signing.purpose, signing.context)?;
    let key = KeyVersion { key: signing.key, version: signing.version };
    let envelope = Envelope { payload: payload.into(), payload_type: payload_type.into(), key };
    let bytes = pre_authentication_encoding(payload_type, payload);
    Ok(ToBeSigned { bytes, context, assembly: Assembly::Dsse(envelope) })
}

fn is_json(payload_type: &str) -> bool {
    payload_type == "application/json" || payload_type.ends_with("+json")
}

/// PAE(type, payload) of DSSE 1.0.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl Envelope {
    pub(super) fn assemble(self, signature: &[u8]) -> Vec<u8> {
        let signatures = signature_object(self.key, signature);
        self.with_signatures(&signatures)
    }

    /// What leaves with another version's signature beside this one's.
    pub(super) fn assemble_both(self, signature: &[u8], other: (&Self, &[u8])) -> Vec<u8> {
        let signatures =
            [signature_object(self.key, signature), signature_object(other.0.key, other.1)];
        self.with_signatures(&signatures.join(","))
    }

    fn with_signatures(self, signatures: &str) -> Vec<u8> {
        let Self { payload, payload_type, .. } = self;
        let payload = STANDARD.encode(payload);
        // None of these has a character that JSON escapes: base64, a domain, a key id with a number.
        format!(
            r#"{{"payload":"{payload}","payloadType":"{payload_type}","signatures":[{signatures}]}}"#
        )
        .into_bytes()
    }
}

fn signature_object(key: KeyVersion, signature: &[u8]) -> String {
    format!(r#"{{"keyid":"{key}","sig":"{}"}}"#, STANDARD.encode(signature))
}

pub(super) fn verify(output: &[u8], expected: &Verifying<'_>) -> Result<Verified, VerifyError> {
    expected.no_payload()?;
    let envelope = Parsed::parse(output).ok_or(VerifyError::Malformed)?;
    if envelope.payload_type != expected.purpose.domain() {
        return Err(VerifyError::OtherOrigin);
    }
    let bytes = pre_authentication_encoding(&envelope.payload_type, &envelope.payload);
    let mut ours = envelope.signatures.iter().filter(|(key, _)| *key == expected.key.to_string());
    let (Some((_, signature)), None) = (ours.next(), ours.next()) else {
        return Err(VerifyError::OtherOrigin);
    };
    expected.verifier.verify(&bytes, signature)?;
    Ok(Verified::Dsse { payload: envelope.payload })
}

/// The key versions that an envelope names, to find what verifies it. Nothing in it is verified yet.
/// Signatures of other signers, whose key ids are not of our form, are passed over.
///
/// # Errors
///
/// [`VerifyError::Malformed`] if the bytes are no envelope.
pub fn key_versions(envelope: &[u8]) -> Result<Vec<KeyVersion>, VerifyError> {
    let envelope = Parsed::parse(envelope).ok_or(VerifyError::Malformed)?;
    Ok(envelope.signatures.iter().filter_map(|(key, _)| key.parse().ok()).collect())
}

/// An envelope taken apart.
struct Parsed {
    payload: Vec<u8>,
    payload_type: String,
    /// Key ids, with their signatures.
    signatures: Vec<(String, Vec<u8>)>,
}

impl Parsed {
    /// The depth is that of a signature's members: envelope, list, signature.
    const DEPTH: usize = 3;

    fn parse(envelope: &[u8]) -> Option<Self> {
        if envelope.len() > ENVELOPE_BYTES_MAX {
            return None;
        }
        let mut members = object(json::parse(envelope, Self::DEPTH).ok()?)?;
        let payload = decode(&text(members.remove("payload")?)?)?;
        let payload_type = text(members.remove("payloadType")?)?;
        let Value::Array(signatures) = members.remove("signatures")? else { return None };
        let is_whole = members.is_empty() && signatures.len() <= SIGNATURES_MAX;
        let signatures = signatures.into_iter().map(signature).collect::<Option<_>>()?;
        is_whole.then_some(Self { payload, payload_type, signatures })
    }
}

fn signature(value: Value) -> Option<(String, Vec<u8>)> {
    let mut members = object(value)?;
    let key = text(members.remove("keyid")?)?;
    let signature = decode(&text(members.remove("sig")?)?)?;
    members.is_empty().then_some((key, signature))
}

fn object(value: Value) -> Option<Object> {
    if let Value::Object(members) = value { Some(members) } else { None }
}

fn text(value: Value) -> Option<String> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

fn decode(base64: &str) -> Option<Vec<u8>> {
    STANDARD.decode(base64).ok()
}

#[cfg(test)]
mod tests {
    use chancery_core::id::KeyId;
    use chancery_core::suite::Suite;

    use super::super::testing::{Case, PURPOSES};
    use super::super::{ContextBinding, JsonError, Payload};
    use super::*;
    use crate::key::BadSignature;

    const IN_TOTO: &str = "sign.dsse:application/vnd.in-toto+json";
    const BAD: Result<Verified, VerifyError> = Err(VerifyError::Signature(BadSignature));

    fn case() -> Case {
        Case::new("sign.dsse:application/x", Suite::Ed25519)
    }

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        // DSSE 1.0, protocol: the example of the test vectors.
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(pre_authentication_encoding("", b""), b"DSSEv1 0  0 ");
    }

    #[test]
    fn the_envelope_has_the_documented_form() {
        let signing_case = case();
        let signing = Signing { payload: Payload::Message(b"abc"), ..signing_case.signing() };
        let output = super::super::to_be_signed(&signing).unwrap().assemble(b"sig");
        assert_eq!(
            String::from_utf8(output.clone()).unwrap(),
            r#"{"payload":"YWJj","payloadType":"application/x","signatures":[{"keyid":"11111111-1111-1111-1111-111111111111.3","sig":"c2ln"}]}"#
        );
        assert_eq!(key_versions(&output), Ok(vec![signing_case.key_version]));
    }

    #[test]
    fn an_envelope_holds_the_signatures_of_two_versions_and_each_verifies() {
        let pair = Case::pair(IN_TOTO, Suite::EcdsaP256, Suite::MlDsa65);
        let output = pair.sign(b"{}");
        let versions = vec![pair.outgoing.key_version, pair.incoming.key_version];
        assert_eq!(key_versions(&output), Ok(versions));
        for case in [&pair.outgoing, &pair.incoming] {
            let verified = case.verify_attached(&output);
            assert_eq!(verified, Ok(Verified::Dsse { payload: b"{}".to_vec() }));
        }
        let [one, other] = pair.signatures(b"{}");
        let swapped = pair.assemble(b"{}", [&other, &one]);
        assert_eq!(pair.outgoing.verify_attached(&swapped), BAD);
        assert_eq!(pair.incoming.verify_attached(&swapped), BAD);
    }

    #[test]
    fn what_was_signed_verifies_and_gives_back_its_payload() {
        for suite in [Suite::Ed25519, Suite::EcdsaP256, Suite::MlDsa65] {
            let case = Case::new(IN_TOTO, suite);
            let payload = br#"{"_type":"https://in-toto.io/Statement/v1"}"#;
            let output = case.sign(payload).unwrap();
            assert_eq!(
                case.verify_attached(&output),
                Ok(Verified::Dsse { payload: payload.to_vec() })
            );
        }
    }

    #[test]
    fn a_payload_whose_type_says_json_is_json() {
        for purpose in [IN_TOTO, "sign.dsse:application/json"] {
            let case = Case::new(purpose, Suite::Ed25519);
            let refused = |payload: &[u8]| case.sign(payload).unwrap_err();
            assert_eq!(refused(b"not json"), FormatError::PayloadNotJson(JsonError::Malformed));
            assert_eq!(
                refused(br#"{"a":1,"a":2}"#),
                FormatError::PayloadNotJson(JsonError::RepeatedName)
            );
            let deep = "[".repeat(PAYLOAD_DEPTH_MAX + 1);
            assert_eq!(refused(deep.as_bytes()), FormatError::PayloadNotJson(JsonError::TooDeep));
        }
        assert!(case().sign(b"not json").is_ok());
    }

    #[test]
    fn a_context_is_refused_or_audited() {
        let mut case = case();
        case.context = Case::context(&["a=1"]);
        assert_eq!(case.sign(b"m").unwrap_err(), FormatError::ContextUnbound);
        let case = case.with_purpose("sign.dsse:application/x;context=audited");
        let signing = Signing { payload: Payload::Message(b"m"), ..case.signing() };
        let bytes = super::super::to_be_signed(&signing).unwrap();
        assert_eq!(bytes.context_binding(), ContextBinding::Audited);
        assert!(case.verify_attached(&case.sign(b"m").unwrap()).is_ok());
    }

    #[test]
    fn a_digest_is_refused() {
        let case = case();
        let signing = Signing { payload: Payload::Digest([0; 32]), ..case.signing() };
        assert_eq!(super::super::to_be_signed(&signing).unwrap_err(), FormatError::DigestRefused);
    }

    #[test]
    fn a_changed_bit_anywhere_is_refused() {
        let case = case();
        let output = case.sign(b"payload").unwrap();
        for changed in Case::one_bit_changes(&output) {
            assert!(
                case.verify_attached(&changed).is_err(),
                "{}",
                String::from_utf8_lossy(&changed)
            );
        }
    }

    #[test]
    fn another_origin_is_refused() {
        let case = case();
        let output = case.sign(b"payload").unwrap();
        let other = |change: fn(&mut Case)| {
            let mut other = case.clone();
            change(&mut other);
            other.verify_attached(&output)
        };
        let origin = Err(VerifyError::OtherOrigin);
        assert_eq!(other(|case| case.purpose = "sign.dsse:application/y".parse().unwrap()), origin);
        assert_eq!(other(|case| case.key_version.version += 1), origin);
        assert_eq!(other(|case| case.key_version.key = KeyId::from_bytes([9; 16])), origin);
        assert_eq!(other(|case| case.private = Case::fresh(Suite::Ed25519)), BAD);
        assert_eq!(other(|case| case.private = Case::fresh(Suite::EcdsaP256)), BAD);
    }

    #[test]
    fn type_and_payload_cannot_be_moved_into_each_other() {
        let case = case();
        let output = String::from_utf8(case.sign(b"payload").unwrap()).unwrap();
        let renamed = output.replace("application/x", "application/y");
        let other = case.with_purpose("sign.dsse:application/y");
        assert_eq!(other.verify_attached(renamed.as_bytes()), BAD);
    }

    #[test]
    fn signatures_of_others_beside_ours_are_passed_over() {
        let case = case();
        let output = String::from_utf8(case.sign(b"payload").unwrap()).unwrap();
        let theirs = r#"[{"keyid":"theirs","sig":"AAAA"},"#;
        let both = output.replacen('[', theirs, 1);
        assert!(case.verify_attached(both.as_bytes()).is_ok());
        assert_eq!(key_versions(both.as_bytes()), Ok(vec![case.key_version]));
    }

    #[test]
    fn two_signatures_of_one_key_version_are_refused() {
        let case = case();
        let output = String::from_utf8(case.sign(b"payload").unwrap()).unwrap();
        let (_, signatures) = output.split_once('[').unwrap();
        let twice =
            output.replacen('[', &format!("[{},", signatures.strip_suffix("]}").unwrap()), 1);
        assert_eq!(case.verify_attached(twice.as_bytes()), Err(VerifyError::OtherOrigin));
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let case = case();
        let output = String::from_utf8(case.sign(b"payload").unwrap()).unwrap();
        let malformed = |envelope: &str| {
            assert_eq!(
                case.verify_attached(envelope.as_bytes()),
                Err(VerifyError::Malformed),
                "{envelope}"
            );
        };
        malformed("");
        malformed("[]");
        malformed(&output.replacen('{', r#"{"extra":1,"#, 1));
        malformed(&output.replacen('{', r#"{"payload":"","#, 1));
        malformed(&output.replace("cGF5bG9hZA==", "cGF5bG9hZA"));
        malformed(&output.replace("cGF5bG9hZA==", "cGF5bG9hZB=="));
        malformed(&format!("{output} x"));
        malformed(&output[..output.len() - 1]);
        malformed(&" ".repeat(ENVELOPE_BYTES_MAX + 1));
        let many = vec![r#"{"keyid":"","sig":""}"#; SIGNATURES_MAX + 1].join(",");
        malformed(&format!(
            r#"{{"payload":"","payloadType":"application/x","signatures":[{many}]}}"#
        ));
    }

    #[test]
    fn a_signature_of_another_format_is_none_of_this_one() {
        let case = case();
        for purpose in PURPOSES.into_iter().filter(|purpose| !purpose.starts_with("sign.dsse")) {
            let output = case.with_purpose(purpose).sign_any().unwrap();
            assert_eq!(case.verify_attached(&output), Err(VerifyError::Malformed), "{purpose}");
        }
    }

    #[test]
    fn a_payload_is_not_given_twice() {
        let case = case();
        let output = case.sign(b"payload").unwrap();
        assert_eq!(case.verify_detached(&output, b"payload"), Err(VerifyError::PayloadUnexpected));
    }
}
