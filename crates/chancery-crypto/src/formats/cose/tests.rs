//! Outputs of one and of two signatures, byte by byte, and what does not verify.

use chancery_core::id::KeyId;

use super::super::Payload;
use super::super::testing::{Case, PURPOSES};
use super::*;
use crate::key::BadSignature;

const TYPE: &str = "sign.cose:application/x";
const KID: &[u8] = b"11111111-1111-1111-1111-111111111111.3";
const BAD: Result<Verified, VerifyError> = Err(VerifyError::Signature(BadSignature));

fn case() -> Case {
    Case::new(TYPE, Suite::Ed25519)
}

/// A byte string of up to 255 bytes.
fn bytes(value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    let head = if length < 24 { vec![0x40 | length] } else { vec![0x58, length] };
    [&head, value].concat()
}

fn protected() -> Vec<u8> {
    [&b"\xa3\x01\x27\x03\x6dapplication/x\x04"[..], &bytes(KID)].concat()
}

#[test]
fn an_output_of_one_signature_has_the_documented_form() {
    let case = case();
    let signing = Signing { payload: Payload::Message(b"abc"), ..case.signing() };
    let to_be_signed = super::super::to_be_signed(&signing).unwrap();
    let mut signed = b"\x84\x6aSignature1".to_vec();
    signed.extend([bytes(&protected()), bytes(b""), bytes(b"abc")].concat());
    assert_eq!(to_be_signed.bytes(), signed);
    assert_eq!(to_be_signed.context_binding(), ContextBinding::Bound);
    let output = to_be_signed.assemble(b"sig");
    let expected = [b"\xd2\x84", &bytes(&protected())[..], b"\xa0\x43abc\x43sig"].concat();
    assert_eq!(output, expected);
    assert_eq!(key_versions(&output), Ok(vec![case.key_version]));
    assert_eq!(unverified_payload(&output), Some(&b"abc"[..]));
}

#[test]
fn an_output_of_two_signatures_has_the_documented_form() {
    let pair = Case::pair(TYPE, Suite::EcdsaP256, Suite::MlDsa65);
    let output = pair.assemble(b"abc", [b"one", b"two"]);
    let body = b"\xa1\x03\x6dapplication/x";
    let signer = |alg: &[u8], kid: &[u8], signature: &[u8]| {
        let header = [b"\xa2\x01", alg, b"\x04", &bytes(kid)].concat();
        [b"\x83", &bytes(&header)[..], b"\xa0", &bytes(signature)].concat()
    };
    let other = b"11111111-1111-1111-1111-111111111111.4";
    let expected = [
        &b"\xd8\x62\x84"[..],
        &bytes(body),
        b"\xa0\x43abc\x82",
        &signer(b"\x26", KID, b"one"),
        &signer(b"\x38\x30", other, b"two"),
    ];
    assert_eq!(output, expected.concat());
    let versions = vec![pair.outgoing.key_version, pair.incoming.key_version];
    assert_eq!(key_versions(&output), Ok(versions));
}

#[test]
fn every_suite_that_has_an_algorithm_round_trips_and_the_rest_is_refused() {
    let suites =
        [Suite::Ed25519, Suite::EcdsaP256, Suite::EcdsaP384, Suite::MlDsa44, Suite::MlDsa87];
    for suite in suites {
        let case = Case::new(TYPE, suite);
        let verified = case.verify_attached(&case.sign(b"payload").unwrap());
        assert_eq!(verified, Ok(Verified::Cose { payload: b"payload".to_vec() }), "{suite}");
    }
    let refused = TYPE.parse::<chancery_core::purpose::Purpose>().unwrap();
    assert!(refused.admits(Suite::RsaPkcs1Sha256With3072).is_err());
    assert!(refused.admits(Suite::RsaPss3072).is_ok());
}

#[test]
fn each_of_two_signatures_verifies_and_neither_stands_for_the_other_or_alone() {
    let mut pair = Case::pair(TYPE, Suite::EcdsaP256, Suite::MlDsa44);
    pair.set_context(&["customer=42"]);
    let output = pair.sign(b"payload");
    for case in [&pair.outgoing, &pair.incoming] {
        let verified = case.verify_attached(&output);
        assert_eq!(verified, Ok(Verified::Cose { payload: b"payload".to_vec() }));
    }
    let [one, other] = pair.signatures(b"payload");
    let swapped = pair.assemble(b"payload", [&other, &one]);
    assert_eq!(pair.outgoing.verify_attached(&swapped), BAD);
    // What one of two signs is not what one alone signs.
    let signing = Signing { payload: Payload::Message(b"payload"), ..pair.outgoing.signing() };
    let alone = super::super::to_be_signed(&signing).unwrap().assemble(&one);
    assert_eq!(pair.outgoing.verify_attached(&alone), BAD);
}

#[test]
fn the_context_is_bound_and_without_one_nothing_is_supplied() {
    let mut case = case();
    assert_eq!(external_aad(&case.context), b"");
    let plain = case.sign(b"payload").unwrap();
    case.context = Case::context(&["customer=42"]);
    let output = case.sign(b"payload").unwrap();
    let expected = [labels::COSE_CONTEXT, b"\x81\x82\x68customer\x6242"].concat();
    assert_eq!(external_aad(&case.context), expected);
    assert!(case.verify_attached(&output).is_ok());
    assert_eq!(case.verify_attached(&plain), BAD);
    for context in [&[][..], &["customer=43"], &["customer=42", "region=eu"]] {
        let other = Case { context: Case::context(context), ..case.clone() };
        assert_eq!(other.verify_attached(&output), BAD, "{context:?}");
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
    assert_eq!(other(|case| case.purpose = "sign.cose:application/y".parse().unwrap()), origin);
    assert_eq!(other(|case| case.key_version.version += 1), origin);
    assert_eq!(other(|case| case.key_version.key = KeyId::from_bytes([9; 16])), origin);
    assert_eq!(other(|case| case.private = Case::fresh(Suite::EcdsaP256)), origin);
    assert_eq!(other(|case| case.private = Case::fresh(Suite::Ed25519)), BAD);
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let case = case();
    for changed in Case::one_bit_changes(&case.sign(b"payload").unwrap()) {
        assert!(case.verify_attached(&changed).is_err());
    }
    let pair = Case::pair(TYPE, Suite::Ed25519, Suite::Ed25519);
    for changed in Case::one_bit_changes(&pair.sign(b"payload")) {
        let both = [&pair.outgoing, &pair.incoming];
        assert!(both.iter().any(|it| it.verify_attached(&changed).is_err()));
    }
}

#[test]
fn another_encoding_is_refused() {
    let case = case();
    let output = case.sign(b"payload").unwrap();
    let malformed = Err(VerifyError::Malformed);
    assert_eq!(case.verify_attached(&[&output[..], &[0]].concat()), malformed);
    for length in 0..output.len() {
        assert_eq!(case.verify_attached(&output[..length]), malformed);
    }
    // Without its tag, with a longer one, and longer than any.
    assert_eq!(case.verify_attached(&output[1..]), malformed);
    assert_eq!(case.verify_attached(&[&[0xd8, 0x12], &output[1..]].concat()), malformed);
    assert_eq!(case.verify_attached(&vec![0xd2; COSE_BYTES_MAX + 1]), malformed);
}

#[test]
fn a_header_that_is_not_protected_is_refused() {
    let case = case();
    let output = case.sign(b"payload").unwrap();
    let empty = output.iter().rposition(|byte| *byte == 0xa0).unwrap();
    let found = output.windows(2).position(|pair| pair == [0xa0, 0x47]).unwrap();
    assert!(found <= empty);
    let mut changed = output.clone();
    changed.splice(found..=found, [0xa1, 0x01, 0x27]);
    assert_eq!(case.verify_attached(&changed), Err(VerifyError::Malformed));
}

#[test]
fn a_digest_is_refused_and_a_payload_is_not_given_twice() {
    let case = case();
    let signing = Signing { payload: Payload::Digest([0; 32]), ..case.signing() };
    assert_eq!(super::super::to_be_signed(&signing).unwrap_err(), FormatError::DigestRefused);
    let output = case.sign(b"payload").unwrap();
    let given = case.verify_detached(&output, b"payload");
    assert_eq!(given, Err(VerifyError::PayloadUnexpected));
}

#[test]
fn a_signature_of_another_format_is_none_of_this_one() {
    let case = case();
    for purpose in PURPOSES.into_iter().filter(|purpose| !purpose.starts_with("sign.cose")) {
        let output = case.with_purpose(purpose).sign_any().unwrap();
        assert_eq!(case.verify_attached(&output), Err(VerifyError::Malformed), "{purpose}");
    }
}
