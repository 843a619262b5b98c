//! Which algorithm of the provider serves which suite.

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaSigningAlgorithm, PqdsaSigningAlgorithm, RsaEncoding, VerificationAlgorithm,
};
use chancery_core::suite::Suite;

/// The seed of Ed25519 (RFC 8032, 5.1.5) and of ML-DSA (FIPS 204, 3.6.1), and an AES-256 or HKDF key, in bytes.
pub(super) const SECRET_BYTES: usize = 32;

/// What makes and uses the private keys of one suite.
#[derive(Clone, Copy)]
pub(super) enum Algorithm {
    Derive,
    Ecdsa(&'static EcdsaSigningAlgorithm),
    Ed25519,
    Envelope,
    Mac(hmac::Algorithm),
    MlDsa(&'static PqdsaSigningAlgorithm),
    Rsa(KeySize, &'static dyn RsaEncoding),
}

impl Algorithm {
    /// That of `suite`; none for a suite that this version does not serve.
    pub(super) fn of(suite: Suite) -> Option<Self> {
        Some(match suite {
            Suite::Ed25519 => Self::Ed25519,
            Suite::EcdsaP256 => Self::Ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Suite::EcdsaP384 => Self::Ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Suite::RsaPss3072 => Self::Rsa(KeySize::Rsa3072, &signature::RSA_PSS_SHA256),
            Suite::RsaPss4096 => Self::Rsa(KeySize::Rsa4096, &signature::RSA_PSS_SHA256),
            Suite::RsaPkcs1Sha256With3072 => {
                Self::Rsa(KeySize::Rsa3072, &signature::RSA_PKCS1_SHA256)
            }
            Suite::RsaPkcs1Sha256With4096 => {
                Self::Rsa(KeySize::Rsa4096, &signature::RSA_PKCS1_SHA256)
            }
            Suite::MlDsa44 => Self::MlDsa(&signature::ML_DSA_44_SIGNING),
            Suite::MlDsa65 => Self::MlDsa(&signature::ML_DSA_65_SIGNING),
            Suite::MlDsa87 => Self::MlDsa(&signature::ML_DSA_87_SIGNING),
            Suite::HmacSha256 => Self::Mac(hmac::HMAC_SHA256),
            Suite::HmacSha384 => Self::Mac(hmac::HMAC_SHA384),
            Suite::HmacSha512 => Self::Mac(hmac::HMAC_SHA512),
            Suite::HkdfSha256 => Self::Derive,
            Suite::Aes256Gcm => Self::Envelope,
            _ => return None,
        })
    }

    /// The length of a secret that is plain bytes; none where the provider makes the key.
    pub(super) fn plain_secret_bytes(self) -> Option<usize> {
        match self {
            Self::Derive | Self::Ed25519 | Self::Envelope | Self::MlDsa(_) => Some(SECRET_BYTES),
            // A key as long as the hash (RFC 2104, 3).
            Self::Mac(algorithm) => Some(algorithm.tag_len()),
            Self::Ecdsa(_) | Self::Rsa(..) => None,
        }
    }
}

/// What verifies the signatures of `suite`; none if it does not sign.
pub(super) fn verification(suite: Suite) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match suite {
        Suite::Ed25519 => &signature::ED25519,
        Suite::EcdsaP256 => &signature::ECDSA_P256_SHA256_FIXED,
        Suite::EcdsaP384 => &signature::ECDSA_P384_SHA384_FIXED,
        Suite::RsaPss3072 | Suite::RsaPss4096 => &signature::RSA_PSS_2048_8192_SHA256,
        Suite::RsaPkcs1Sha256With3072 | Suite::RsaPkcs1Sha256With4096 => {
            &signature::RSA_PKCS1_2048_8192_SHA256
        }
        Suite::MlDsa44 => &signature::ML_DSA_44,
        Suite::MlDsa65 => &signature::ML_DSA_65,
        Suite::MlDsa87 => &signature::ML_DSA_87,
        _ => return None,
    })
}

/// The modulus of `suite`, in bits; none if it is not of RSA.
pub(super) fn modulus_bits(suite: Suite) -> Option<usize> {
    match Algorithm::of(suite) {
        Some(Algorithm::Rsa(size, _)) => Some(size.len() * 8),
        _ => None,
    }
}
