//! The software keys: made, imported, stored and used, one suite for life.
//!
//! Signatures are those of Ed25519 (RFC 8032, pure), ECDSA with fixed-length `r ‖ s` (FIPS 186-5; hedged:
//! the provider mixes fresh randomness into the nonce), RSASSA-PSS with SHA-256 and a salt of 32 bytes and
//! RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.1 and 8.2), and ML-DSA with the empty context, hedged
//! (FIPS 204, 5.2). The stored form of a private key is its shortest: the seed for Ed25519 and ML-DSA, the
//! scalar for ECDSA, PKCS#8 for RSA, the bytes themselves for the rest.
//!
//! **Invariant:** a key signs, authenticates, derives or encrypts by its suite alone; asking it for anything
//! else is an error or `None`, never another algorithm.
//!
//! What is signed is not decided here but in [`crate::formats`]. Where the stored form lies, and under what
//! it is sealed, is not known here either. The provider keeps parsed keys on its own heap and clears them
//! when they are dropped.

mod algorithm;
mod pair;
mod pkcs8;
mod public;
mod symmetric;

use std::fmt;

use chancery_core::suite::Suite;
use zeroize::Zeroizing;

use self::algorithm::Algorithm;
use self::pair::Pair;
pub use self::public::{BadSignature, PUBLIC_KEY_BYTES_MAX, PublicKey, PublicKeyError};
pub use self::symmetric::{BadTag, DERIVED_BYTES_MAX, DeriveError, DeriveKey, EnvelopeKey, MacKey};
use crate::primitive::{PrimitiveError, random};

/// The longest PKCS#8 file that is parsed, in bytes: 8 KiB. One of RSA-4096 has about 2.4 KiB, one of
/// ML-DSA-87 with seed and expanded key about 5 KiB.
pub const PKCS8_BYTES_MAX: usize = 8 * 1024;

/// A private or secret key of one suite.
pub struct PrivateKey {
    suite: Suite,
    material: Material,
}

enum Material {
    Derive(DeriveKey),
    Envelope(EnvelopeKey),
    Mac(Box<MacKey>),
    Sign { pair: Pair, public: PublicKey },
}

/// No key could be made of the bytes, or no bytes of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The stored form has another length than keys of this suite have.
    #[error("a stored `{suite}` key has {expected} bytes; this has {found}")]
    Length {
        /// The suite.
        suite: Suite,
        /// How many bytes its stored form has.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// The provider failed, for instance for want of memory or entropy.
    #[error(transparent)]
    Provider(#[from] PrimitiveError),
    /// The public half is not one of the suite.
    #[error(transparent)]
    Public(#[from] PublicKeyError),
    /// The bytes are no key of this suite.
    #[error("the bytes are no `{suite}` key")]
    Rejected {
        /// The suite.
        suite: Suite,
    },
    /// This version does not serve the suite.
    #[error("`{suite}` keys are not served by this version")]
    Unserved {
        /// The suite.
        suite: Suite,
    },
}

/// The file cannot be imported as a key of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The key is damaged, or its halves do not belong together.
    #[error("the file holds no consistent {key_type} key")]
    Inconsistent {
        /// The type that the file says.
        key_type: &'static str,
    },
    /// The key is good by itself and not of the suite.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file is not in the form that is imported.
    #[error(
        "the file is not one unencrypted PKCS#8 key in DER; convert it with `openssl pkcs8 -topk8 -nocrypt -outform DER`"
    )]
    NotPkcs8,
    /// The suite has no PKCS#8 form.
    #[error("`{suite}` keys are imported as plain bytes, not as PKCS#8")]
    NotAsymmetric {
        /// The suite that was asked for.
        suite: Suite,
    },
    /// The file has the expanded ML-DSA key alone, from which its seed cannot be found.
    #[error("the ML-DSA file has no seed; export it again with the seed")]
    NoSeed,
    /// The file is too long to be a key.
    #[error("a PKCS#8 file has at most {PKCS8_BYTES_MAX} bytes; this has {found}")]
    TooLarge {
        /// How many bytes it has.
        found: usize,
    },
    /// The file holds a key of another type.
    #[error("the file holds a key of type {found}; this algorithm takes {expected}")]
    WrongType {
        /// The type that the suite takes.
        expected: &'static str,
        /// The type in the file.
        found: &'static str,
    },
}

/// No signature was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// A fresh signature did not verify: a fault in the machine, or in the key. Nothing was released.
    #[error("a fresh signature did not verify, and was discarded")]
    Fault,
    /// The suite does not sign.
    #[error("`{suite}` keys do not sign")]
    NotASigningKey {
        /// The suite.
        suite: Suite,
    },
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] PrimitiveError),
}

impl PrivateKey {
    /// Makes a fresh key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the provider cannot.
    pub fn generate(suite: Suite) -> Result<Self, KeyError> {
        let algorithm = Algorithm::of(suite).ok_or(KeyError::Unserved { suite })?;
        let Some(length) = algorithm.plain_secret_bytes() else {
            return Self::with_pair(suite, Pair::generate(algorithm)?);
        };
        let mut secret = Zeroizing::new(vec![0; length]);
        random(&mut secret)?;
        Self::from_secret(suite, &secret)
    }

    /// Takes a key in its stored form, as [`Self::expose_secret`] gives it.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the bytes are not that of a key of `suite`.
    pub fn from_secret(suite: Suite, secret: &[u8]) -> Result<Self, KeyError> {
        let algorithm = Algorithm::of(suite).ok_or(KeyError::Unserved { suite })?;
        if let Some(expected) =
            algorithm.plain_secret_bytes().filter(|&length| length != secret.len())
        {
            return Err(KeyError::Length { suite, expected, found: secret.len() });
        }
        let material = match algorithm {
            Algorithm::Derive => Material::Derive(DeriveKey(boxed(suite, secret)?)),
            Algorithm::Envelope => Material::Envelope(EnvelopeKey(boxed(suite, secret)?)),
            Algorithm::Mac(algorithm) => {
                Material::Mac(Box::new(MacKey::new(suite, algorithm, secret)))
            }
            Algorithm::Ecdsa(_) | Algorithm::Ed25519 | Algorithm::MlDsa(_) | Algorithm::Rsa(..) => {
                let pair =
                    Pair::from_secret(algorithm, secret).ok_or(KeyError::Rejected { suite })?;
                return Self::with_pair(suite, pair);
            }
        };
        Ok(Self { suite, material })
    }

    /// Takes a signing key out of an unencrypted PKCS#8 file in DER (RFC 5958).
    ///
    /// The provider checks that the private half belongs to the public one: for RSA all of the relations
    /// between the factors and the exponents, for the rest the public key where the file has it.
    ///
    /// # Errors
    ///
    /// [`ImportError`] says what the file is and what the suite takes.
    pub fn from_pkcs8(suite: Suite, file: &[u8]) -> Result<Self, ImportError> {
        let expected = pkcs8::expected_type(suite).ok_or(ImportError::NotAsymmetric { suite })?;
        if file.len() > PKCS8_BYTES_MAX {
            return Err(ImportError::TooLarge { found: file.len() });
        }
        let parts = pkcs8::Pkcs8::parse(file).ok_or(ImportError::NotPkcs8)?;
        if parts.key_type != expected {
            return Err(ImportError::WrongType { expected, found: parts.key_type });
        }
        let algorithm = Algorithm::of(suite).ok_or(ImportError::NotAsymmetric { suite })?;
        let pair = Pair::from_pkcs8(algorithm, file)
            .ok_or(ImportError::Inconsistent { key_type: expected })?;
        if !pair.has_seed() {
            return Err(ImportError::NoSeed);
        }
        Ok(Self::with_pair(suite, pair)?)
    }

    fn with_pair(suite: Suite, pair: Pair) -> Result<Self, KeyError> {
        let spki = pair.spki().ok_or(PrimitiveError)?;
        let public = PublicKey::from_spki(suite, &spki)?;
        Ok(Self { suite, material: Material::Sign { pair, public } })
    }

    /// The suite.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The public half, for the suites that have one.
    #[must_use]
    pub fn public(&self) -> Option<&PublicKey> {
        match &self.material {
            Material::Sign { public, .. } => Some(public),
            _ => None,
        }
    }

    /// The MAC key, for the HMAC suites.
    #[must_use]
    pub fn mac_key(&self) -> Option<&MacKey> {
        match &self.material {
            Material::Mac(key) => Some(key),
            _ => None,
        }
    }

    /// The derivation key, for the HKDF suite.
    #[must_use]
    pub fn derive_key(&self) -> Option<&DeriveKey> {
        match &self.material {
            Material::Derive(key) => Some(key),
            _ => None,
        }
    }

    /// The envelope key, for the AES suite.
    #[must_use]
    pub fn envelope_key(&self) -> Option<&EnvelopeKey> {
        match &self.material {
            Material::Envelope(key) => Some(key),
            _ => None,
        }
    }

    /// The stored form, in clear.
    ///
    /// # Security
    ///
    /// For sealing into the store alone.
    ///
    /// # Errors
    ///
    /// [`KeyError::Provider`] if the provider cannot encode the key.
    pub fn expose_secret(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        match &self.material {
            Material::Derive(key) => Ok(Zeroizing::new(key.0.to_vec())),
            Material::Envelope(key) => Ok(Zeroizing::new(key.0.to_vec())),
            Material::Mac(key) => Ok(Zeroizing::new(key.expose_secret().to_vec())),
            Material::Sign { pair, .. } => Ok(pair.expose_secret().ok_or(PrimitiveError)?),
        }
    }

    /// Signs a message.
    ///
    /// # Errors
    ///
    /// [`SignError`] if the key does not sign, or the provider cannot.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let Material::Sign { pair, .. } = &self.material else {
            return Err(SignError::NotASigningKey { suite: self.suite });
        };
        Ok(pair.sign(message).ok_or(PrimitiveError)?)
    }

    /// Signs a message, and verifies the signature before it is returned.
    ///
    /// A signature spoilt by a fault can give away a factor of an RSA modulus or the scalar behind a
    /// deterministic nonce; one that verifies gives away nothing.
    ///
    /// # Errors
    ///
    /// [`SignError::Fault`] if the fresh signature does not verify, else as [`Self::sign`].
    pub fn sign_and_verify(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.sign(message)?;
        let public = self.public().ok_or(SignError::NotASigningKey { suite: self.suite })?;
        public.verify(message, &signature).map_err(|BadSignature| SignError::Fault)?;
        Ok(signature)
    }
}

/// Copies a plain secret into a box that is cleared when it is dropped.
fn boxed<const N: usize>(suite: Suite, secret: &[u8]) -> Result<Box<Zeroizing<[u8; N]>>, KeyError> {
    let error = KeyError::Length { suite, expected: N, found: secret.len() };
    let mut copy = Box::new(Zeroizing::new([0; N]));
    copy.copy_from_slice(secret.first_chunk::<N>().filter(|_| secret.len() == N).ok_or(error)?);
    Ok(copy)
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, redacted)", self.suite)
    }
}

#[cfg(test)]
mod tests;
