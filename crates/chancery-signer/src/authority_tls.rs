//! The local authority: issues the front's short-lived TLS certificate.
//!
//! The authority's key never leaves the signer. The front makes a key at each start and asks for a
//! certificate over it; names and life are decided here, so a front gets no certificate for another host.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use zeroize::Zeroizing;

use crate::config::SignerError;

/// How long a front's certificate holds: 7 days. A front asks for a new one long before.
const CERTIFICATE_LIFE_S: i64 = 7 * 24 * 60 * 60;

/// How long the authority's own certificate holds: 10 years; it is pinned, so it is not its end that ends trust.
const AUTHORITY_LIFE_S: i64 = 10 * 365 * 24 * 60 * 60;

/// A certificate begins this long ago, for clients whose clocks are behind: 5 minutes.
const BACKDATED_S: i64 = 300;

/// An uncompressed point of P-256 (SEC 1, 2.3.3).
const P256_POINT_BYTES: usize = 65;

/// The local authority.
pub(crate) struct LocalAuthority {
    issuer: Issuer<'static, KeyPair>,
    names: Vec<String>,
}

/// A new authority: its key, and its certificate.
pub(crate) struct NewAuthority {
    pub(crate) pkcs8: Zeroizing<Vec<u8>>,
    pub(crate) pem: String,
}

/// A front's public key, as the certificate holds it.
struct FrontKey<'k>(&'k [u8]);

impl PublicKeyData for FrontKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn authority_parameters(now_s: i64) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "Chancery local authority");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    set_life(&mut parameters, now_s, AUTHORITY_LIFE_S);
    parameters
}

fn set_life(parameters: &mut CertificateParams, now_s: i64, life_s: i64) {
    let at = |s: i64| {
        time::OffsetDateTime::from_unix_timestamp(s).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    };
    parameters.not_before = at(now_s - BACKDATED_S);
    parameters.not_after = at(now_s + life_s);
}

impl LocalAuthority {
    /// Makes an authority.
    pub(crate) fn create(now_s: i64) -> Result<NewAuthority, SignerError> {
        let key =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| SignerError::Certificate)?;
        let certificate =
            authority_parameters(now_s).self_signed(&key).map_err(|_| SignerError::Certificate)?;
        Ok(NewAuthority { pkcs8: Zeroizing::new(key.serialize_der()), pem: certificate.pem() })
    }

    /// Takes an authority up again from its key.
    pub(crate) fn open(pkcs8: &[u8], names: Vec<String>) -> Result<Self, SignerError> {
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(pkcs8.to_vec());
        let key = KeyPair::try_from(&key).map_err(|_| SignerError::Certificate)?;
        // Of the authority's certificate only name and key identifier enter what it issues.
        Ok(Self { issuer: Issuer::new(authority_parameters(0), key), names })
    }

    /// A certificate in DER over a front's P-256 key.
    pub(crate) fn issue(&self, point: &[u8]) -> Option<Vec<u8>> {
        let is_point = point.len() == P256_POINT_BYTES && point.first() == Some(&4);
        let mut parameters =
            CertificateParams::new(self.names.clone()).ok().filter(|_| is_point)?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "Chancery front");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let now_s = i64::try_from(crate::entropy::sample().wall_ms / 1_000).ok()?;
        set_life(&mut parameters, now_s, CERTIFICATE_LIFE_S);
        let certificate = parameters.signed_by(&FrontKey(point), &self.issuer).ok()?;
        Some(certificate.der().to_vec())
    }
}
