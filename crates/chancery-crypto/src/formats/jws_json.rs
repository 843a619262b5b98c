//! The format `jws-json`: what [`jws`] signs, in the JSON serialization, which holds the signatures of two versions.
//!
//! Follows RFC 7515, 7.2. Header and claims are those of [`jws`], built and checked by it; so each signature with its header
//! and the payload is a compact JWS too.
//!
//! | signatures | what leaves | serialization |
//! |---|---|---|
//! | one | `{"payload":"…","protected":"…","signature":"…"}` | flattened (7.2.2) |
//! | two | `{"payload":"…","signatures":[{"protected":"…","signature":"…"},{…}]}` | general (7.2.1) |
//!
//! A verifier takes either, with at most [`SIGNATURES_MAX`] signatures. Members of other names are ignored (7.2.1), a name that
//! occurs twice in an object is refused at every level, and so is an object that has one signature and a list of them. Of
//! each signature, ours or not: `protected` is an object with something in it or is absent, and so is `header`; one of
//! them is there; no name is in both (4); `crit` is in none that is not protected (4.1.11). The payload has one meaning for
//! all: `b64` (RFC 7797, 3) is nowhere but as `true` in a protected header.
//!
//! **Invariant:** what is taken of a signature is protected. One is of a key version if the `kid` of its protected header says
//! so, exactly one is, that header is byte for byte the one that [`jws`] writes, and it has no other. So `none`, an
//! algorithm that is not the key's, `crit`, and a header beside the protected one are refused where they are ours; signatures
//! of others are passed over.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_core::limits::{JSON_DEPTH_MAX, MESSAGE_BYTES_MAX};

use super::{
    Assembly, FormatError, KeyVersion, Signing, ToBeSigned, Verified, VerifyError, Verifying, jws,
};
use crate::json::{self, Object, Value};

/// The most signatures: 16, as in an envelope of DSSE.
pub const SIGNATURES_MAX: usize = 16;

/// The longest signature with its header, in bytes of JSON: 7 KiB; one of ML-DSA-87 takes 6 170 in base64, its header 300.
const SIGNATURE_BYTES_MAX: usize = 7 * 1024;

/// The longest output, in bytes: the longest payload in base64, and sixteen signatures.
pub const DOCUMENT_BYTES_MAX: usize =
    MESSAGE_BYTES_MAX.div_ceil(3) * 4 + SIGNATURES_MAX * SIGNATURE_BYTES_MAX;

/// What an output is assembled from; both are in base64url.
#[derive(Clone, Debug)]
pub(super) struct Document {
    payload: String,
    protected: String,
}

pub(super) fn to_be_signed(signing: &Signing<'_>) -> Result<ToBeSigned, FormatError> {
    let jws::Parts { header: protected, payload, context } = jws::Parts::new(signing)?;
    let bytes = jws::signing_input(&protected, &payload);
    let assembly = Assembly::JwsJson(Document { payload, protected });
    Ok(ToBeSigned { bytes, context, assembly })
}

// Nothing that is written here has a character that JSON escapes: all of it is base64url.
impl Document {
    /// The flattened serialization (RFC 7515, 7.2.2).
    pub(super) fn assemble(&self, signature: &[u8]) -> Vec<u8> {
        let (payload, members) = (&self.payload, self.members(signature));
        format!(r#"{{"payload":"{payload}",{members}}}"#).into_bytes()
    }

    /// The general serialization (RFC 7515, 7.2.1), with another version's signature beside this one's.
    pub(super) fn assemble_both(&self, signature: &[u8], other: (&Self, &[u8])) -> Vec<u8> {
        let (payload, one) = (&self.payload, self.members(signature));
        let two = other.0.members(other.1);
        format!(r#"{{"payload":"{payload}","signatures":[{{{one}}},{{{two}}}]}}"#).into_bytes()
    }

    fn members(&self, signature: &[u8]) -> String {
        let (protected, signature) = (&self.protected, URL_SAFE_NO_PAD.encode(signature));
        format!(r#""protected":"{protected}","signature":"{signature}""#)
    }
}

pub(super) fn verify(output: &[u8], expected: &Verifying<'_>) -> Result<Verified, VerifyError> {
    expected.no_payload()?;
    let taken = Taken::parse(output).ok_or(VerifyError::Malformed)?;
    let ours = taken.only(expected.key).ok_or(VerifyError::OtherOrigin)?;
    let header = jws::encode_header(expected.verifier.suite(), expected.key, expected.purpose);
    if ours.protected != header || ours.has_unprotected {
        return Err(VerifyError::OtherOrigin);
    }
    let signed = jws::signing_input(&header, &taken.payload);
    expected.verifier.verify(&signed, &ours.bytes)?;
    jws::accepted(&taken.payload, expected)
}

/// The key versions that an output names, to find what verifies it. Nothing in it is verified yet. Signatures of other
/// signers, which name none of our form, are passed over.
///
/// # Errors
///
/// [`VerifyError::Malformed`] if the bytes are no JWS in the JSON serialization.
pub fn key_versions(output: &[u8]) -> Result<Vec<KeyVersion>, VerifyError> {
    let taken = Taken::parse(output).ok_or(VerifyError::Malformed)?;
    Ok(taken.signatures.iter().filter_map(|signature| signature.key).collect())
}

/// The payload of an output. Nothing is verified.
#[must_use]
pub fn unverified_payload(output: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(Taken::parse(output)?.payload).ok()
}

/// An output taken apart.
struct Taken {
    /// In base64url.
    payload: String,
    signatures: Vec<Signature>,
}

/// One signature.
struct Signature {
    /// The protected header, in base64url; nothing where there is none.
    protected: String,
    /// The key version in its `kid`, if there is one of our form.
    key: Option<KeyVersion>,
    has_unprotected: bool,
    bytes: Vec<u8>,
}

impl Taken {
    fn parse(output: &[u8]) -> Option<Self> {
        if output.len() > DOCUMENT_BYTES_MAX {
            return None;
        }
        let mut members = object(json::parse(output, JSON_DEPTH_MAX).ok()?)?;
        let payload = text(members.remove("payload")?)?;
        let signatures = match members.remove("signatures") {
            None => vec![Signature::parse(members)?],
            Some(_) if is_flattened(&members) => return None,
            Some(Value::Array(all)) if (1..=SIGNATURES_MAX).contains(&all.len()) => {
                let parse = |one| Signature::parse(object(one)?);
                all.into_iter().map(parse).collect::<Option<_>>()?
            }
            Some(_) => return None,
        };
        Some(Self { payload, signatures })
    }

    /// The signature of a key version, if exactly one says that it is.
    fn only(&self, key: KeyVersion) -> Option<&Signature> {
        let mut of_key = self.signatures.iter().filter(|signature| signature.key == Some(key));
        let first = of_key.next()?;
        of_key.next().is_none().then_some(first)
    }
}

impl Signature {
    fn parse(mut members: Object) -> Option<Self> {
        let protected = members.remove("protected").map(text);
        let unprotected = members.remove("header").map(object);
        let bytes = URL_SAFE_NO_PAD.decode(text(members.remove("signature")?)?).ok()?;
        // What is there and is of another type is no header.
        let (protected, unprotected) = match (protected, unprotected) {
            (Some(None), _) | (_, Some(None)) | (None, None) => return None,
            (protected, unprotected) => (protected.flatten(), unprotected.flatten()),
        };
        let header = protected.as_deref().map(header);
        let header = if let Some(header) = header { header? } else { Object::new() };
        let is_whole = unprotected.as_ref().is_none_or(|other| is_beside(other, &header));
        let is_encoded = header.get("b64").is_none_or(|it| *it == Value::Bool(true));
        let key = header.get("kid").and_then(named);
        let (has_unprotected, protected) = (unprotected.is_some(), protected.unwrap_or_default());
        (is_whole && is_encoded).then_some(Self { protected, key, has_unprotected, bytes })
    }
}

/// Whether an object has a signature of its own, as the flattened serialization has.
fn is_flattened(members: &Object) -> bool {
    ["protected", "header", "signature"].into_iter().any(|name| members.contains_key(name))
}

/// A protected header: the encoding of an object with something in it.
fn header(protected: &str) -> Option<Object> {
    let header = URL_SAFE_NO_PAD.decode(protected).ok()?;
    object(json::parse(&header, JSON_DEPTH_MAX).ok()?).filter(|header| !header.is_empty())
}

/// Whether a header that is not protected may stand beside this one: it has something, nothing of the other, and neither of
/// the two parameters that must be protected.
fn is_beside(unprotected: &Object, protected: &Object) -> bool {
    let is_taken =
        |name: &String| protected.contains_key(name) || ["crit", "b64"].contains(&&**name);
    !unprotected.is_empty() && !unprotected.keys().any(is_taken)
}

fn named(kid: &Value) -> Option<KeyVersion> {
    if let Value::Text(kid) = kid { kid.parse().ok() } else { None }
}

fn object(value: Value) -> Option<Object> {
    if let Value::Object(members) = value { Some(members) } else { None }
}

fn text(value: Value) -> Option<String> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

#[cfg(test)]
mod tests;
