//! A holder's key, and the proof that it is in the holder's hands.
//!
//! `Ed25519[holder key](label ‖ CBOR [nonce, made ms, request without proofs])` (RFC 8032, 5.1.6): the proof
//! covers the whole request, so that a front can neither change it nor use the proof for another.

use chancery_api::message::{HolderProof, UseRequest};
use chancery_core::suite::Suite;
use chancery_crypto::key::{ImportError, PrivateKey, PublicKey, SignError};
use chancery_crypto::labels::HANDLE_HOLDER_PROOF;
use chancery_crypto::primitive::random;

use crate::moment;
use crate::pem::{self, PemError};

/// What an Ed25519 `SubjectPublicKeyInfo` begins with; the 32 bytes of the key follow (RFC 8410, 4).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The file is not a holder's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HolderError {
    /// The key is not one of Ed25519.
    #[error(transparent)]
    Key(#[from] ImportError),
    /// The public key is not one of Ed25519.
    #[error("a holder's public key is one of Ed25519")]
    NotEd25519,
    /// The file is not PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
}

/// A holder's private key.
#[derive(Debug)]
pub struct HolderKey {
    key: PrivateKey,
    public: [u8; 32],
}

impl HolderKey {
    /// Takes an Ed25519 private key in PKCS#8 as PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    ///
    /// [`HolderError`] if the text is anything else.
    pub fn from_pem(text: &str) -> Result<Self, HolderError> {
        let key = PrivateKey::from_pkcs8(Suite::Ed25519, &pem::decode(text, "PRIVATE KEY")?)?;
        let public = key.public().and_then(raw).ok_or(HolderError::NotEd25519)?;
        Ok(Self { key, public })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Proves possession over a request.
    ///
    /// # Errors
    ///
    /// [`SignError`] if the provider cannot.
    pub fn prove(&self, request: &UseRequest<'_>) -> Result<HolderProof, SignError> {
        let mut nonce = [0; 16];
        random(&mut nonce)?;
        let made_ms = moment::unix_ms();
        let input = [HANDLE_HOLDER_PROOF, &request.proof_digest_input(nonce, made_ms)].concat();
        let signature =
            self.key.sign(&input)?.as_slice().try_into().map_err(|_| SignError::Fault)?;
        Ok(HolderProof { holder: self.public, nonce, made_ms, signature })
    }
}

/// The public half of a holder's key, out of a PEM file with either half.
///
/// # Errors
///
/// [`HolderError`] if the text is neither.
pub fn public_from_pem(text: &str) -> Result<[u8; 32], HolderError> {
    if let Ok(spki) = pem::decode(text, "PUBLIC KEY") {
        let key =
            PublicKey::from_spki(Suite::Ed25519, &spki).map_err(|_| HolderError::NotEd25519)?;
        return raw(&key).ok_or(HolderError::NotEd25519);
    }
    Ok(HolderKey::from_pem(text)?.public())
}

fn raw(key: &PublicKey) -> Option<[u8; 32]> {
    key.spki().strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use chancery_api::message::{InputForm, Receipt, UseItem};
    use chancery_core::context::Context;
    use chancery_core::handle::Operation;

    use super::*;

    /// RFC 8410, 10.3.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    /// RFC 8410, 10.1.
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    fn request(input: &[u8]) -> UseRequest<'_> {
        let item = UseItem {
            id: None,
            context: Context::default(),
            form: InputForm::Message,
            input,
            against: &[],
            length: 0,
            routing: b"",
        };
        UseRequest {
            handle: b"handle",
            operation: Operation::Sign,
            receipt: Receipt::Unwanted,
            proofs: Vec::new(),
            items: vec![item],
        }
    }

    #[test]
    fn either_half_names_the_same_holder() {
        let public = public_from_pem(PUBLIC).unwrap();
        assert_eq!(public_from_pem(PRIVATE), Ok(public));
        assert_eq!(HolderKey::from_pem(PRIVATE).unwrap().public(), public);
        assert!(HolderKey::from_pem(PUBLIC).is_err());
    }

    #[test]
    fn a_proof_verifies_for_its_request_alone() {
        let holder = HolderKey::from_pem(PRIVATE).unwrap();
        let proof = holder.prove(&request(b"message")).unwrap();
        let verifies = |request: &UseRequest<'_>| {
            let input = request.proof_digest_input(proof.nonce, proof.made_ms);
            let signed = [HANDLE_HOLDER_PROOF, &input].concat();
            holder.key.public().unwrap().verify(&signed, &proof.signature).is_ok()
        };
        assert!(verifies(&request(b"message")));
        assert!(!verifies(&request(b"other")));
    }

    #[test]
    fn every_proof_has_a_nonce_of_its_own() {
        let holder = HolderKey::from_pem(PRIVATE).unwrap();
        let request = request(b"message");
        assert_ne!(holder.prove(&request).unwrap().nonce, holder.prove(&request).unwrap().nonce);
    }
}
