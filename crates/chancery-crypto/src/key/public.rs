//! The public half of a key version: what verifies its signatures.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::ParsedPublicKey;
use chancery_core::suite::Suite;

use super::algorithm::{modulus_bits, verification};
use crate::der::{self, RsaPublic};
use crate::primitive::sha256;

/// The longest `SubjectPublicKeyInfo`, in bytes: 4 KiB. That of ML-DSA-87, the longest, has 2 614.
pub const PUBLIC_KEY_BYTES_MAX: usize = 4 * 1024;

/// The smallest public exponent of RSA (FIPS 186-5, A.1.1: 2^16 < e).
const RSA_EXPONENT_MIN: u64 = 65_537;
/// The largest public exponent of RSA: 33 bits, the most that the provider takes.
const RSA_EXPONENT_MAX: u64 = (1 << 33) - 1;

/// The bytes are not a public key of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// The bytes are not a key of this suite in its one DER encoding.
    #[error("not the DER encoding of an `{suite}` public key")]
    Malformed {
        /// The suite that was asked for.
        suite: Suite,
    },
    /// The suite has no public half.
    #[error("`{suite}` keys have no public half")]
    NoPublicHalf {
        /// The suite that was asked for.
        suite: Suite,
    },
    /// The public exponent is even, under 65537 or longer than 33 bits.
    #[error("an RSA public exponent is odd, at least 65537 and of at most 33 bits")]
    RsaExponent,
    /// The modulus has another length than the suite says.
    #[error("the RSA modulus has {found} bits; this algorithm takes {expected}")]
    RsaModulus {
        /// Its length by the suite, in bits.
        expected: usize,
        /// Its length, in bits.
        found: usize,
    },
    /// The bytes are too many to be a key.
    #[error("a public key has at most {PUBLIC_KEY_BYTES_MAX} bytes; this has {found}")]
    TooLarge {
        /// How many there are.
        found: usize,
    },
}

/// The signature is not one of this key over this message.
///
/// It does not say why: a signature is good or it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not valid")]
pub struct BadSignature;

/// A public key with its suite, ready to verify.
///
/// # Security
///
/// Ed25519 signatures are verified without cofactor, `[S]B = R + [k]A` (RFC 8032, 5.1.7, the stricter of the
/// two equations there). `S` must be below the group order; `R` is compared as bytes; an encoding of `R` or
/// `A` that is not canonical is refused. Public keys of small order are not refused: a key enters through its
/// registration, and is not chosen by whoever makes a signature. Verifiers with the cofactor accept some
/// signatures that this one refuses, under keys with a component of small order, which no honest signer has.
///
/// An ECDSA signature `(r, s)` has a twin `(r, n − s)` that verifies too (FIPS 186-5 allows both): a signature
/// names a message, and its bytes name nothing.
#[derive(Clone)]
pub struct PublicKey {
    suite: Suite,
    /// Invariant: `parsed.as_ref()` is the `SubjectPublicKeyInfo` in the one DER encoding that it has.
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// Takes the DER encoding of a `SubjectPublicKeyInfo` (RFC 5280, 4.1).
    ///
    /// The key is decoded, encoded again and compared: compressed points, other spellings of the algorithm,
    /// raw keys and trailing bytes are refused.
    ///
    /// # Errors
    ///
    /// [`PublicKeyError`] if the bytes are anything but a key of `suite`.
    pub fn from_spki(suite: Suite, spki: &[u8]) -> Result<Self, PublicKeyError> {
        let algorithm = verification(suite).ok_or(PublicKeyError::NoPublicHalf { suite })?;
        if spki.len() > PUBLIC_KEY_BYTES_MAX {
            return Err(PublicKeyError::TooLarge { found: spki.len() });
        }
        let malformed = PublicKeyError::Malformed { suite };
        let parsed = ParsedPublicKey::new(algorithm, spki).map_err(|_| malformed)?;
        let again: PublicKeyX509Der<'_> = parsed.as_der().map_err(|_| malformed)?;
        if again.as_ref() != spki {
            return Err(malformed);
        }
        check_rsa(suite, spki)?;
        Ok(Self { suite, parsed })
    }

    /// The suite, which says how signatures are verified.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The DER encoding of its `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        self.parsed.as_ref()
    }

    /// `SHA-256(SubjectPublicKeyInfo)`: names the key whatever its suite.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&[self.spki()])
    }

    /// Verifies a signature over a message.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] if this key did not make it over exactly this message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.parsed.verify_sig(message, signature).map_err(|_| BadSignature)
    }

    /// The key itself, without the name of its algorithm: `subjectPublicKey` (RFC 5280, 4.1).
    pub(crate) fn subject_public_key(&self) -> &[u8] {
        der::subject_public_key(self.spki()).unwrap_or_default()
    }
}

fn check_rsa(suite: Suite, spki: &[u8]) -> Result<(), PublicKeyError> {
    let Some(expected) = modulus_bits(suite) else { return Ok(()) };
    let key = der::subject_public_key(spki).and_then(RsaPublic::parse);
    let key = key.ok_or(PublicKeyError::Malformed { suite })?;
    if key.modulus_bits() != expected {
        return Err(PublicKeyError::RsaModulus { expected, found: key.modulus_bits() });
    }
    let is_good = |e: u64| e % 2 == 1 && (RSA_EXPONENT_MIN..=RSA_EXPONENT_MAX).contains(&e);
    key.exponent_number().filter(|&e| is_good(e)).map(|_| ()).ok_or(PublicKeyError::RsaExponent)
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.suite == other.suite && self.spki() == other.spki()
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, ", self.suite)?;
        self.fingerprint().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
