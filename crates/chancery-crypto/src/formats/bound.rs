//! The format `bound`: a frame that says everything a signature is good for.
//!
//! What is signed (or authenticated, for `mac.bound`) is the label [`labels::BOUND_FRAME`] and one canonical
//! CBOR array (RFC 8949, 4.2.1):
//!
//! | part | encoding |
//! |---|---|
//! | label | `chancery/bound-frame/v1` and a zero byte, 24 bytes |
//! | array of 7 | `87` |
//! | suite | unsigned integer, its number in the suite table |
//! | key id | byte string of 16 |
//! | version | unsigned integer |
//! | posture epoch | unsigned integer |
//! | purpose | text, in its one spelling |
//! | context | array of pairs, sorted by name; a pair is an array of two texts |
//! | digest | byte string of 32: SHA-256 of the message |
//!
//! What leaves is a container, from which a verifier learns which key version to take; every field of it
//! but the signature stands in the frame too:
//!
//! | part | encoding |
//! |---|---|
//! | array of 6 | `86` |
//! | format version | `01` |
//! | suite, key id, version, posture epoch | as in the frame |
//! | signature or tag | byte string |
//!
//! Two versions of one key, each with its own frame, leave in a container of the second form:
//!
//! | part | encoding |
//! |---|---|
//! | array of 4 | `84` |
//! | format version | `02` |
//! | key id | byte string of 16 |
//! | posture epoch | unsigned integer |
//! | array of 2 | `82`: the version there was, then the one that a rollout brings in |
//! | each: array of 3 | `83`, suite, version, signature |
//!
//! Since only the digest is bound, a caller may keep the message and send its digest.

use chancery_core::cbor;
use chancery_core::context::Context;
use chancery_core::id::KeyId;
use chancery_core::purpose::Purpose;
use chancery_core::suite::Suite;
use minicbor::{Decode, Encode};

use super::{
    Assembly, ContextBinding, FormatError, KeyVersion, Payload, Signing, ToBeSigned, Verified,
    VerifyError, Verifying,
};
use crate::labels;

/// The longest container, in bytes: 12 KiB. A signature of ML-DSA-87, the longest, has 4 627, and there are two at most.
pub const BOUND_SIGNATURE_BYTES_MAX: usize = 12 * 1024;

/// Room for a frame with a short purpose and context: 192 bytes.
const FRAME_BYTES_USUAL: usize = 192;

/// The version of the container's form with one signature.
const FORM_OF_ONE: u8 = 1;

/// The version of its form with two.
const FORM_OF_TWO: u8 = 2;

/// Who signed, under which posture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The key's algorithm.
    pub suite: Suite,
    /// The key and its version.
    pub key: KeyVersion,
    /// The posture under which it was used.
    pub posture_epoch: u64,
}

/// The frame, after its label.
#[derive(Encode)]
#[cbor(array)]
struct Frame<'a> {
    #[n(0)]
    suite: Suite,
    #[n(1)]
    key: KeyId,
    #[n(2)]
    version: u32,
    #[n(3)]
    posture_epoch: u64,
    #[n(4)]
    purpose: &'a Purpose,
    #[n(5)]
    context: &'a Context,
    #[cbor(n(6), with = "minicbor::bytes")]
    digest: [u8; 32],
}

/// The container, as it is encoded.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Container<'b> {
    #[n(0)]
    format_version: u8,
    #[n(1)]
    suite: Suite,
    #[n(2)]
    key: KeyId,
    #[n(3)]
    version: u32,
    #[n(4)]
    posture_epoch: u64,
    #[cbor(b(5), with = "minicbor::bytes")]
    signature: &'b [u8],
}

/// The container of two signatures, as it is encoded.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Pair<'b> {
    #[n(0)]
    format_version: u8,
    #[n(1)]
    key: KeyId,
    #[n(2)]
    posture_epoch: u64,
    #[b(3)]
    signatures: [One<'b>; 2],
}

/// One of its signatures.
#[derive(Clone, Copy, Encode, Decode)]
#[cbor(array)]
struct One<'b> {
    #[n(0)]
    suite: Suite,
    #[n(1)]
    version: u32,
    #[cbor(b(2), with = "minicbor::bytes")]
    signature: &'b [u8],
}

/// A signature or tag with who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundSignature {
    /// Who made it.
    pub origin: Origin,
    /// The signature or tag itself.
    pub signature: Vec<u8>,
}

impl BoundSignature {
    /// Takes a container apart, to find the key versions that verify it: one signature, or two of two versions of one
    /// key. Nothing in it is verified yet.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Malformed`] if the bytes are not the canonical encoding of one container.
    pub fn decode(container: &[u8]) -> Result<Vec<Self>, VerifyError> {
        let is_short = container.len() <= BOUND_SIGNATURE_BYTES_MAX;
        let taken = is_short.then(|| Self::one_of(container).or_else(|| Self::two_of(container)));
        taken.flatten().ok_or(VerifyError::Malformed)
    }

    fn one_of(container: &[u8]) -> Option<Vec<Self>> {
        let found = cbor::decode::<Container<'_>>(container, "bound signature").ok()?;
        let key = KeyVersion { key: found.key, version: found.version };
        let origin = Origin { suite: found.suite, key, posture_epoch: found.posture_epoch };
        let one = Self { origin, signature: found.signature.to_vec() };
        (found.format_version == FORM_OF_ONE).then(|| vec![one])
    }

    fn two_of(container: &[u8]) -> Option<Vec<Self>> {
        let Pair { format_version, key, posture_epoch, signatures } =
            cbor::decode(container, "two bound signatures").ok()?;
        let [one, other] = signatures;
        let is_pair = format_version == FORM_OF_TWO && one.version != other.version;
        let made = |One { suite, version, signature }: One<'_>| {
            let origin = Origin { suite, key: KeyVersion { key, version }, posture_epoch };
            Self { origin, signature: signature.to_vec() }
        };
        is_pair.then(|| signatures.map(made).to_vec())
    }
}

impl Origin {
    pub(super) fn assemble(self, signature: &[u8]) -> Vec<u8> {
        cbor::encode(&Container {
            format_version: FORM_OF_ONE,
            suite: self.suite,
            key: self.key.key,
            version: self.key.version,
            posture_epoch: self.posture_epoch,
            signature,
        })
    }

    /// What leaves with another version's signature beside this one's.
    pub(super) fn assemble_both(self, signature: &[u8], other: (Self, &[u8])) -> Vec<u8> {
        let one = |origin: Self, signature| One {
            suite: origin.suite,
            version: origin.key.version,
            signature,
        };
        cbor::encode(&Pair {
            format_version: FORM_OF_TWO,
            key: self.key.key,
            posture_epoch: self.posture_epoch,
            signatures: [one(self, signature), one(other.0, other.1)],
        })
    }

    fn frame(self, purpose: &Purpose, context: &Context, digest: [u8; 32]) -> Vec<u8> {
        let Self { suite, key: KeyVersion { key, version }, posture_epoch } = self;
        let frame = Frame { suite, key, version, posture_epoch, purpose, context, digest };
        let mut bytes = Vec::with_capacity(FRAME_BYTES_USUAL);
        bytes.extend_from_slice(labels::BOUND_FRAME);
        cbor::append(&mut bytes, &frame);
        bytes
    }
}

pub(super) fn to_be_signed(signing: &Signing<'_>) -> Result<ToBeSigned, FormatError> {
    let key = KeyVersion { key: signing.key, version: signing.version };
    let origin = Origin { suite: signing.suite, key, posture_epoch: signing.posture_epoch };
    let bytes = origin.frame(signing.purpose, signing.context, signing.payload.digest()?);
    Ok(ToBeSigned { bytes, context: ContextBinding::Bound, assembly: Assembly::Bound(origin) })
}

pub(super) fn verify(output: &[u8], expected: &Verifying<'_>) -> Result<Verified, VerifyError> {
    let payload: Payload<'_> = expected.detached_payload()?;
    let mut found = BoundSignature::decode(output)?.into_iter();
    let is_expected = |it: &BoundSignature| {
        (it.origin.suite, it.origin.key) == (expected.verifier.suite(), expected.key)
    };
    let BoundSignature { origin, signature } =
        found.find(is_expected).ok_or(VerifyError::OtherOrigin)?;
    let frame = origin.frame(expected.purpose, expected.context, payload.digest()?);
    expected.verifier.verify(&frame, &signature)?;
    Ok(Verified::Bound { posture_epoch: origin.posture_epoch })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, PURPOSES};
    use super::*;
    use crate::key::BadSignature;
    use crate::primitive::sha256;

    const BAD: Result<Verified, VerifyError> = Err(VerifyError::Signature(BadSignature));

    fn invoice(suite: Suite) -> Case {
        let mut case = Case::new("sign.bound:invoice", suite);
        case.context = Case::context(&["customer=42", "region=eu"]);
        case
    }

    #[test]
    fn the_frame_has_the_documented_layout() {
        let case = invoice(Suite::Ed25519);
        let signing = Signing { payload: Payload::Message(b"abc"), ..case.signing() };
        let bytes = super::super::to_be_signed(&signing).unwrap();
        let mut expected = b"chancery/bound-frame/v1\0\x87\x01\x50".to_vec();
        expected.extend(case.key_version.key.as_bytes());
        expected.extend(b"\x03\x18\x2a\x72sign.bound:invoice\x82");
        expected.extend(b"\x82\x68customer\x6242\x82\x66region\x62eu\x58\x20");
        expected.extend(sha256(&[b"abc"]));
        assert_eq!(bytes.bytes(), expected);
        assert_eq!(bytes.context_binding(), ContextBinding::Bound);
    }

    #[test]
    fn the_container_has_the_documented_layout() {
        let case = invoice(Suite::Ed25519);
        let signing = Signing { payload: Payload::Message(b"abc"), ..case.signing() };
        let output = super::super::to_be_signed(&signing).unwrap().assemble(&[0xaa; 3]);
        let mut expected = b"\x86\x01\x01\x50".to_vec();
        expected.extend(case.key_version.key.as_bytes());
        expected.extend(b"\x03\x18\x2a\x43\xaa\xaa\xaa");
        assert_eq!(output, expected);
        let origin = Origin { suite: Suite::Ed25519, key: case.key_version, posture_epoch: 42 };
        assert_eq!(
            BoundSignature::decode(&output),
            Ok(vec![BoundSignature { origin, signature: vec![0xaa; 3] }])
        );
    }

    #[test]
    fn the_container_of_two_has_the_documented_layout() {
        let pair = Case::pair("sign.bound:invoice", Suite::Ed25519, Suite::MlDsa44);
        let output = pair.assemble(b"abc", [&[0xaa; 3], &[0xbb; 2]]);
        let mut expected = b"\x84\x02\x50".to_vec();
        expected.extend(pair.outgoing.key_version.key.as_bytes());
        expected.extend(b"\x18\x2a\x82\x83\x01\x03\x43\xaa\xaa\xaa\x83\x08\x04\x42\xbb\xbb");
        assert_eq!(output, expected);
        let found = BoundSignature::decode(&output).unwrap();
        let versions = [pair.outgoing.key_version, pair.incoming.key_version];
        assert_eq!(found.iter().map(|it| it.origin.key).collect::<Vec<_>>(), versions);
    }

    #[test]
    fn each_of_two_signatures_verifies_by_itself() {
        for (from, to) in [(Suite::EcdsaP256, Suite::MlDsa65), (Suite::MlDsa87, Suite::MlDsa87)] {
            let mut pair = Case::pair("sign.bound:invoice", from, to);
            pair.set_context(&["customer=42"]);
            let output = pair.sign(b"message");
            for case in [&pair.outgoing, &pair.incoming] {
                let verified = case.verify_detached(&output, b"message");
                assert_eq!(verified, Ok(Verified::Bound { posture_epoch: 42 }));
                assert_eq!(case.verify_detached(&output, b"massage"), BAD);
            }
            let mut third = pair.incoming.clone();
            third.key_version.version += 1;
            let refused = third.verify_detached(&output, b"message");
            assert_eq!(refused, Err(VerifyError::OtherOrigin));
        }
    }

    #[test]
    fn the_signature_of_one_version_is_none_of_the_other() {
        let pair = Case::pair("sign.bound:invoice", Suite::Ed25519, Suite::Ed25519);
        let [one, other] = pair.signatures(b"message");
        let swapped = pair.assemble(b"message", [&other, &one]);
        for case in [&pair.outgoing, &pair.incoming] {
            assert_eq!(case.verify_detached(&swapped, b"message"), BAD);
        }
    }

    #[test]
    fn a_changed_bit_of_two_spoils_the_signature_it_is_in() {
        let pair = Case::pair("sign.bound:invoice", Suite::Ed25519, Suite::EcdsaP256);
        let output = pair.sign(b"message");
        for changed in Case::one_bit_changes(&output) {
            let both = [&pair.outgoing, &pair.incoming];
            assert!(both.iter().any(|it| it.verify_detached(&changed, b"message").is_err()));
        }
    }

    #[test]
    fn two_signatures_are_of_two_versions() {
        let mut pair = Case::pair("sign.bound:invoice", Suite::Ed25519, Suite::Ed25519);
        pair.incoming.key_version = pair.outgoing.key_version;
        let refused = pair.outgoing.verify_detached(&pair.sign(b"message"), b"message");
        assert_eq!(refused, Err(VerifyError::Malformed));
    }

    #[test]
    fn every_suite_that_signs_or_authenticates_round_trips() {
        for suite in
            [Suite::Ed25519, Suite::EcdsaP256, Suite::EcdsaP384, Suite::MlDsa44, Suite::MlDsa87]
        {
            let case = invoice(suite);
            let output = case.sign(b"message").unwrap();
            assert_eq!(
                case.verify_detached(&output, b"message"),
                Ok(Verified::Bound { posture_epoch: 42 })
            );
        }
        for suite in [Suite::HmacSha256, Suite::HmacSha384, Suite::HmacSha512] {
            let case = Case::new("mac.bound:webhook", suite);
            let output = case.sign(b"message").unwrap();
            assert_eq!(
                case.verify_detached(&output, b"message"),
                Ok(Verified::Bound { posture_epoch: 42 })
            );
            assert_eq!(case.verify_detached(&output, b"massage"), BAD);
        }
    }

    #[test]
    fn a_digest_stands_for_its_message() {
        let case = invoice(Suite::Ed25519);
        let digest = Payload::Digest(sha256(&[b"message"]));
        let by_digest =
            super::super::to_be_signed(&Signing { payload: digest, ..case.signing() }).unwrap();
        let payload = Payload::Message(b"message");
        let by_message =
            super::super::to_be_signed(&Signing { payload, ..case.signing() }).unwrap();
        assert_eq!(by_digest.bytes(), by_message.bytes());
        let output = case.sign(b"message").unwrap();
        let verified =
            super::super::verify(&output, &Verifying { payload: Some(digest), ..case.verifying() });
        assert_eq!(verified, Ok(Verified::Bound { posture_epoch: 42 }));
    }

    #[test]
    fn a_changed_bit_anywhere_is_refused() {
        for case in [invoice(Suite::Ed25519), Case::new("mac.bound:webhook", Suite::HmacSha256)] {
            let output = case.sign(b"message").unwrap();
            for changed in Case::one_bit_changes(&output) {
                assert!(case.verify_detached(&changed, b"message").is_err());
            }
            for changed in Case::one_bit_changes(b"message") {
                assert_eq!(case.verify_detached(&output, &changed), BAD);
            }
        }
    }

    #[test]
    fn every_field_of_the_frame_is_bound() {
        let case = invoice(Suite::Ed25519);
        let output = case.sign(b"message").unwrap();
        let other = |change: fn(&mut Case)| {
            let mut other = case.clone();
            change(&mut other);
            other.verify_detached(&output, b"message")
        };
        assert_eq!(other(|case| case.purpose = "sign.bound:receipt".parse().unwrap()), BAD);
        assert_eq!(
            other(|case| case.purpose = "sign.bound:invoice;context=audited".parse().unwrap()),
            BAD
        );
        for context in [
            &[][..],
            &["customer=42"],
            &["customer=43", "region=eu"],
            &["customer=4", "customer2=region"],
        ] {
            let mut other = case.clone();
            other.context = Case::context(context);
            assert_eq!(other.verify_detached(&output, b"message"), BAD, "{context:?}");
        }
        assert_eq!(other(|case| case.key_version.version += 1), Err(VerifyError::OtherOrigin));
        assert_eq!(
            other(|case| case.key_version.key = KeyId::from_bytes([9; 16])),
            Err(VerifyError::OtherOrigin)
        );
        assert_eq!(other(|case| case.private = Case::fresh(Suite::Ed25519)), BAD);
        assert_eq!(
            other(|case| case.private = Case::fresh(Suite::EcdsaP256)),
            Err(VerifyError::OtherOrigin)
        );
    }

    #[test]
    fn a_container_that_names_another_version_or_posture_does_not_verify() {
        let case = invoice(Suite::Ed25519);
        let mut found = BoundSignature::decode(&case.sign(b"message").unwrap()).unwrap();
        let BoundSignature { origin, signature } = found.remove(0);
        let posture = Origin { posture_epoch: 43, ..origin }.assemble(&signature);
        assert_eq!(case.verify_detached(&posture, b"message"), BAD);
        let version = KeyVersion { version: 4, ..origin.key };
        let output = Origin { key: version, ..origin }.assemble(&signature);
        let mut other = case.clone();
        other.key_version = version;
        assert_eq!(other.verify_detached(&output, b"message"), BAD);
    }

    #[test]
    fn another_encoding_of_a_container_is_refused() {
        let case = invoice(Suite::Ed25519);
        let output = case.sign(b"message").unwrap();
        let malformed = Err(VerifyError::Malformed);
        assert_eq!(case.verify_detached(&[&output[..], &[0]].concat(), b"message"), malformed);
        for length in 0..output.len() {
            assert_eq!(case.verify_detached(&output[..length], b"message"), malformed);
        }
        let longer_form = [&output[..1], &[0x18, 0x01], &output[2..]].concat();
        assert_eq!(case.verify_detached(&longer_form, b"message"), malformed);
        let other_version = [&output[..1], &[0x02], &output[2..]].concat();
        assert_eq!(case.verify_detached(&other_version, b"message"), malformed);
        assert_eq!(
            case.verify_detached(&vec![0x86; BOUND_SIGNATURE_BYTES_MAX + 1], b"message"),
            malformed
        );
    }

    #[test]
    fn a_signature_of_another_format_is_none_of_this_one() {
        let case = Case::new("sign.bound:invoice", Suite::Ed25519);
        for purpose in PURPOSES.into_iter().filter(|purpose| !purpose.starts_with("sign.bound")) {
            let output = case.with_purpose(purpose).sign_any().unwrap();
            assert!(case.verify_detached(&output, Case::payload_of(purpose)).is_err(), "{purpose}");
        }
    }

    #[test]
    fn a_message_longer_than_a_request_is_refused_with_the_way_out() {
        let case = invoice(Suite::Ed25519);
        let found = chancery_core::limits::MESSAGE_BYTES_MAX + 1;
        assert!(case.sign(&vec![0; found - 1]).is_ok());
        assert_eq!(case.sign(&vec![0; found]).unwrap_err(), FormatError::MessageTooLong { found });
    }
}
