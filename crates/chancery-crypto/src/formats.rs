//! What is signed: each format parses its payload, builds the exact bytes, and assembles what leaves.
//!
//! | format | what is signed | what leaves | context | separation by |
//! |---|---|---|---|---|
//! | [`bound`] | our frame, which holds the digest of the message | a container with the signature | in the bytes | frame |
//! | [`jws`] | header built here and claims parsed and encoded again | a compact JWS | as claims, else audited | `typ` |
//! | [`jws_json`] | as `jws` | a JWS in the JSON serialization | as claims, else audited | `typ` |
//! | [`dsse`] | pre-authentication encoding of type and payload | a DSSE envelope | audited | payload type |
//! | [`cose`] | `Sig_structure` of header and payload | a `COSE_Sign1` or `COSE_Sign` | in the bytes | content type |
//! | [`sshsig`] | namespace and digest of the message | a signature of OpenSSH | audited | namespace |
//! | [`note`] | the text | a signed note | audited | key's name |
//! | [`raw`] | the bytes as they come | the signature | audited | nothing |
//!
//! Signing takes three steps: [`to_be_signed`], the key's own operation over [`ToBeSigned::bytes`], and
//! [`ToBeSigned::assemble`]; two versions of a key take the first two each, and [`assemble_both`] the third. [`verify`]
//! takes what left, and what the verifier expects of it: of an output with two signatures, that of one version.
//!
//! **Invariant:** the algorithm is taken from the key, for signing and for verifying, never from what is
//! verified. A context that is not in the signed bytes is refused, unless the purpose says that it is kept
//! in the audit.
//!
//! Whether posture allows `raw`, and whether the key may be used at all, is decided before this module is
//! asked. It holds no keys and reads no clock.

pub mod bound;
pub mod cose;
pub mod dsse;
pub mod jws;
pub mod jws_json;
mod key_version;
pub mod note;
pub mod raw;
pub mod sshsig;

use chancery_core::context::Context;
use chancery_core::id::KeyId;
use chancery_core::limits::MESSAGE_BYTES_MAX;
use chancery_core::purpose::{Format, Purpose, PurposeError, Unbound};
use chancery_core::suite::Suite;

pub use self::key_version::{KeyVersion, KeyVersionError};
pub use crate::json::JsonError;
use crate::key::{BadSignature, BadTag, MacKey, PublicKey};
use crate::primitive::sha256;

/// One request to sign or to authenticate.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// What the key is for.
    pub purpose: &'a Purpose,
    /// The key's algorithm.
    pub suite: Suite,
    /// The key.
    pub key: KeyId,
    /// Its version.
    pub version: u32,
    /// That version's public half, as DER of its `SubjectPublicKeyInfo`, for formats whose outputs name it.
    pub public: &'a [u8],
    /// The posture under which the signature is made.
    pub posture_epoch: u64,
    /// The caller's context.
    pub context: &'a Context,
    /// What the caller wants signed.
    pub payload: Payload<'a>,
    /// How many signatures what leaves will hold.
    pub signatures: Signatures,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// How many signatures one output holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// That of one version.
    One,
    /// Those of two versions of a key, while a rollout has both sign.
    Two,
}

/// What a caller wants signed.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// The SHA-256 digest of a message that stays with the caller.
    Digest([u8; 32]),
    /// The message.
    Message(&'a [u8]),
}

/// Where the context went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextBinding {
    /// At least one pair is not in the signed bytes: the audit record must hold the context.
    Audited,
    /// Every pair is in the signed bytes.
    Bound,
}

/// The exact bytes that the key signs, and what is needed to assemble what leaves.
#[derive(Clone, Debug)]
#[must_use]
pub struct ToBeSigned {
    bytes: Vec<u8>,
    context: ContextBinding,
    assembly: Assembly,
}

/// How output is assembled from the signature.
#[derive(Clone, Debug)]
enum Assembly {
    Bound(bound::Origin),
    Cose(cose::Message),
    Dsse(dsse::Envelope),
    Jws,
    JwsJson(jws_json::Document),
    Note(note::Line),
    Raw,
    SshSig(sshsig::Envelope),
}

/// The payload cannot be signed in this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The claims are not ones that a token may have.
    #[error("the claims cannot be signed")]
    Claims(#[from] jws::ClaimsError),
    /// A claim and a pair of the context have one name and differ.
    #[error("a claim differs from the pair of the context with its name; make them equal")]
    ContextMismatch,
    /// A pair of the context would be in no signed byte.
    #[error(
        "this format cannot bind the context; leave it out, or use a key whose purpose ends in `;context=audited`"
    )]
    ContextUnbound,
    /// The format parses what it signs and was given a digest.
    #[error("this format parses what it signs; send the message, not its digest")]
    DigestRefused,
    /// Two versions are to sign, and an output holds one signature.
    #[error("an output of this format holds one signature; two versions of a key cannot both sign")]
    HoldsOne,
    /// The message is longer than one request may carry.
    #[error(
        "the message has {found} bytes, and at most {MESSAGE_BYTES_MAX} are signed; use a `sign.bound` key and send the digest"
    )]
    MessageTooLong {
        /// How many bytes it has.
        found: usize,
    },
    /// The output names the public half, and there is none.
    #[error("the key version has no public half in a form that this format names")]
    NoPublicKey,
    /// Keys of this purpose do not sign.
    #[error("keys of this purpose neither sign nor authenticate; use one for `sign` or `mac`")]
    NotASigningFormat,
    /// The payload type says JSON, and the payload is none.
    #[error("the payload type says JSON, and the payload is not")]
    PayloadNotJson(#[source] JsonError),
    /// The algorithm cannot serve the purpose.
    #[error(transparent)]
    Purpose(#[from] PurposeError),
    /// The message is no text that a note may have.
    #[error("the message cannot be signed as a note")]
    Text(#[from] note::TextError),
}

/// Parses the payload and builds the exact bytes to sign.
///
/// # Errors
///
/// [`FormatError`] says what about the payload was wrong and what to do.
pub fn to_be_signed(signing: &Signing<'_>) -> Result<ToBeSigned, FormatError> {
    signing.purpose.admits(signing.suite)?;
    match signing.purpose.format() {
        Format::Bound => bound::to_be_signed(signing),
        Format::Cose => cose::to_be_signed(signing),
        Format::Dsse => dsse::to_be_signed(signing),
        Format::Jws => jws::to_be_signed(signing),
        Format::JwsJson => jws_json::to_be_signed(signing),
        Format::Note => note::to_be_signed(signing),
        Format::Raw => raw::to_be_signed(signing),
        Format::SshSig => sshsig::to_be_signed(signing),
        Format::Aead | Format::Hkdf => Err(FormatError::NotASigningFormat),
    }
}

impl ToBeSigned {
    /// The exact bytes that the key signs.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the signed bytes hold the whole context, or the audit record must.
    #[must_use]
    pub fn context_binding(&self) -> ContextBinding {
        self.context
    }

    /// What leaves: the signature in the format's own wrapping.
    #[must_use]
    pub fn assemble(self, signature: &[u8]) -> Vec<u8> {
        match self.assembly {
            Assembly::Bound(origin) => origin.assemble(signature),
            Assembly::Cose(message) => message.assemble(signature),
            Assembly::Dsse(envelope) => envelope.assemble(signature),
            Assembly::Jws => jws::assemble(self.bytes, signature),
            Assembly::JwsJson(document) => document.assemble(signature),
            Assembly::Note(line) => line.assemble(signature),
            Assembly::Raw => signature.to_vec(),
            Assembly::SshSig(envelope) => envelope.assemble(signature),
        }
    }
}

/// What leaves with the signatures of two versions of one key: of the version there was, then of the one that a rollout
/// brings in. Both were made over the same request.
///
/// # Errors
///
/// [`FormatError::HoldsOne`] if the format holds one signature.
pub fn assemble_both(
    (outgoing, signature): (ToBeSigned, &[u8]),
    (incoming, beside): (ToBeSigned, &[u8]),
) -> Result<Vec<u8>, FormatError> {
    match (outgoing.assembly, incoming.assembly) {
        (Assembly::Bound(one), Assembly::Bound(other)) => {
            Ok(one.assemble_both(signature, (other, beside)))
        }
        (Assembly::Dsse(one), Assembly::Dsse(other)) => {
            Ok(one.assemble_both(signature, (&other, beside)))
        }
        (Assembly::Cose(one), Assembly::Cose(other)) => {
            Ok(one.assemble_both(signature, (&other, beside)))
        }
        (Assembly::JwsJson(one), Assembly::JwsJson(other)) => {
            Ok(one.assemble_both(signature, (&other, beside)))
        }
        (Assembly::Note(one), Assembly::Note(other)) => {
            Ok(one.assemble_both(signature, (other, beside)))
        }
        _ => Err(FormatError::HoldsOne),
    }
}

/// The key versions that an output says it was made by, in its order, to find what verifies it. Nothing in it is verified
/// yet. None where the format names none, or the bytes are not of the format.
#[must_use]
pub fn key_versions(format: Format, output: &[u8]) -> Vec<KeyVersion> {
    let named = match format {
        Format::Bound => bound::BoundSignature::decode(output)
            .map(|found| found.iter().map(|it| it.origin.key).collect()),
        Format::Dsse => dsse::key_versions(output),
        Format::Cose => cose::key_versions(output),
        Format::Jws => jws::key_version(output).map(|named| vec![named]),
        Format::JwsJson => jws_json::key_versions(output),
        Format::SshSig | Format::Note | Format::Raw | Format::Aead | Format::Hkdf => {
            return Vec::new();
        }
    };
    named.unwrap_or_default()
}

/// Whether outputs of a format name public halves, and no version.
#[must_use]
pub fn names_public_halves(format: Format) -> bool {
    matches!(format, Format::SshSig | Format::Note)
}

/// Whether an output of such a format says that this public half verifies it. Nothing in it is verified.
#[must_use]
pub fn is_by(purpose: &Purpose, output: &[u8], (suite, spki): (Suite, &[u8])) -> bool {
    match purpose.format() {
        Format::SshSig => sshsig::is_by(output, suite, spki),
        Format::Note => note::is_by(output, purpose.domain(), suite, spki),
        _ => false,
    }
}

impl<'a> Payload<'a> {
    /// The message, for formats that parse it.
    fn message(self) -> Result<&'a [u8], FormatError> {
        match self {
            Self::Digest(_) => Err(FormatError::DigestRefused),
            Self::Message(message) if message.len() > MESSAGE_BYTES_MAX => {
                Err(FormatError::MessageTooLong { found: message.len() })
            }
            Self::Message(message) => Ok(message),
        }
    }

    /// Its digest, for the format that binds no more.
    fn digest(self) -> Result<[u8; 32], FormatError> {
        match self {
            Self::Digest(digest) => Ok(digest),
            Self::Message(_) => self.message().map(|message| sha256(&[message])),
        }
    }
}

/// Where a context goes that the format cannot bind.
fn unbound(purpose: &Purpose, context: &Context) -> Result<ContextBinding, FormatError> {
    match purpose.unbound() {
        _ if context.is_empty() => Ok(ContextBinding::Bound),
        Unbound::Audited => Ok(ContextBinding::Audited),
        Unbound::Refused => Err(FormatError::ContextUnbound),
    }
}

/// What a verifier holds of one key version.
#[derive(Clone, Copy, Debug)]
pub enum Verifier<'a> {
    /// A MAC key, which authenticates and verifies alike.
    Mac(&'a MacKey),
    /// A public key.
    Public(&'a PublicKey),
}

/// What a verifier expects, none of it taken from what is verified.
#[derive(Clone, Copy, Debug)]
pub struct Verifying<'a> {
    /// What the key is for.
    pub purpose: &'a Purpose,
    /// The key and its version.
    pub key: KeyVersion,
    /// Its verifying half, which has the algorithm.
    pub verifier: Verifier<'a>,
    /// The context that must be bound.
    pub context: &'a Context,
    /// The payload, for the formats whose output does not carry it.
    pub payload: Option<Payload<'a>>,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// The payload, its context and the posture under which it was signed.
    Bound {
        /// The posture epoch at signing.
        posture_epoch: u64,
    },
    /// A DSSE envelope with this payload. The context is not in it.
    Dsse {
        /// The payload.
        payload: Vec<u8>,
    },
    /// A token, or a document of the JSON serialization, with these claims, in force.
    Jws {
        /// The claims, as the JSON that was signed.
        claims: Vec<u8>,
    },
    /// An output of COSE with this payload, under its context.
    Cose {
        /// The payload.
        payload: Vec<u8>,
    },
    /// A note of this text. The context is not in it.
    Note {
        /// The text.
        text: String,
    },
    /// The message. The context is not in it.
    Raw,
    /// The message, in the namespace. The context is not in it.
    SshSig,
}

/// The output is not what the verifier expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The claims are not ones that a token may have, or it is not in force.
    #[error("the claims are not valid")]
    Claims(#[from] jws::ClaimsError),
    /// What was expected can itself not be signed.
    #[error(transparent)]
    Expectation(#[from] FormatError),
    /// The bytes are not in the format of the purpose.
    #[error("not in the format of the purpose")]
    Malformed,
    /// A pair of the expected context is not in the signed bytes.
    #[error("the expected context is not in what was signed")]
    OtherContext,
    /// Another key, version, algorithm or purpose is named.
    #[error("made by another key, version or algorithm, or for another purpose")]
    OtherOrigin,
    /// The format does not carry the payload, and none was given.
    #[error("the signed payload is needed to verify this format")]
    PayloadMissing,
    /// The format carries its payload, and another was given.
    #[error("this format carries its payload; give none")]
    PayloadUnexpected,
    /// The signature or tag is wrong.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// Verifies what left a signer.
///
/// # Errors
///
/// [`VerifyError`] if any part of it differs from what is expected.
pub fn verify(output: &[u8], expected: &Verifying<'_>) -> Result<Verified, VerifyError> {
    expected.purpose.admits(expected.verifier.suite()).map_err(FormatError::from)?;
    match expected.purpose.format() {
        Format::Bound => bound::verify(output, expected),
        Format::Cose => cose::verify(output, expected),
        Format::Dsse => dsse::verify(output, expected),
        Format::Jws => jws::verify(output, expected),
        Format::JwsJson => jws_json::verify(output, expected),
        Format::Note => note::verify(output, expected),
        Format::Raw => raw::verify(output, expected),
        Format::SshSig => sshsig::verify(output, expected),
        Format::Aead | Format::Hkdf => Err(FormatError::NotASigningFormat.into()),
    }
}

impl Verifier<'_> {
    fn suite(self) -> Suite {
        match self {
            Self::Mac(key) => key.suite(),
            Self::Public(key) => key.suite(),
        }
    }

    /// The suite and the `SubjectPublicKeyInfo`, of a public key.
    fn public(&self) -> Option<(Suite, &[u8])> {
        match self {
            Self::Mac(_) => None,
            Self::Public(key) => Some((key.suite(), key.spki())),
        }
    }

    fn verify(self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match self {
            Self::Mac(key) => key.verify(&[message], signature).map_err(|BadTag| BadSignature),
            Self::Public(key) => key.verify(message, signature),
        }
    }
}

impl<'a> Verifying<'a> {
    fn detached_payload(&self) -> Result<Payload<'a>, VerifyError> {
        self.payload.ok_or(VerifyError::PayloadMissing)
    }

    fn no_payload(&self) -> Result<(), VerifyError> {
        if self.payload.is_some() { Err(VerifyError::PayloadUnexpected) } else { Ok(()) }
    }
}

#[cfg(test)]
mod testing;
