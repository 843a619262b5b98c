//! Reads what a PKCS#8 file says it is, before the provider parses it.
//!
//! Follows RFC 5958, section 2. The provider says whether a key is sound; this module says which type it
//! has, so that a file of another type is refused with both names, and that nothing follows the key.

use chancery_core::suite::Suite;

use super::algorithm::Algorithm;
use crate::der::{INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE};

/// id-ecPublicKey (RFC 5480, 2.1.1); the curve stands in the parameters.
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// Object identifiers of key types and, for elliptic curves, of the curves; with the names people use.
const TYPES: [(&[u8], &str); 13] = [
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], "RSA"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "RSA restricted to PSS"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "ECDSA on P-256"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x22], "ECDSA on P-384"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "ECDSA on P-521"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x0a], "ECDSA on secp256k1"),
    (&[0x2b, 0x65, 0x6e], "X25519"),
    (&[0x2b, 0x65, 0x6f], "X448"),
    (&[0x2b, 0x65, 0x70], "Ed25519"),
    (&[0x2b, 0x65, 0x71], "Ed448"),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11], "ML-DSA-44"),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12], "ML-DSA-65"),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x13], "ML-DSA-87"),
];

/// A file taken apart.
pub(super) struct Pkcs8<'d> {
    /// The name of the key's type.
    pub(super) key_type: &'static str,
    /// The content of `privateKey`, whose form is the type's own.
    pub(super) private_key: &'d [u8],
}

impl<'d> Pkcs8<'d> {
    /// Takes `bytes` apart; none if they are not one PKCS#8 structure with nothing after it.
    pub(super) fn parse(bytes: &'d [u8]) -> Option<Self> {
        let mut outer = Reader(bytes);
        let mut info = outer.inner(SEQUENCE)?;
        let is_known_version = matches!(info.element(INTEGER)?, [0 | 1]);
        let mut algorithm = info.inner(SEQUENCE)?;
        let private_key = info.element(OCTET_STRING)?;
        let key_type = type_name(&mut algorithm)?;
        (is_known_version && outer.is_empty()).then_some(Self { key_type, private_key })
    }
}

fn type_name(algorithm: &mut Reader<'_>) -> Option<&'static str> {
    let mut identifier = algorithm.element(OBJECT_IDENTIFIER)?;
    if identifier == EC_PUBLIC_KEY {
        identifier = algorithm.element(OBJECT_IDENTIFIER).unwrap_or(identifier);
    }
    let row = TYPES.iter().find(|(bytes, _)| *bytes == identifier);
    Some(row.map_or("an unknown type", |(_, name)| name))
}

/// The name of the type that keys of `suite` have in PKCS#8; none for a suite without one.
pub(super) fn expected_type(suite: Suite) -> Option<&'static str> {
    Some(match suite {
        Suite::Ed25519 => "Ed25519",
        Suite::EcdsaP256 => "ECDSA on P-256",
        Suite::EcdsaP384 => "ECDSA on P-384",
        Suite::MlDsa44 => "ML-DSA-44",
        Suite::MlDsa65 => "ML-DSA-65",
        Suite::MlDsa87 => "ML-DSA-87",
        _ if matches!(Algorithm::of(suite), Some(Algorithm::Rsa(..))) => "RSA",
        _ => return None,
    })
}

/// The seed in an ML-DSA private key: `seed [0]`, or the first part of `both` (RFC 9881, 6).
pub(super) fn ml_dsa_seed(private_key: &[u8]) -> Option<&[u8]> {
    const SEED: u8 = 0x80; // [0] IMPLICIT OCTET STRING
    let mut reader = Reader(private_key);
    reader.element(SEED).or_else(|| reader.inner(SEQUENCE)?.element(OCTET_STRING))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expected_type_stands_in_the_table() {
        let rows = chancery_core::suite::SUITES.iter();
        let names: Vec<_> = rows.filter_map(|row| expected_type(row.suite)).collect();
        assert_eq!(names.len(), 10);
        assert!(names.iter().all(|name| TYPES.iter().any(|(_, row)| row == name)));
    }

    #[test]
    fn a_seed_is_found_alone_and_before_the_expanded_key() {
        assert_eq!(ml_dsa_seed(&[0x80, 2, 7, 8]), Some(&[7, 8][..]));
        assert_eq!(ml_dsa_seed(&[0x30, 6, 4, 1, 7, 4, 1, 9]), Some(&[7][..]));
        assert_eq!(ml_dsa_seed(&[0x04, 2, 7, 8]), None);
    }
}
