//! Notes of one line and of two, and what is no note.

use super::super::testing::{Case, PURPOSES};
use super::super::{ContextBinding, Payload};
use super::*;

const NAME: &str = "example.com/notes";
const PURPOSE: &str = "sign.note:example.com/notes";
const TEXT: &[u8] = b"one line\n\nand another\n";
const BAD: Result<Verified, VerifyError> = Err(VerifyError::Signature(BadSignature));

fn case() -> Case {
    Case::new(PURPOSE, Suite::Ed25519)
}

fn checkpoint(origin: &str) -> Vec<u8> {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    format!("{origin}\n20852163\n{root}\n").into_bytes()
}

fn key_of(case: &Case) -> VerifierKey {
    let spki = case.private.public().unwrap().spki().to_vec();
    verifier_key(NAME, case.private.suite(), &spki).unwrap()
}

/// What a reader of notes makes of it who knows these keys alone.
fn signers(output: &[u8], cases: &[&Case]) -> Result<usize, NoteError> {
    let keys: Vec<_> = cases.iter().map(|case| NoteKey::new(key_of(case)).unwrap()).collect();
    let known: Vec<_> =
        keys.iter().map(|key| -> &dyn chancery_log::note::NoteVerifier { key }).collect();
    Note::parse(output).unwrap().verify(&known).map(|signed| signed.by().len())
}

#[test]
fn a_note_has_the_documented_form() {
    let case = case();
    let output = case.sign(TEXT).unwrap();
    let (text, lines) = output.split_at(TEXT.len());
    assert_eq!(text, TEXT);
    let start = format!("\n\u{2014} {NAME} ");
    assert!(lines.starts_with(start.as_bytes()) && lines.ends_with(b"\n"));
    assert_eq!(lines.split_inclusive(|byte| *byte == b'\n').count(), 2);
    assert_eq!(signers(&output, &[&case]), Ok(1));
    let text = String::from_utf8(TEXT.to_vec()).unwrap();
    assert_eq!(case.verify_attached(&output), Ok(Verified::Note { text }));
}

#[test]
fn a_note_of_two_versions_has_a_line_of_each() {
    let pair = Case::pair(PURPOSE, Suite::Ed25519, Suite::MlDsa44);
    let text = checkpoint(NAME);
    let output = pair.sign(&text);
    assert_eq!(signers(&output, &[&pair.outgoing, &pair.incoming]), Ok(2));
    for case in [&pair.outgoing, &pair.incoming] {
        assert_eq!(signers(&output, &[case]), Ok(1));
        assert!(case.verify_attached(&output).is_ok());
        let spki = case.private.public().unwrap().spki();
        assert!(is_by(&output, NAME, case.private.suite(), spki));
    }
    let [one, other] = pair.signatures(&text);
    let swapped = pair.assemble(&text, [&other, &one]);
    assert_eq!(pair.outgoing.verify_attached(&swapped), BAD);
    assert_eq!(pair.incoming.verify_attached(&swapped), BAD);
}

#[test]
fn two_versions_of_one_suite_are_told_apart() {
    let pair = Case::pair(PURPOSE, Suite::Ed25519, Suite::Ed25519);
    let output = pair.sign(TEXT);
    assert_eq!(signers(&output, &[&pair.outgoing, &pair.incoming]), Ok(2));
    let alone = pair.outgoing.sign(TEXT).unwrap();
    assert_eq!(pair.incoming.verify_attached(&alone), Err(VerifyError::OtherOrigin));
    let spki = pair.incoming.private.public().unwrap().spki();
    assert!(!is_by(&alone, NAME, Suite::Ed25519, spki));
}

#[test]
fn what_is_no_text_of_a_note_is_refused() {
    let refused = |text: &[u8]| match case().sign(text).unwrap_err() {
        FormatError::Text(error) => error,
        other => panic!("{other}"),
    };
    for text in [&b""[..], b"no end", b"a\tb\n", b"\xff\n", b"a\r\n"] {
        assert_eq!(refused(text), TextError::NotAText);
    }
    let longest = [&vec![b'a'; NOTE_TEXT_BYTES_MAX - 1][..], b"\n"].concat();
    let pair = Case::pair(PURPOSE, Suite::Ed25519, Suite::Ed25519);
    assert!(pair.outgoing.verify_attached(&pair.sign(&longest)).is_ok());
    assert_eq!(refused(&[b"a", &longest[..]].concat()), TextError::TooLong);
}

#[test]
fn an_ml_dsa_key_signs_its_own_checkpoints_alone() {
    let case = Case::new(PURPOSE, Suite::MlDsa44);
    assert!(case.verify_attached(&case.sign(&checkpoint(NAME)).unwrap()).is_ok());
    for text in [TEXT, &checkpoint("example.com/other"), b"\n"] {
        let refused = case.sign(text).unwrap_err();
        assert_eq!(refused, FormatError::Text(TextError::NotACheckpoint));
    }
}

#[test]
fn the_name_of_a_key_has_no_plus_and_suites_without_a_type_sign_none() {
    assert!("sign.note:example.com+notes".parse::<chancery_core::purpose::Purpose>().is_err());
    let purpose = PURPOSE.parse::<chancery_core::purpose::Purpose>().unwrap();
    for suite in [Suite::EcdsaP256, Suite::MlDsa65, Suite::RsaPss3072] {
        assert!(purpose.admits(suite).is_err(), "{suite}");
    }
}

#[test]
fn a_context_is_refused_or_audited() {
    let mut case = case();
    case.context = Case::context(&["a=1"]);
    assert_eq!(case.sign(TEXT).unwrap_err(), FormatError::ContextUnbound);
    let case = case.with_purpose("sign.note:example.com/notes;context=audited");
    let signing = Signing { payload: Payload::Message(TEXT), ..case.signing() };
    let bytes = super::super::to_be_signed(&signing).unwrap();
    assert_eq!(bytes.context_binding(), ContextBinding::Audited);
}

#[test]
fn another_name_is_another_signer() {
    let case = case();
    let output = case.sign(TEXT).unwrap();
    let other = case.with_purpose("sign.note:example.com/other");
    assert_eq!(other.verify_attached(&output), Err(VerifyError::OtherOrigin));
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let case = case();
    for changed in Case::one_bit_changes(&case.sign(TEXT).unwrap()) {
        assert!(case.verify_attached(&changed).is_err(), "{}", String::from_utf8_lossy(&changed));
    }
}

#[test]
fn a_digest_is_refused_and_a_text_is_not_given_twice() {
    let case = case();
    let signing = Signing { payload: Payload::Digest([0; 32]), ..case.signing() };
    assert_eq!(super::super::to_be_signed(&signing).unwrap_err(), FormatError::DigestRefused);
    let given = case.verify_detached(&case.sign(TEXT).unwrap(), TEXT);
    assert_eq!(given, Err(VerifyError::PayloadUnexpected));
}

#[test]
fn a_signature_of_another_format_is_none_of_this_one() {
    let case = case();
    for purpose in PURPOSES.into_iter().filter(|purpose| !purpose.starts_with("sign.note")) {
        let output = case.with_purpose(purpose).sign_any().unwrap();
        assert_eq!(case.verify_attached(&output), Err(VerifyError::Malformed), "{purpose}");
    }
}
