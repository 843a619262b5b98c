//! Outputs as OpenSSH writes them, and what does not verify.

use super::super::testing::{Case, PURPOSES};
use super::super::{ContextBinding, Payload};
use super::*;
use crate::key::{BadSignature, PrivateKey, PublicKey};
use crate::primitive::sha256;

const BAD: Result<Verified, VerifyError> = Err(VerifyError::Signature(BadSignature));

/// What `ssh-keygen -Y sign -n file -O hashalg=sha256` makes of this message.
const MESSAGE: &[u8] = b"what is signed\n";

/// A private half, and the file that `ssh-keygen` made of the message with it.
struct File {
    suite: Suite,
    private: &'static [u8],
    signed: &'static [u8],
}

macro_rules! files {
    ($(($suite:ident, $name:literal)),*) => {
        [$(File {
            suite: Suite::$suite,
            private: include_bytes!(concat!("../../../vectors/pkcs8/", $name, ".der")),
            signed: include_bytes!(concat!("../../../vectors/sshsig/", $name, ".sig")),
        }),*]
    };
}

const FILES: [File; 3] =
    files![(Ed25519, "ed25519"), (EcdsaP256, "ecdsa-p256"), (EcdsaP384, "ecdsa-p384")];

fn case_of(file: &File) -> Case {
    let private = PrivateKey::from_pkcs8(file.suite, file.private).unwrap();
    Case { private: private.into(), ..Case::new("sign.sshsig:file", file.suite) }
}

#[test]
fn what_ssh_keygen_signs_verifies() {
    for file in &FILES {
        let case = case_of(file);
        assert_eq!(
            case.verify_detached(file.signed, MESSAGE),
            Ok(Verified::SshSig),
            "{}",
            file.suite
        );
        assert_eq!(case.verify_detached(file.signed, b"another\n"), BAD);
        let public = case.private.public().unwrap();
        assert!(is_by(file.signed, file.suite, public.spki()));
    }
}

#[test]
fn what_is_signed_here_is_what_ssh_keygen_signs() {
    // A key of Ed25519 has one signature for a message.
    let [ed25519, ..] = &FILES;
    assert_eq!(case_of(ed25519).sign(MESSAGE).unwrap(), ed25519.signed);
}

#[test]
fn every_suite_of_openssh_round_trips_and_the_rest_is_refused() {
    for suite in [Suite::Ed25519, Suite::EcdsaP256, Suite::EcdsaP384] {
        // The numbers of an ECDSA signature are now and then a byte shorter.
        for _ in 0..300 {
            let case = Case::new("sign.sshsig:git", suite);
            let output = case.sign(b"message").unwrap();
            assert_eq!(case.verify_detached(&output, b"message"), Ok(Verified::SshSig), "{suite}");
        }
    }
    let purpose = "sign.sshsig:git".parse::<chancery_core::purpose::Purpose>().unwrap();
    for suite in [Suite::MlDsa44, Suite::RsaPss3072, Suite::HmacSha256] {
        assert!(purpose.admits(suite).is_err(), "{suite}");
    }
}

#[test]
fn a_digest_stands_for_its_message() {
    let case = Case::new("sign.sshsig:git", Suite::Ed25519);
    let digest = Payload::Digest(sha256(&[b"message"]));
    let signing = Signing { payload: digest, ..case.signing() };
    let by_digest = super::super::to_be_signed(&signing).unwrap();
    let signature = case.private.sign(by_digest.bytes()).unwrap();
    assert_eq!(by_digest.assemble(&signature), case.sign(b"message").unwrap());
}

#[test]
fn a_namespace_is_bound_and_another_key_is_another_signer() {
    let case = Case::new("sign.sshsig:git", Suite::Ed25519);
    let output = case.sign(b"message").unwrap();
    let origin = Err(VerifyError::OtherOrigin);
    assert_eq!(case.with_purpose("sign.sshsig:file").verify_detached(&output, b"message"), origin);
    for suite in [Suite::Ed25519, Suite::EcdsaP256] {
        let other = Case { private: Case::fresh(suite), ..case.clone() };
        assert_eq!(other.verify_detached(&output, b"message"), origin);
        let spki = other.private.public().map(PublicKey::spki).unwrap();
        assert!(!is_by(&output, suite, spki));
    }
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    for suite in [Suite::Ed25519, Suite::EcdsaP256] {
        let case = Case::new("sign.sshsig:git", suite);
        for changed in Case::one_bit_changes(&case.sign(b"message").unwrap()) {
            assert!(case.verify_detached(&changed, b"message").is_err());
        }
    }
}

#[test]
fn another_encoding_is_refused() {
    let case = Case::new("sign.sshsig:git", Suite::Ed25519);
    let output = case.sign(b"message").unwrap();
    let malformed = Err(VerifyError::Malformed);
    for length in 0..output.len() {
        assert_eq!(case.verify_detached(&output[..length], b"message"), malformed);
    }
    let text = String::from_utf8(output).unwrap();
    for changed in [
        format!("{text}\n"),
        text.replacen('\n', "\r\n", 1),
        text.replace("-----BEGIN SSH SIGNATURE-----\n", "-----BEGIN SSH SIGNATURE-----\n\n"),
        " ".repeat(SSHSIG_BYTES_MAX + 1),
    ] {
        assert_eq!(case.verify_detached(changed.as_bytes(), b"message"), malformed);
    }
}

#[test]
fn a_context_is_refused_or_audited() {
    let mut case = Case::new("sign.sshsig:git", Suite::Ed25519);
    case.context = Case::context(&["a=1"]);
    assert_eq!(case.sign(b"m").unwrap_err(), FormatError::ContextUnbound);
    let case = case.with_purpose("sign.sshsig:git;context=audited");
    let signing = Signing { payload: Payload::Message(b"m"), ..case.signing() };
    let bytes = super::super::to_be_signed(&signing).unwrap();
    assert_eq!(bytes.context_binding(), ContextBinding::Audited);
}

#[test]
fn an_output_holds_one_signature() {
    let pair = Case::pair("sign.sshsig:git", Suite::Ed25519, Suite::EcdsaP256);
    assert_eq!(pair.try_sign(b"m"), Err(FormatError::HoldsOne));
}

#[test]
fn a_signature_of_another_format_is_none_of_this_one() {
    let case = Case::new("sign.sshsig:git", Suite::Ed25519);
    for purpose in PURPOSES.into_iter().filter(|purpose| !purpose.starts_with("sign.sshsig")) {
        let output = case.with_purpose(purpose).sign_any().unwrap();
        let payload = Case::payload_of(purpose);
        assert_eq!(
            case.verify_detached(&output, payload),
            Err(VerifyError::Malformed),
            "{purpose}"
        );
    }
}
