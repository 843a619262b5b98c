//! A private key, sealed to the one-time key that the signer made for its import.
//!
//! ```text
//! sealed = enc (32) ‖ HPKE.Seal[DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM](
//!              info = label ‖ one-time key's id (16), associated data = CBOR new key, plaintext = PKCS#8)
//! ```
//!
//! Follows RFC 9180, 5.1.1 (base mode) and 6.1 (single shot). The sender is not authenticated here: the
//! command that carries the key is signed by its principal.

use chancery_api::http::replies::OneTimeKeyObject;
use chancery_core::cbor;
use chancery_core::command::NewKey;
use chancery_crypto::labels::KEY_IMPORT;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{Hpke as _, HpkePublicKey};

/// The length of an X25519 public key, in bytes (RFC 7748, 5).
const X25519_BYTES: usize = 32;

/// The key was not sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealImportError {
    /// The service's one-time key is none of X25519.
    #[error("the service's one-time key is no X25519 key")]
    OneTimeKey,
    /// The provider failed.
    #[error("the provider cannot seal to the service's one-time key")]
    Provider,
}

/// Seals the PKCS#8 bytes of a private key for the import of `new`.
///
/// # Errors
///
/// [`SealImportError`] if the one-time key is none, or the provider cannot.
pub fn seal_import(
    new: &NewKey,
    one_time: &OneTimeKeyObject,
    pkcs8: &[u8],
) -> Result<Vec<u8>, SealImportError> {
    if one_time.public_key.0.len() != X25519_BYTES {
        return Err(SealImportError::OneTimeKey);
    }
    let recipient = HpkePublicKey(one_time.public_key.0.clone());
    let info = [KEY_IMPORT, &one_time.id.0].concat();
    let sealed =
        DH_KEM_X25519_HKDF_SHA256_AES_256.seal(&info, &cbor::encode(new), pkcs8, &recipient);
    let (enc, ciphertext) = sealed.map_err(|_| SealImportError::Provider)?;
    Ok([enc.0, ciphertext].concat())
}

#[cfg(test)]
mod tests {
    use chancery_api::http::commands::IdText;
    use chancery_api::http::fields::Base64;
    use chancery_core::name::Scope;
    use rustls::crypto::hpke::{EncapsulatedSecret, HpkePrivateKey};

    use super::*;

    fn new_key(name: &str) -> NewKey {
        let any = || "default".parse().unwrap();
        NewKey {
            name: name.parse().unwrap(),
            purpose: "sign.bound:x".parse().unwrap(),
            suite: "ed25519".parse().unwrap(),
            scope: Scope { environment: any(), region: any(), service: any() },
            witnessed: false,
        }
    }

    struct Recipient {
        private: HpkePrivateKey,
        one_time: OneTimeKeyObject,
    }

    fn recipient() -> Recipient {
        let (public, private) = DH_KEM_X25519_HKDF_SHA256_AES_256.generate_key_pair().unwrap();
        Recipient {
            private,
            one_time: OneTimeKeyObject { id: IdText([7; 16]), public_key: Base64(public.0) },
        }
    }

    fn open(recipient: &Recipient, new: &NewKey, sealed: &[u8]) -> Option<Vec<u8>> {
        let (enc, ciphertext) = sealed.split_at(X25519_BYTES);
        let info = [KEY_IMPORT, &recipient.one_time.id.0].concat();
        let enc = EncapsulatedSecret(enc.to_vec());
        let opened = DH_KEM_X25519_HKDF_SHA256_AES_256.open(
            &enc,
            &info,
            &cbor::encode(new),
            ciphertext,
            &recipient.private,
        );
        opened.ok()
    }

    #[test]
    fn a_key_opens_for_its_own_import_and_for_no_other() {
        let recipient = recipient();
        let sealed = seal_import(&new_key("a"), &recipient.one_time, b"pkcs8").unwrap();
        assert_eq!(open(&recipient, &new_key("a"), &sealed).unwrap(), b"pkcs8");
        assert_eq!(open(&recipient, &new_key("b"), &sealed), None);
    }

    #[test]
    fn a_one_time_key_of_another_length_is_refused() {
        let mut one_time = recipient().one_time;
        one_time.public_key.0.push(0);
        let refused = seal_import(&new_key("a"), &one_time, b"pkcs8");
        assert_eq!(refused, Err(SealImportError::OneTimeKey));
    }
}
