//! The private half of a signing key, over the provider's types.

use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    PqdsaKeyPair, PqdsaSigningAlgorithm, RsaEncoding,
};
use zeroize::Zeroizing;

use super::algorithm::{Algorithm, SECRET_BYTES};
use super::pkcs8;
use crate::der::{OCTET_STRING, Reader};
use crate::primitive::PrimitiveError;

/// An `ECPrivateKey` around a scalar: before and after it (RFC 5915, 3; the parameters name the curve).
struct Sec1 {
    prefix: &'static [u8],
    scalar_bytes: usize,
    suffix: &'static [u8],
}

const SEC1_P256: Sec1 = Sec1 {
    prefix: &[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20],
    scalar_bytes: 32,
    suffix: &[0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
};
const SEC1_P384: Sec1 = Sec1 {
    prefix: &[0x30, 0x3e, 0x02, 0x01, 0x01, 0x04, 0x30],
    scalar_bytes: 48,
    suffix: &[0xa0, 0x07, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
};

/// A signing key.
pub(super) enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// The seed is the stored form; without it a key has none. The provider keeps the expanded key.
    MlDsa(PqdsaKeyPair, Option<Seed>),
    Rsa(rsa::KeyPair, &'static dyn RsaEncoding),
}

type Seed = Zeroizing<Box<[u8]>>;

impl Pair {
    /// Makes a fresh pair of the types whose stored form is not plain bytes.
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self, PrimitiveError> {
        match algorithm {
            Algorithm::Ecdsa(ecdsa) => {
                EcdsaKeyPair::generate(ecdsa).map(Self::Ecdsa).map_err(|_| PrimitiveError)
            }
            Algorithm::Rsa(size, padding) => {
                let pair = rsa::KeyPair::generate(size).map_err(|_| PrimitiveError)?;
                Ok(Self::Rsa(pair, padding))
            }
            _ => Err(PrimitiveError),
        }
    }

    /// Takes the stored form; none if it is no key.
    pub(super) fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Ecdsa(ecdsa) => ecdsa_from_scalar(ecdsa, secret).map(Self::Ecdsa),
            Algorithm::Ed25519 => ed25519_from_seed(secret),
            Algorithm::MlDsa(ml_dsa) => ml_dsa_from_seed(ml_dsa, secret),
            Algorithm::Rsa(_, padding) => rsa_from_pkcs8(padding, secret),
            Algorithm::Derive | Algorithm::Envelope | Algorithm::Mac(_) => None,
        }
    }

    /// Takes a PKCS#8 file; none if it is no consistent key.
    pub(super) fn from_pkcs8(algorithm: Algorithm, file: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Ecdsa(ecdsa) => EcdsaKeyPair::from_pkcs8(ecdsa, file).ok().map(Self::Ecdsa),
            Algorithm::Ed25519 => ed25519_from_pkcs8(file),
            Algorithm::MlDsa(ml_dsa) => ml_dsa_from_pkcs8(ml_dsa, file),
            Algorithm::Rsa(_, padding) => rsa_from_pkcs8(padding, file),
            Algorithm::Derive | Algorithm::Envelope | Algorithm::Mac(_) => None,
        }
    }

    /// Whether the pair has a stored form: false for an ML-DSA key that came without its seed.
    pub(super) fn has_seed(&self) -> bool {
        !matches!(self, Self::MlDsa(_, None))
    }

    /// The stored form.
    pub(super) fn expose_secret(&self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Ecdsa(pair) => {
                let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().ok()?;
                Some(Zeroizing::new(scalar.as_ref().to_vec()))
            }
            Self::Ed25519(pair) => {
                let file: Pkcs8V1Der<'_> = pair.as_der().ok()?;
                Some(Zeroizing::new(ed25519_seed(file.as_ref())?.to_vec()))
            }
            Self::MlDsa(_, seed) => seed.as_ref().map(|seed| Zeroizing::new(seed.to_vec())),
            Self::Rsa(pair, _) => {
                let file: Pkcs8V1Der<'_> = pair.as_der().ok()?;
                Some(Zeroizing::new(file.as_ref().to_vec()))
            }
        }
    }

    /// The DER encoding of the public half's `SubjectPublicKeyInfo`.
    pub(super) fn spki(&self) -> Option<Vec<u8>> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Ecdsa(pair) => pair.public_key().as_der(),
            Self::Ed25519(pair) => pair.public_key().as_der(),
            Self::MlDsa(pair, _) => pair.public_key().as_der(),
            Self::Rsa(pair, _) => pair.public_key().as_der(),
        }
        .ok()?;
        Some(der.as_ref().to_vec())
    }

    /// Signs; none if the provider fails.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Ecdsa(pair) => {
                pair.sign(&SystemRandom::new(), message).ok().map(|s| s.as_ref().to_vec())
            }
            Self::Ed25519(pair) => pair.try_sign(message).ok().map(|s| s.as_ref().to_vec()),
            Self::MlDsa(pair, _) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                let length = pair.sign(message, &mut signature).ok()?;
                (length == signature.len()).then_some(signature)
            }
            Self::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*padding, &SystemRandom::new(), message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

/// The provider finds the public point itself when an `ECPrivateKey` has none.
fn ecdsa_from_scalar(
    algorithm: &'static EcdsaSigningAlgorithm,
    scalar: &[u8],
) -> Option<EcdsaKeyPair> {
    let form = if *algorithm == ECDSA_P256_SHA256_FIXED_SIGNING { SEC1_P256 } else { SEC1_P384 };
    if scalar.len() != form.scalar_bytes {
        return None;
    }
    let der = Zeroizing::new([form.prefix, scalar, form.suffix].concat());
    EcdsaKeyPair::from_private_key_der(algorithm, &der).ok()
}

fn ed25519_from_seed(seed: &[u8]) -> Option<Pair> {
    Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Pair::Ed25519)
}

fn ed25519_from_pkcs8(file: &[u8]) -> Option<Pair> {
    // Where the file has the public key, the provider checks it against the seed.
    Ed25519KeyPair::from_pkcs8(file).ok()?;
    ed25519_seed(file).and_then(ed25519_from_seed)
}

/// RFC 8410, 7: "the private key is always an opaque byte sequence", an OCTET STRING in the other.
fn ed25519_seed(file: &[u8]) -> Option<&[u8]> {
    let mut private_key = Reader(pkcs8::Pkcs8::parse(file)?.private_key);
    private_key.element(OCTET_STRING).filter(|seed| seed.len() == SECRET_BYTES)
}

fn ml_dsa_from_seed(algorithm: &'static PqdsaSigningAlgorithm, seed: &[u8]) -> Option<Pair> {
    let pair = PqdsaKeyPair::from_seed(algorithm, seed).ok()?;
    Some(Pair::MlDsa(pair, Some(Zeroizing::new(seed.into()))))
}

fn ml_dsa_from_pkcs8(algorithm: &'static PqdsaSigningAlgorithm, file: &[u8]) -> Option<Pair> {
    // Where the file has both forms, the provider checks the one against the other.
    let pair = PqdsaKeyPair::from_pkcs8(algorithm, file).ok()?;
    let seed = pkcs8::ml_dsa_seed(pkcs8::Pkcs8::parse(file)?.private_key);
    match seed.filter(|seed| seed.len() == SECRET_BYTES) {
        Some(seed) => ml_dsa_from_seed(algorithm, seed),
        None => Some(Pair::MlDsa(pair, None)),
    }
}

fn rsa_from_pkcs8(padding: &'static dyn RsaEncoding, file: &[u8]) -> Option<Pair> {
    let parts = pkcs8::Pkcs8::parse(file)?;
    let pair = rsa::KeyPair::from_pkcs8(file).ok()?;
    (parts.key_type == "RSA").then_some(Pair::Rsa(pair, padding))
}
