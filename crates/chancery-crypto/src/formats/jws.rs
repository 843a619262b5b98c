//! The format `jws`: a compact JWS whose header is built here and whose claims are checked.
//!
//! Follows RFC 7515, section 3.1 and RFC 7519, narrowed: the header is `{"alg":…,"kid":…,"typ":…}` and
//! nothing else, with `alg` from the key (RFC 7518, 3.1; RFC 8037, 3.1; RFC 9964), `kid` = key id, dot,
//! version, and `typ` the domain of the purpose (RFC 8725, 3.11). The payload is a JSON object with `iss`,
//! `aud`, `iat` and `exp`; what is signed is the parsed object encoded again, names sorted, no white space.
//! A token lives at most [`LIFETIME_MAX`].
//!
//! A pair of the context is bound when a claim of its name is the same text. A claim of its name with
//! another value is refused whatever the purpose says.
//!
//! The posture epoch is not in a token, and the version stands in `kid`. A verifier compares the encoded
//! header with the one it expects, byte for byte, and so takes nothing from it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_core::context::{Context, Pair};
use chancery_core::limits::{CLOCK_DRIFT_MAX, JSON_DEPTH_MAX, MESSAGE_BYTES_MAX};
use chancery_core::purpose::Purpose;
use chancery_core::suite::Suite;

use super::{
    Assembly, ContextBinding, FormatError, KeyVersion, Signing, ToBeSigned, Verified, VerifyError,
    Verifying, unbound,
};
use crate::json::{self, JsonError, Object, Value};

/// The longest life of a token: 24 hours. What must live longer is no bearer token.
pub const LIFETIME_MAX: Duration = Duration::from_hours(24);

/// The longest token, in bytes: 4 for each 3 of the longest payload, and 8 KiB for header and signature
/// (that of ML-DSA-87 takes 6 170).
pub const TOKEN_BYTES_MAX: usize = MESSAGE_BYTES_MAX.div_ceil(3) * 4 + 8 * 1024;

/// The claims are not ones that a token may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// `exp` has passed.
    #[error("`exp` has passed")]
    Expired,
    /// A number is not a whole number of 64 bits, and readers would round it differently.
    #[error("a number in the claims is not a whole number of 64 bits; write it as text")]
    Fraction,
    /// `iat` or `nbf` is ahead of the clock by more than clocks may differ.
    #[error("`iat` or `nbf` lies in the future")]
    InTheFuture,
    /// The payload is no JSON that is signed.
    #[error("the claims are not JSON that can be signed")]
    Json(#[from] JsonError),
    /// The token would live for no time, or too long.
    #[error("`exp` must come after `iat`, by at most 24 hours")]
    Lifetime,
    /// A claim is missing or has another type.
    #[error("the claims must have `{claim}`, {expected}")]
    Missing {
        /// Its name.
        claim: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The payload is JSON and no object.
    #[error("the claims must be a JSON object")]
    NotAnObject,
}

pub(super) fn to_be_signed(signing: &Signing<'_>) -> Result<ToBeSigned, FormatError> {
    let Parts { header, payload, context } = Parts::new(signing)?;
    let bytes = signing_input(&header, &payload);
    Ok(ToBeSigned { bytes, context, assembly: Assembly::Jws })
}

/// What is signed, in either serialization.
pub(super) struct Parts {
    /// BASE64URL(header).
    pub(super) header: String,
    /// BASE64URL(claims).
    pub(super) payload: String,
    /// Where the context went.
    pub(super) context: ContextBinding,
}

impl Parts {
    pub(super) fn new(signing: &Signing<'_>) -> Result<Self, FormatError> {
        let claims = parse_claims(signing.payload.message()?, signing.now_ms)?;
        let context = bind(&claims, signing.purpose, signing.context)?;
        let payload = json::encode(&claims).map_err(ClaimsError::from)?;
        let key = KeyVersion { key: signing.key, version: signing.version };
        let header = encode_header(signing.suite, key, signing.purpose);
        Ok(Self { header, payload: URL_SAFE_NO_PAD.encode(payload), context })
    }
}

/// ASCII(BASE64URL(header) ‖ "." ‖ BASE64URL(claims)): the JWS Signing Input (RFC 7515, 5.1).
pub(super) fn signing_input(header: &str, payload: &str) -> Vec<u8> {
    format!("{header}.{payload}").into_bytes()
}

/// `BASE64URL(header).BASE64URL(payload).BASE64URL(signature)` (RFC 7515, 7.1).
pub(super) fn assemble(mut signed: Vec<u8>, signature: &[u8]) -> Vec<u8> {
    signed.push(b'.');
    signed.extend(URL_SAFE_NO_PAD.encode(signature).into_bytes());
    signed
}

pub(super) fn verify(output: &[u8], expected: &Verifying<'_>) -> Result<Verified, VerifyError> {
    expected.no_payload()?;
    let token = Token::split(output).ok_or(VerifyError::Malformed)?;
    if token.header != encode_header(expected.verifier.suite(), expected.key, expected.purpose) {
        return Err(VerifyError::OtherOrigin);
    }
    let signature = URL_SAFE_NO_PAD.decode(token.signature).map_err(|_| VerifyError::Malformed)?;
    expected.verifier.verify(token.signed.as_bytes(), &signature)?;
    accepted(token.payload, expected)
}

/// What a signature that holds is about, if its claims are in force and hold the context.
pub(super) fn accepted(payload: &str, expected: &Verifying<'_>) -> Result<Verified, VerifyError> {
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| VerifyError::Malformed)?;
    let claims = parse_claims(&payload, expected.now_ms)?;
    match bind(&claims, expected.purpose, expected.context) {
        Ok(_) => Ok(Verified::Jws { claims: payload }),
        Err(_) => Err(VerifyError::OtherContext),
    }
}

/// The key version that a token names, to find what verifies it. Nothing in it is verified yet.
///
/// # Errors
///
/// [`VerifyError::Malformed`] if the token is none that a signer of ours made.
pub fn key_version(token: &[u8]) -> Result<KeyVersion, VerifyError> {
    let token = Token::split(token).ok_or(VerifyError::Malformed)?;
    let header = URL_SAFE_NO_PAD.decode(token.header).map_err(|_| VerifyError::Malformed)?;
    let Ok(Value::Object(header)) = json::parse(&header, 1) else {
        return Err(VerifyError::Malformed);
    };
    match header.get("kid") {
        Some(Value::Text(kid)) => kid.parse().map_err(|_| VerifyError::Malformed),
        _ => Err(VerifyError::Malformed),
    }
}

/// A compact JWS taken apart.
struct Token<'t> {
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
    /// Header, dot and payload.
    signed: &'t str,
}

impl<'t> Token<'t> {
    fn split(token: &'t [u8]) -> Option<Self> {
        let text = std::str::from_utf8(token).ok().filter(|text| text.len() <= TOKEN_BYTES_MAX)?;
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        (!payload.contains('.')).then_some(Self { header, payload, signature, signed })
    }
}

/// The encoded header, which has exactly one form for one key version and purpose.
pub(super) fn encode_header(suite: Suite, key: KeyVersion, purpose: &Purpose) -> String {
    // None of the three has a character that JSON escapes: a name of JOSE, a UUID with a number, and a
    // domain of letters, digits and `._+/-`.
    let alg = suite.properties().jose.unwrap_or_default();
    URL_SAFE_NO_PAD
        .encode(format!(r#"{{"alg":"{alg}","kid":"{key}","typ":"{}"}}"#, purpose.domain()))
}

fn parse_claims(payload: &[u8], now_ms: u64) -> Result<Object, ClaimsError> {
    let Value::Object(claims) = json::parse(payload, JSON_DEPTH_MAX)? else {
        return Err(ClaimsError::NotAnObject);
    };
    if claims.values().any(has_fraction) {
        return Err(ClaimsError::Fraction);
    }
    check_issuer(&claims)?;
    check_audience(&claims)?;
    check_time(&claims, now_ms / 1_000)?;
    Ok(claims)
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Fraction(_) => true,
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(members) => members.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::Unsigned(_) | Value::Negative(_) | Value::Text(_) => {
            false
        }
    }
}

fn check_issuer(claims: &Object) -> Result<(), ClaimsError> {
    match claims.get("iss") {
        Some(Value::Text(issuer)) if !issuer.is_empty() => Ok(()),
        _ => Err(ClaimsError::Missing { claim: "iss", expected: "a text that is not empty" }),
    }
}

fn check_audience(claims: &Object) -> Result<(), ClaimsError> {
    let is_named = |value: &Value| matches!(value, Value::Text(name) if !name.is_empty());
    match claims.get("aud") {
        Some(Value::Array(names)) if !names.is_empty() && names.iter().all(is_named) => Ok(()),
        Some(name) if is_named(name) => Ok(()),
        _ => Err(ClaimsError::Missing {
            claim: "aud",
            expected: "a text or a list of texts, none of them empty",
        }),
    }
}

fn check_time(claims: &Object, now: u64) -> Result<(), ClaimsError> {
    let (issued, expires) = (seconds(claims, "iat")?, seconds(claims, "exp")?);
    let lifetime = expires.checked_sub(issued).filter(|&lifetime| lifetime > 0);
    lifetime.filter(|&lifetime| lifetime <= LIFETIME_MAX.as_secs()).ok_or(ClaimsError::Lifetime)?;
    if expires <= now {
        return Err(ClaimsError::Expired);
    }
    let latest = now.saturating_add(CLOCK_DRIFT_MAX.as_secs());
    let not_before = if claims.contains_key("nbf") { seconds(claims, "nbf")? } else { issued };
    if issued.max(not_before) > latest { Err(ClaimsError::InTheFuture) } else { Ok(()) }
}

fn seconds(claims: &Object, claim: &'static str) -> Result<u64, ClaimsError> {
    match claims.get(claim) {
        Some(Value::Unsigned(seconds)) => Ok(*seconds),
        _ => Err(ClaimsError::Missing { claim, expected: "whole seconds since 1970" }),
    }
}

/// Where the context is: in the claims, or for the audit.
fn bind(
    claims: &Object,
    purpose: &Purpose,
    context: &Context,
) -> Result<ContextBinding, FormatError> {
    let mut binding = ContextBinding::Bound;
    for pair in context.pairs() {
        match claims.get(pair.name()) {
            Some(claim) if is_equal(claim, pair) => {}
            Some(_) => return Err(FormatError::ContextMismatch),
            None => binding = unbound(purpose, context)?,
        }
    }
    Ok(binding)
}

fn is_equal(claim: &Value, pair: &Pair) -> bool {
    matches!(claim, Value::Text(text) if text == pair.value())
}

#[cfg(test)]
mod tests;
