//! The format `cose`: a payload in a `COSE_Sign1`, or in a `COSE_Sign` while two versions of a key sign.
//!
//! Follows RFC 9052, 4.2, 4.1 and 4.4, narrowed to one encoding: the tag is there, maps and arrays are of definite length,
//! numbers in their shortest form, every header is protected, and the payload is embedded.
//!
//! | signatures | what leaves | protected header | what is signed |
//! |---|---|---|---|
//! | one | `18([protected, {}, payload, signature])` | `{1: alg, 3: content type, 4: kid}` | `["Signature1", protected, aad, payload]` |
//! | two | `98([protected, {}, payload, [[protected, {}, signature], …]])` | `{3: content type}`, and of each signer `{1: alg, 4: kid}` | `["Signature", protected, of the signer, aad, payload]` |
//!
//! `alg` is the key's (RFC 9053, 2; RFC 9964), the content type the domain of the purpose, as text, and `kid` the bytes of
//! `<key id>.<version>`. The externally supplied data (RFC 9052, 4.3) is empty if the context is; else it is the label
//! [`labels::COSE_CONTEXT`] and the context in canonical CBOR, so that a verifier must expect the context that was signed.
//!
//! The version stands in `kid`, the posture epoch in the audit alone. A verifier takes neither algorithm nor header from
//! what it verifies: it writes the header that it expects, and compares.

use chancery_core::cbor;
use chancery_core::context::Context;
use chancery_core::limits::MESSAGE_BYTES_MAX;
use chancery_core::suite::Suite;
use minicbor::bytes::ByteSlice;
use minicbor::data::Tagged;
use minicbor::{Decode, Decoder, Encode, Encoder};

use super::{
    Assembly, ContextBinding, FormatError, KeyVersion, Signatures, Signing, ToBeSigned, Verified,
    VerifyError, Verifying,
};
use crate::labels;

/// The longest output, in bytes: the longest payload, and 12 KiB for two signatures of ML-DSA-87 with their headers.
pub const COSE_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 12 * 1024;

/// What an output is assembled from.
#[derive(Clone, Debug)]
pub(super) struct Message {
    payload: Vec<u8>,
    /// The header of the only signer, or of all.
    protected: Vec<u8>,
    /// The signer's own header, where there are two.
    of_signer: Vec<u8>,
}

/// Headers (RFC 9052, 3.1), by their labels.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Header<'b> {
    #[n(1)]
    alg: Option<i64>,
    #[b(3)]
    content_type: Option<&'b str>,
    #[b(4)]
    kid: Option<&'b ByteSlice>,
}

/// With its tag (RFC 9052, 2).
type TaggedSign1<'b> = Tagged<18, Sign1<'b>>;

/// With its tag.
type TaggedSign<'b> = Tagged<98, Sign<'b>>;

/// No headers: none is left unprotected.
struct Unprotected;

/// A `COSE_Sign1` (RFC 9052, 4.2).
#[derive(Encode, Decode)]
#[cbor(array)]
struct Sign1<'b> {
    #[b(0)]
    protected: &'b ByteSlice,
    #[n(1)]
    unprotected: Unprotected,
    #[b(2)]
    payload: &'b ByteSlice,
    #[b(3)]
    signature: &'b ByteSlice,
}

/// A `COSE_Sign` (RFC 9052, 4.1) with two signers.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Sign<'b> {
    #[b(0)]
    protected: &'b ByteSlice,
    #[n(1)]
    unprotected: Unprotected,
    #[b(2)]
    payload: &'b ByteSlice,
    #[b(3)]
    signers: [Signer<'b>; 2],
}

/// A `COSE_Signature`.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Signer<'b> {
    #[b(0)]
    protected: &'b ByteSlice,
    #[n(1)]
    unprotected: Unprotected,
    #[b(2)]
    signature: &'b ByteSlice,
}

/// The `Sig_structure` of a `COSE_Sign1` (RFC 9052, 4.4).
#[derive(Encode)]
#[cbor(array)]
struct SignedAlone<'b> {
    #[n(0)]
    context: &'b str,
    #[n(1)]
    protected: &'b ByteSlice,
    #[n(2)]
    aad: &'b ByteSlice,
    #[n(3)]
    payload: &'b ByteSlice,
}

/// The `Sig_structure` of one signer of a `COSE_Sign`.
#[derive(Encode)]
#[cbor(array)]
struct SignedBeside<'b> {
    #[n(0)]
    context: &'b str,
    #[n(1)]
    protected: &'b ByteSlice,
    #[n(2)]
    of_signer: &'b ByteSlice,
    #[n(3)]
    aad: &'b ByteSlice,
    #[n(4)]
    payload: &'b ByteSlice,
}

pub(super) fn to_be_signed(signing: &Signing<'_>) -> Result<ToBeSigned, FormatError> {
    let payload = signing.payload.message()?.to_vec();
    let key = KeyVersion { key: signing.key, version: signing.version };
    let content_type = signing.purpose.domain();
    let (protected, of_signer) = headers(signing.signatures, signing.suite, key, content_type);
    let message = Message { payload, protected, of_signer };
    let bytes = message.signed_bytes(signing.context);
    let context = ContextBinding::Bound;
    Ok(ToBeSigned { bytes, context, assembly: Assembly::Cose(message) })
}

/// The header of the whole, and the signer's own where there are two.
fn headers(
    signatures: Signatures,
    suite: Suite,
    key: KeyVersion,
    content_type: &str,
) -> (Vec<u8>, Vec<u8>) {
    let (kid, alg) = (key.to_string(), suite.properties().cose);
    let kid = Some(<&ByteSlice>::from(kid.as_bytes()));
    let content_type = Some(content_type);
    match signatures {
        Signatures::One => (cbor::encode(&Header { alg, content_type, kid }), Vec::new()),
        Signatures::Two => (
            cbor::encode(&Header { alg: None, content_type, kid: None }),
            cbor::encode(&Header { alg, content_type: None, kid }),
        ),
    }
}

impl Message {
    /// The `Sig_structure`.
    fn signed_bytes(&self, context: &Context) -> Vec<u8> {
        let aad = external_aad(context);
        let (protected, aad, payload) = (
            self.protected.as_slice().into(),
            aad.as_slice().into(),
            self.payload.as_slice().into(),
        );
        if self.of_signer.is_empty() {
            return cbor::encode(&SignedAlone { context: "Signature1", protected, aad, payload });
        }
        let of_signer = self.of_signer.as_slice().into();
        cbor::encode(&SignedBeside { context: "Signature", protected, of_signer, aad, payload })
    }

    pub(super) fn assemble(&self, signature: &[u8]) -> Vec<u8> {
        cbor::encode(&TaggedSign1::new(Sign1 {
            protected: self.protected.as_slice().into(),
            unprotected: Unprotected,
            payload: self.payload.as_slice().into(),
            signature: signature.into(),
        }))
    }

    /// What leaves with another version's signature beside this one's.
    pub(super) fn assemble_both(&self, signature: &[u8], other: (&Self, &[u8])) -> Vec<u8> {
        cbor::encode(&TaggedSign::new(Sign {
            protected: self.protected.as_slice().into(),
            unprotected: Unprotected,
            payload: self.payload.as_slice().into(),
            signers: [self.signer(signature), other.0.signer(other.1)],
        }))
    }

    fn signer<'b>(&'b self, signature: &'b [u8]) -> Signer<'b> {
        let protected = self.of_signer.as_slice().into();
        Signer { protected, unprotected: Unprotected, signature: signature.into() }
    }
}

/// Externally supplied data (RFC 9052, 4.3): none without a context, so that any verifier of COSE needs no more than the
/// key.
fn external_aad(context: &Context) -> Vec<u8> {
    let mut aad = Vec::new();
    if !context.is_empty() {
        aad.extend_from_slice(labels::COSE_CONTEXT);
        cbor::append(&mut aad, context);
    }
    aad
}

pub(super) fn verify(output: &[u8], expected: &Verifying<'_>) -> Result<Verified, VerifyError> {
    expected.no_payload()?;
    let taken = Taken::parse(output).ok_or(VerifyError::Malformed)?;
    let (suite, content_type) = (expected.verifier.suite(), expected.purpose.domain());
    let (protected, of_signer) = headers(taken.signatures(), suite, expected.key, content_type);
    if taken.protected != protected {
        return Err(VerifyError::OtherOrigin);
    }
    let mut ours = taken.signers.iter().filter(|(header, _)| *header == of_signer);
    let (Some((_, signature)), None) = (ours.next(), ours.next()) else {
        return Err(VerifyError::OtherOrigin);
    };
    let message = Message { payload: taken.payload.to_vec(), protected, of_signer };
    expected.verifier.verify(&message.signed_bytes(expected.context), signature)?;
    Ok(Verified::Cose { payload: message.payload })
}

/// The key versions that an output names, to find what verifies it. Nothing in it is verified yet.
///
/// # Errors
///
/// [`VerifyError::Malformed`] if the bytes are no output that a signer of ours made.
pub fn key_versions(output: &[u8]) -> Result<Vec<KeyVersion>, VerifyError> {
    let taken = Taken::parse(output).ok_or(VerifyError::Malformed)?;
    let headers = match taken.signatures() {
        Signatures::One => vec![taken.protected],
        Signatures::Two => taken.signers.iter().map(|(header, _)| *header).collect(),
    };
    let named = |header: &[u8]| {
        let header = cbor::decode::<Header<'_>>(header, "COSE header").ok()?;
        std::str::from_utf8(header.kid?).ok()?.parse().ok()
    };
    headers.into_iter().map(named).collect::<Option<_>>().ok_or(VerifyError::Malformed)
}

/// The payload of an output. Nothing is verified.
#[must_use]
pub fn unverified_payload(output: &[u8]) -> Option<&[u8]> {
    Taken::parse(output).map(|taken| taken.payload)
}

/// An output taken apart.
struct Taken<'b> {
    protected: &'b [u8],
    payload: &'b [u8],
    /// Each with its own header, which is empty where there is one.
    signers: Vec<(&'b [u8], &'b [u8])>,
}

impl<'b> Taken<'b> {
    fn parse(output: &'b [u8]) -> Option<Self> {
        if output.len() > COSE_BYTES_MAX {
            return None;
        }
        if let Ok(alone) = cbor::decode::<TaggedSign1<'b>>(output, "COSE_Sign1") {
            let Sign1 { protected, payload, signature, .. } = alone.into_value();
            return Some(Self { protected, payload, signers: vec![(&[], signature)] });
        }
        let both = cbor::decode::<TaggedSign<'b>>(output, "COSE_Sign").ok()?;
        let Sign { protected, payload, signers, .. } = both.into_value();
        let signers = signers.map(|it| (&**it.protected, &**it.signature)).to_vec();
        Some(Self { protected, payload, signers })
    }

    fn signatures(&self) -> Signatures {
        if self.signers.len() == 1 { Signatures::One } else { Signatures::Two }
    }
}

impl<C> Encode<C> for Unprotected {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.map(0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Unprotected {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        match decoder.map()? {
            Some(0) => Ok(Self),
            _ => Err(minicbor::decode::Error::message("an unprotected header")),
        }
    }
}

#[cfg(test)]
mod tests;
