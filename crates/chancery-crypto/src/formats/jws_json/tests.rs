//! Both serializations, byte by byte, what verifies, and what one signature says of another. What is refused stands in
//! `vectors/jws_json.json`.

use chancery_core::id::KeyId;
use chancery_core::suite::Suite;

use super::super::testing::{CLAIMS, Case, PURPOSES};
use super::super::{ContextBinding, FormatError, Payload};
use super::*;
use crate::key::BadSignature;

const GRANT: &str = "sign.jws-json:grant+jwt";
const BAD: Result<Verified, VerifyError> = Err(VerifyError::Signature(BadSignature));

/// The claims of [`CLAIMS`], as they are signed.
const SIGNED: &str = r#"{"aud":"api","exp":1700000600,"iat":1700000000,"iss":"https://issuer.example","tenant":"a"}"#;

fn case() -> Case {
    Case::new(GRANT, Suite::Ed25519)
}

fn held() -> Verified {
    Verified::Jws { claims: SIGNED.into() }
}

fn header(alg: &str, version: u32) -> String {
    URL_SAFE_NO_PAD.encode(format!(
        r#"{{"alg":"{alg}","kid":"11111111-1111-1111-1111-111111111111.{version}","typ":"grant+jwt"}}"#
    ))
}

#[test]
fn one_signature_leaves_in_the_flattened_serialization() {
    let case = case();
    let signing = Signing { payload: Payload::Message(CLAIMS.as_bytes()), ..case.signing() };
    let to_be_signed = super::super::to_be_signed(&signing).unwrap();
    let (header, payload) = (header("EdDSA", 3), URL_SAFE_NO_PAD.encode(SIGNED));
    assert_eq!(to_be_signed.bytes(), format!("{header}.{payload}").as_bytes());
    assert_eq!(to_be_signed.context_binding(), ContextBinding::Bound);
    let output = to_be_signed.assemble(b"sig");
    let expected =
        format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"c2ln"}}"#);
    assert_eq!(String::from_utf8(output.clone()).unwrap(), expected);
    assert_eq!(key_versions(&output), Ok(vec![case.key_version]));
    assert_eq!(unverified_payload(&output), Some(SIGNED.into()));
}

#[test]
fn two_signatures_leave_in_the_general_serialization() {
    let pair = Case::pair(GRANT, Suite::EcdsaP256, Suite::MlDsa65);
    let output = pair.assemble(CLAIMS.as_bytes(), [b"one", b"two"]);
    let (payload, first, second) =
        (URL_SAFE_NO_PAD.encode(SIGNED), header("ES256", 3), header("ML-DSA-65", 4));
    let expected = format!(
        r#"{{"payload":"{payload}","signatures":[{{"protected":"{first}","signature":"b25l"}},{{"protected":"{second}","signature":"dHdv"}}]}}"#
    );
    assert_eq!(String::from_utf8(output.clone()).unwrap(), expected);
    let versions = vec![pair.outgoing.key_version, pair.incoming.key_version];
    assert_eq!(key_versions(&output), Ok(versions));
    assert_eq!(unverified_payload(&output), Some(SIGNED.into()));
}

#[test]
fn what_was_signed_verifies_and_gives_back_its_claims() {
    for suite in [Suite::Ed25519, Suite::EcdsaP256, Suite::EcdsaP384, Suite::MlDsa44] {
        let case = Case::new(GRANT, suite);
        let output = case.sign(CLAIMS.as_bytes()).unwrap();
        assert_eq!(case.verify_attached(&output), Ok(held()), "{suite}");
    }
}

#[test]
fn each_of_two_signatures_verifies_and_neither_stands_for_the_other() {
    let pair = Case::pair(GRANT, Suite::EcdsaP256, Suite::MlDsa65);
    let output = pair.sign(CLAIMS.as_bytes());
    for case in [&pair.outgoing, &pair.incoming] {
        assert_eq!(case.verify_attached(&output), Ok(held()));
    }
    let [one, other] = pair.signatures(CLAIMS.as_bytes());
    let swapped = pair.assemble(CLAIMS.as_bytes(), [&other, &one]);
    for case in [&pair.outgoing, &pair.incoming] {
        assert_eq!(case.verify_attached(&swapped), BAD);
    }
}

/// What a reader that knows the compact serialization alone is given.
#[test]
fn a_signature_with_its_header_and_the_payload_is_a_compact_jws() {
    let case = case();
    let output = case.sign(CLAIMS.as_bytes()).unwrap();
    let compact = case.with_purpose("sign.jws:grant+jwt");
    let Ok(Value::Object(members)) = json::parse(&output, 1) else { panic!("no object") };
    let part = |name: &str| match &members[name] {
        Value::Text(text) => text.as_str(),
        other => panic!("{other:?}"),
    };
    let token = [part("protected"), part("payload"), part("signature")].join(".");
    assert_eq!(compact.verify_attached(token.as_bytes()), Ok(held()));
    // Neither format takes the other's output.
    assert_eq!(case.verify_attached(token.as_bytes()), Err(VerifyError::Malformed));
    assert_eq!(compact.verify_attached(&output), Err(VerifyError::Malformed));
}

#[test]
fn a_pair_with_an_equal_claim_is_bound_and_another_is_refused() {
    let mut pair = Case::pair(GRANT, Suite::Ed25519, Suite::EcdsaP256);
    pair.set_context(&["tenant=a"]);
    let output = pair.sign(CLAIMS.as_bytes());
    for case in [&mut pair.outgoing, &mut pair.incoming] {
        assert_eq!(case.verify_attached(&output), Ok(held()));
        case.context = Case::context(&["tenant=b"]);
        assert_eq!(case.verify_attached(&output), Err(VerifyError::OtherContext));
        assert_eq!(case.sign(CLAIMS.as_bytes()).unwrap_err(), FormatError::ContextMismatch);
        case.context = Case::context(&["user=c"]);
        assert_eq!(case.sign(CLAIMS.as_bytes()).unwrap_err(), FormatError::ContextUnbound);
    }
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let case = case();
    for changed in Case::one_bit_changes(&case.sign(CLAIMS.as_bytes()).unwrap()) {
        let verified = case.verify_attached(&changed);
        assert!(verified.is_err(), "{}", String::from_utf8_lossy(&changed));
    }
    let pair = Case::pair(GRANT, Suite::Ed25519, Suite::Ed25519);
    for changed in Case::one_bit_changes(&pair.sign(CLAIMS.as_bytes())) {
        let both = [&pair.outgoing, &pair.incoming];
        assert!(both.iter().any(|it| it.verify_attached(&changed).is_err()));
    }
}

#[test]
fn another_origin_is_refused() {
    let case = case();
    let output = case.sign(CLAIMS.as_bytes()).unwrap();
    let other = |change: fn(&mut Case)| {
        let mut other = case.clone();
        change(&mut other);
        other.verify_attached(&output)
    };
    let origin = Err(VerifyError::OtherOrigin);
    assert_eq!(other(|case| case.purpose = "sign.jws-json:id+jwt".parse().unwrap()), origin);
    assert_eq!(other(|case| case.key_version.version += 1), origin);
    assert_eq!(other(|case| case.key_version.key = KeyId::from_bytes([9; 16])), origin);
    assert_eq!(other(|case| case.private = Case::fresh(Suite::EcdsaP256)), origin);
    assert_eq!(other(|case| case.private = Case::fresh(Suite::Ed25519)), BAD);
}

#[test]
fn claims_are_those_of_a_token() {
    let case = case();
    for claims in ["[]", r#"{"iss":"a"}"#, r#"{"iss":"a","iss":"b"}"#] {
        let refused = case.sign(claims.as_bytes()).unwrap_err();
        let of_token = case.with_purpose("sign.jws:grant+jwt").sign(claims.as_bytes());
        assert_eq!(refused, of_token.unwrap_err(), "{claims}");
        assert!(matches!(refused, FormatError::Claims(_)), "{claims}");
    }
    let signing = Signing { payload: Payload::Digest([0; 32]), ..case.signing() };
    assert_eq!(super::super::to_be_signed(&signing).unwrap_err(), FormatError::DigestRefused);
    let output = case.sign(CLAIMS.as_bytes()).unwrap();
    let given = case.verify_detached(&output, CLAIMS.as_bytes());
    assert_eq!(given, Err(VerifyError::PayloadUnexpected));
}

#[test]
fn a_signature_of_another_format_is_none_of_this_one() {
    let case = case();
    for purpose in PURPOSES.into_iter().filter(|purpose| !purpose.starts_with("sign.jws-json")) {
        let output = case.with_purpose(purpose).sign_any().unwrap();
        assert_eq!(case.verify_attached(&output), Err(VerifyError::Malformed), "{purpose}");
    }
}

/// Sixteen signatures of the largest kind, each with the longest domain, over the longest claims.
#[test]
fn the_largest_output_fits_and_a_byte_more_is_refused() {
    let domain = "d".repeat(chancery_core::limits::DOMAIN_BYTES_MAX);
    let case = Case::new(&format!("sign.jws-json:{domain}"), Suite::MlDsa87);
    let filler = "x".repeat(MESSAGE_BYTES_MAX - CLAIMS.len() + 1);
    let claims = CLAIMS.replacen(r#""a""#, &format!("\"{filler}\""), 1);
    assert_eq!(claims.len(), MESSAGE_BYTES_MAX);
    let output = String::from_utf8(case.sign(claims.as_bytes()).unwrap()).unwrap();
    let (payload, one) = output.split_once(',').unwrap();
    let one = one.strip_suffix('}').unwrap();
    let mut all: Vec<String> = (100..99 + SIGNATURES_MAX)
        .map(|version| {
            let (_, rest) = one.split_once(r#"","signature""#).unwrap();
            let other = KeyVersion { version: u32::try_from(version).unwrap(), ..case.key_version };
            let header = jws::encode_header(Suite::MlDsa87, other, &case.purpose);
            format!(r#"{{"protected":"{header}","signature"{rest}}}"#)
        })
        .collect();
    all.push(format!("{{{one}}}"));
    let whole = format!(r#"{payload},"signatures":[{}]}}"#, all.join(","));
    assert!(case.verify_attached(whole.as_bytes()).is_ok());
    let spaced = |length: usize| format!("{whole}{}", " ".repeat(length - whole.len()));
    assert!(case.verify_attached(spaced(DOCUMENT_BYTES_MAX).as_bytes()).is_ok());
    let longer = case.verify_attached(spaced(DOCUMENT_BYTES_MAX + 1).as_bytes());
    assert_eq!(longer, Err(VerifyError::Malformed));
}
