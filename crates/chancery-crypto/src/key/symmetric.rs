//! Keys without a public half: MAC, derivation and envelope keys.

use std::fmt;

use aws_lc_rs::hmac;
use chancery_core::cbor;
use chancery_core::context::Context;
use chancery_core::purpose::Purpose;
use chancery_core::suite::Suite;
use minicbor::Encode;
use zeroize::Zeroizing;

use super::algorithm::SECRET_BYTES;
use crate::labels;
use crate::primitive::{Hkdf, PrimitiveError, equal};

/// The most bytes that one derivation gives: 64, enough for two AES-256 keys or one HMAC-SHA-512 key.
pub const DERIVED_BYTES_MAX: usize = 64;

/// The tag is not one of this key over this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message authentication code is not valid")]
pub struct BadTag;

/// A key that authenticates messages with HMAC (RFC 2104).
pub struct MacKey {
    suite: Suite,
    key: hmac::Key,
    secret: Zeroizing<Box<[u8]>>,
}

impl MacKey {
    /// Invariant: `secret` is as long as the algorithm's tag; the caller has checked it.
    pub(super) fn new(suite: Suite, algorithm: hmac::Algorithm, secret: &[u8]) -> Self {
        Self {
            suite,
            key: hmac::Key::new(algorithm, secret),
            secret: Zeroizing::new(secret.into()),
        }
    }

    /// The suite, one of the three of HMAC.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    pub(super) fn expose_secret(&self) -> &[u8] {
        &self.secret
    }

    /// `HMAC[key](parts)`, the parts concatenated as they are, untruncated.
    ///
    /// # Security
    ///
    /// Where one part ends is not authenticated; what is passed here is a frame that says so itself.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }

    /// Verifies a tag, in a time that does not depend on where it differs.
    ///
    /// # Errors
    ///
    /// [`BadTag`] if the tag is another, a shortened one included.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> Result<(), BadTag> {
        if equal(&self.mac(parts), tag) { Ok(()) } else { Err(BadTag) }
    }
}

/// What a derivation is bound to, as it stands in the info.
#[derive(Encode)]
#[cbor(array)]
struct Derivation<'a> {
    #[n(0)]
    purpose: &'a Purpose,
    #[n(1)]
    context: &'a Context,
    #[n(2)]
    length: u64,
}

/// No key of this length can be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeriveError {
    /// The length is zero or above the limit.
    #[error("a derived key has 1 to {DERIVED_BYTES_MAX} bytes; {found} were asked for")]
    Length {
        /// How many were asked for.
        found: usize,
    },
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] PrimitiveError),
}

/// A key from which others are derived with HKDF-SHA-256 (RFC 5869).
pub struct DeriveKey(pub(super) Box<Zeroizing<[u8; SECRET_BYTES]>>);

impl DeriveKey {
    /// `HKDF-SHA-256[none, label ‖ [purpose, context, length]](key, length)`.
    ///
    /// The key is uniform, so that no salt is needed (RFC 5869, 3.1). The length stands in the info, so that
    /// a shorter output is no prefix of a longer one.
    ///
    /// # Errors
    ///
    /// [`DeriveError`] if the length is not one that is derived.
    pub fn derive(
        &self,
        purpose: &Purpose,
        context: &Context,
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, DeriveError> {
        let number = u64::try_from(length).unwrap_or(u64::MAX);
        if length == 0 || length > DERIVED_BYTES_MAX {
            return Err(DeriveError::Length { found: length });
        }
        let bound = cbor::encode(&Derivation { purpose, context, length: number });
        let mut derived = Zeroizing::new(vec![0; length]);
        Hkdf { ikm: &self.0[..], salt: &[], info: &[labels::HKDF_DERIVE, &bound] }
            .sha256(&mut derived)?;
        Ok(derived)
    }
}

/// A key under which data is encrypted in envelopes; see [`crate::envelope`].
pub struct EnvelopeKey(pub(crate) Box<Zeroizing<[u8; SECRET_BYTES]>>);

macro_rules! redacted {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )*};
}

redacted!(DeriveKey, EnvelopeKey, MacKey);
