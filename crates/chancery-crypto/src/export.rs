//! Public halves in the forms that others read: PEM, JWK and OpenSSH.
//!
//! | form | specification | suites |
//! |---|---|---|
//! | PEM | RFC 7468, 13: a `SubjectPublicKeyInfo` | all that sign |
//! | JWK | RFC 7517; RFC 7518, 6 (EC, RSA); RFC 8037, 2 (OKP); RFC 9964 (AKP) | all that sign |
//! | OpenSSH | RFC 4253, 6.6; RFC 5656, 3.1; RFC 8709, 4 | Ed25519, ECDSA, RSASSA-PKCS1-v1_5 |
//!
//! PEM and OpenSSH name the type of a key and not its algorithm; a JWK names both. A suite whose signatures
//! a form's readers do not verify is refused in that form.
//!
//! Nothing here can hold a private half.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chancery_core::suite::Suite;

use crate::der::RsaPublic;
use crate::formats::KeyVersion;
use crate::key::PublicKey;

/// Characters of base64 in one line of PEM (RFC 7468, 2).
const PEM_LINE_BYTES: usize = 64;

/// The key has no such form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// OpenSSH does not verify what keys of this suite sign.
    #[error("OpenSSH has no form for `{suite}` keys; export it as `pem` or `jwk`")]
    NoOpenSshForm {
        /// The suite.
        suite: Suite,
    },
    /// JOSE has no name for the suite.
    #[error("JOSE has no form for `{suite}` keys; export it as `pem`")]
    NoJwkForm {
        /// The suite.
        suite: Suite,
    },
}

/// The public half as PEM, ending in a line feed.
#[must_use]
pub fn pem(key: &PublicKey) -> String {
    let base64 = STANDARD.encode(key.spki());
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE_BYTES));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    pem
}

/// The public half as one JWK for signatures, its members sorted, no white space.
///
/// # Errors
///
/// [`ExportError::NoJwkForm`] if JOSE has no name for the suite.
pub fn jwk(key: &PublicKey, version: KeyVersion) -> Result<String, ExportError> {
    let mut members = own_members(key).ok_or(ExportError::NoJwkForm { suite: key.suite() })?;
    members.push(("kid", version.to_string()));
    members.push(("use", "sig".into()));
    Ok(object(members))
}

/// Public halves as a JWK Set (RFC 7517, 5), in the order given.
///
/// # Errors
///
/// [`ExportError::NoJwkForm`] if JOSE has no name for the suite of one of them.
pub fn jwks<'a>(
    keys: impl IntoIterator<Item = (&'a PublicKey, KeyVersion)>,
) -> Result<String, ExportError> {
    let keys: Result<Vec<_>, _> =
        keys.into_iter().map(|(key, version)| jwk(key, version)).collect();
    Ok(format!(r#"{{"keys":[{}]}}"#, keys?.join(",")))
}

type Member = (&'static str, String);

/// The members that say type, algorithm and value.
fn own_members(key: &PublicKey) -> Option<Vec<Member>> {
    let value = key.subject_public_key();
    let mut members = match key.suite() {
        Suite::Ed25519 => {
            vec![
                ("kty", "OKP".into()),
                ("crv", "Ed25519".into()),
                ("x", URL_SAFE_NO_PAD.encode(value)),
            ]
        }
        Suite::EcdsaP256 => point("P-256", value)?,
        Suite::EcdsaP384 => point("P-384", value)?,
        Suite::MlDsa44 | Suite::MlDsa65 | Suite::MlDsa87 => {
            vec![("kty", "AKP".into()), ("pub", URL_SAFE_NO_PAD.encode(value))]
        }
        _ => rsa(value)?,
    };
    members.push(("alg", key.suite().properties().jose?.into()));
    Some(members)
}

/// `04 ‖ x ‖ y` (SEC 1, 2.3.3), the coordinates of equal length.
fn point(curve: &str, uncompressed: &[u8]) -> Option<Vec<Member>> {
    let coordinates = uncompressed.strip_prefix(&[0x04])?;
    let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
    let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
    Some(vec![("kty", "EC".into()), ("crv", curve.into()), ("x", x), ("y", y)])
}

/// RFC 7518, 6.3.1: unsigned, big-endian, "MUST utilize the minimum number of octets".
fn rsa(key: &[u8]) -> Option<Vec<Member>> {
    let RsaPublic { modulus, exponent } = RsaPublic::parse(key)?;
    let [n, e] = [modulus, exponent].map(|number| URL_SAFE_NO_PAD.encode(number));
    Some(vec![("kty", "RSA".into()), ("n", n), ("e", e)])
}

/// No name or value here has a character that JSON escapes: names of JOSE, base64, a key id with a number.
fn object(mut members: Vec<Member>) -> String {
    members.sort_unstable();
    let mut json = String::from("{");
    for (position, (name, value)) in members.iter().enumerate() {
        let separator = if position == 0 { "" } else { "," };
        // Writing to a `String` has no way to fail.
        let _ = write!(json, r#"{separator}"{name}":"{value}""#);
    }
    json.push('}');
    json
}

/// The public half as one line of an OpenSSH `authorized_keys` or `allowed_signers` file, without a comment
/// and without a line feed.
///
/// # Errors
///
/// [`ExportError::NoOpenSshForm`] for ML-DSA, which OpenSSH does not have, and for RSASSA-PSS, whose
/// signatures it does not verify.
pub fn openssh(key: &PublicKey) -> Result<String, ExportError> {
    let error = ExportError::NoOpenSshForm { suite: key.suite() };
    let name = ssh_name(key.suite()).ok_or(error)?;
    let public = ssh_public(key.suite(), key.subject_public_key()).ok_or(error)?;
    Ok(format!("{name} {}", STANDARD.encode(public)))
}

/// What OpenSSH calls keys of a suite.
fn ssh_name(suite: Suite) -> Option<&'static str> {
    Some(match suite {
        Suite::Ed25519 => "ssh-ed25519",
        Suite::EcdsaP256 => "ecdsa-sha2-nistp256",
        Suite::EcdsaP384 => "ecdsa-sha2-nistp384",
        Suite::RsaPkcs1Sha256With3072 | Suite::RsaPkcs1Sha256With4096 => "ssh-rsa",
        _ => return None,
    })
}

/// A public half in OpenSSH's own form: the name, and what `subjectPublicKey` holds.
pub(crate) fn ssh_public(suite: Suite, value: &[u8]) -> Option<Vec<u8>> {
    let name = ssh_name(suite)?;
    let fields = match suite {
        Suite::Ed25519 => string(value),
        Suite::EcdsaP256 => [string(b"nistp256"), string(value)].concat(),
        Suite::EcdsaP384 => [string(b"nistp384"), string(value)].concat(),
        _ => {
            let RsaPublic { modulus, exponent } = RsaPublic::parse(value)?;
            [mpint(exponent), mpint(modulus)].concat()
        }
    };
    Some([string(name.as_bytes()), fields].concat())
}

/// `string` of RFC 4251, 5.
pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    // Public keys have at most 4 KiB.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// `mpint` of RFC 4251, 5: with a leading zero where the first bit is set.
pub(crate) fn mpint(magnitude: &[u8]) -> Vec<u8> {
    let needs_zero = magnitude.first().is_some_and(|first| first & 0x80 != 0);
    if needs_zero { string(&[&[0], magnitude].concat()) } else { string(magnitude) }
}

#[cfg(test)]
mod tests {
    use chancery_core::id::KeyId;

    use super::*;
    use crate::key::PrivateKey;
    use crate::primitive::sha256;

    /// Files that the command-line tools made of one key.
    struct Files {
        suite: Suite,
        spki: &'static [u8],
        pem: &'static str,
        openssh: &'static str,
        jwk: &'static str,
    }

    macro_rules! files {
        ($suite:ident, $name:literal) => {
            Files {
                suite: Suite::$suite,
                spki: include_bytes!(concat!("../vectors/export/", $name, ".spki.der")),
                pem: include_str!(concat!("../vectors/export/", $name, ".pem")),
                openssh: include_str!(concat!("../vectors/export/", $name, ".pub")),
                jwk: include_str!(concat!("../vectors/export/", $name, ".jwk")),
            }
        };
    }

    const FILES: [Files; 5] = [
        files!(Ed25519, "ed25519"),
        files!(EcdsaP256, "ecdsa-p256"),
        files!(EcdsaP384, "ecdsa-p384"),
        files!(RsaPkcs1Sha256With3072, "rsa-3072"),
        files!(RsaPkcs1Sha256With4096, "rsa-4096"),
    ];

    const VERSION: KeyVersion = KeyVersion { key: KeyId::from_bytes([0x11; 16]), version: 3 };

    #[test]
    fn exported_forms_are_those_of_openssl_and_ssh_keygen() {
        for files in FILES {
            let key = PublicKey::from_spki(files.suite, files.spki).unwrap();
            assert_eq!(pem(&key), files.pem, "{}", files.suite);
            assert_eq!(openssh(&key).unwrap(), files.openssh.trim(), "{}", files.suite);
            assert_eq!(jwk(&key, VERSION).unwrap(), files.jwk.trim(), "{}", files.suite);
        }
    }

    #[test]
    fn an_ed25519_jwk_is_that_of_rfc_8037() {
        // RFC 8037, A.1 and A.2.
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let key = PrivateKey::from_secret(Suite::Ed25519, &seed).unwrap();
        let jwk = jwk(key.public().unwrap(), VERSION).unwrap();
        assert!(jwk.contains(r#""x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#));
    }

    #[test]
    fn ml_dsa_keys_are_akp_keys_with_their_published_thumbprint() {
        let key = PrivateKey::from_secret(Suite::MlDsa44, &[0; 32]).unwrap();
        let members = own_members(key.public().unwrap()).unwrap();
        assert_eq!(
            members.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["kty", "pub", "alg"]
        );
        let thumbprint = URL_SAFE_NO_PAD.encode(sha256(&[object(members).as_bytes()]));
        assert_eq!(thumbprint, "T4xl70S7MT6Zeq6r9V9fPJGVn76wfnXJ21-gyo0Gu6o");
    }

    #[test]
    fn the_algorithm_of_an_rsa_jwk_is_that_of_the_suite() {
        let spki = FILES[3].spki;
        let alg = |suite| jwk(&PublicKey::from_spki(suite, spki).unwrap(), VERSION).unwrap();
        assert!(alg(Suite::RsaPss3072).contains(r#""alg":"PS256""#));
        assert!(alg(Suite::RsaPkcs1Sha256With3072).contains(r#""alg":"RS256""#));
    }

    #[test]
    fn a_set_holds_its_keys_in_order() {
        let keys: Vec<_> = FILES
            .iter()
            .map(|files| PublicKey::from_spki(files.suite, files.spki).unwrap())
            .collect();
        let set = jwks(keys.iter().map(|key| (key, VERSION))).unwrap();
        let expected: Vec<_> = FILES.iter().map(|files| files.jwk.trim()).collect();
        assert_eq!(set, format!(r#"{{"keys":[{}]}}"#, expected.join(",")));
        assert_eq!(jwks([]).unwrap(), r#"{"keys":[]}"#);
    }

    #[test]
    fn suites_that_openssh_does_not_verify_are_refused() {
        for suite in [Suite::MlDsa44, Suite::MlDsa65, Suite::MlDsa87] {
            let key = PrivateKey::generate(suite).unwrap();
            let error = openssh(key.public().unwrap()).unwrap_err();
            assert_eq!(error, ExportError::NoOpenSshForm { suite });
        }
        let pss = PublicKey::from_spki(Suite::RsaPss3072, FILES[3].spki).unwrap();
        assert_eq!(
            openssh(&pss).unwrap_err().to_string(),
            "OpenSSH has no form for `rsa-pss-3072` keys; export it as `pem` or `jwk`"
        );
    }
}
