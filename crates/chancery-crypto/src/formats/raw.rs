//! The format `raw`: the key signs the bytes as they come.
//!
//! Nothing in the bytes says what they are for, so that a signature made for one use may mean something for
//! another. A caller has checked that posture names `sign.raw` before it asks; every audit record says so.
//! The output is the signature alone, and a context is never in it.

use super::{
    Assembly, FormatError, Signing, ToBeSigned, Verified, VerifyError, Verifying, unbound,
};

pub(super) fn to_be_signed(signing: &Signing<'_>) -> Result<ToBeSigned, FormatError> {
    let bytes = signing.payload.message()?.to_vec();
    let context = unbound(signing.purpose, signing.context)?;
    Ok(ToBeSigned { bytes, context, assembly: Assembly::Raw })
}

pub(super) fn verify(output: &[u8], expected: &Verifying<'_>) -> Result<Verified, VerifyError> {
    let message = expected.detached_payload()?.message()?;
    expected.verifier.verify(message, output)?;
    Ok(Verified::Raw)
}

#[cfg(test)]
mod tests {
    use chancery_core::suite::Suite;

    use super::super::testing::{Case, PURPOSES};
    use super::super::{ContextBinding, Payload};
    use super::*;
    use crate::key::BadSignature;

    #[test]
    fn the_bytes_are_signed_as_they_are() {
        let case = Case::new("sign.raw:legacy", Suite::Ed25519);
        let signing = Signing { payload: Payload::Message(b"\0anything"), ..case.signing() };
        let bytes = super::super::to_be_signed(&signing).unwrap();
        assert_eq!(bytes.bytes(), b"\0anything");
        assert_eq!(bytes.context_binding(), ContextBinding::Bound);
        assert_eq!(bytes.assemble(b"signature"), b"signature");
    }

    #[test]
    fn a_context_is_refused_or_audited() {
        let mut case = Case::new("sign.raw:legacy", Suite::Ed25519);
        case.context = Case::context(&["a=1"]);
        assert_eq!(case.sign(b"m").unwrap_err(), FormatError::ContextUnbound);
        case.purpose = "sign.raw:legacy;context=audited".parse().unwrap();
        let signing = Signing { payload: Payload::Message(b"m"), ..case.signing() };
        let bytes = super::super::to_be_signed(&signing).unwrap();
        assert_eq!(bytes.context_binding(), ContextBinding::Audited);
    }

    #[test]
    fn a_digest_is_refused() {
        let case = Case::new("sign.raw:legacy", Suite::Ed25519);
        let signing = Signing { payload: Payload::Digest([0; 32]), ..case.signing() };
        assert_eq!(super::super::to_be_signed(&signing).unwrap_err(), FormatError::DigestRefused);
    }

    #[test]
    fn a_changed_bit_of_message_or_signature_is_refused() {
        let case = Case::new("sign.raw:legacy", Suite::Ed25519);
        let output = case.sign(b"message").unwrap();
        assert_eq!(case.verify_detached(&output, b"message"), Ok(Verified::Raw));
        let bad = Err(VerifyError::Signature(BadSignature));
        for changed in Case::one_bit_changes(&output) {
            assert_eq!(case.verify_detached(&changed, b"message"), bad);
        }
        for changed in Case::one_bit_changes(b"message") {
            assert_eq!(case.verify_detached(&output, &changed), bad);
        }
        assert_eq!(case.verify_attached(&output), Err(VerifyError::PayloadMissing));
    }

    #[test]
    fn a_signature_of_another_format_is_none_of_this_one() {
        let raw = Case::new("sign.raw:legacy", Suite::Ed25519);
        for purpose in PURPOSES {
            let output = raw.with_purpose(purpose).sign_any().unwrap();
            assert!(raw.verify_detached(&output, Case::payload_of(purpose)).is_err(), "{purpose}");
        }
    }
}
