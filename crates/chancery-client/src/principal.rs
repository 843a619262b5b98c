//! A principal's signature over a command.
//!
//! Follows RFC 9421, section 2.5, with the components of [`SignatureParameters`]: method, canonical path,
//! operation id and the SHA-256 of the command's canonical encoding. The signer rebuilds the same base from
//! the command, so that no front can change what was asked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_core::cbor;
use chancery_core::command::{Command, SignatureParameters};
use chancery_core::id::{OperationId, PrincipalId};
use chancery_core::suite::Suite;
use chancery_crypto::key::{KeyError, PrivateKey, SignError};
use chancery_crypto::primitive::sha256;

use crate::profile::Profile;

/// How long a command's signature is good, in seconds: 60, a fifth of the most that is taken
/// ([`chancery_core::limits::COMMAND_VALIDITY_MAX`]). A repeat is signed anew.
const VALIDITY_S: u64 = 60;

/// Who asks, with the key to show it.
#[derive(Debug)]
pub struct Principal {
    id: PrincipalId,
    key: PrivateKey,
}

/// What is signed, and when.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// The operation id.
    pub operation: OperationId,
    /// The time, in seconds since 1970.
    pub now_s: u64,
}

/// A command's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSignature {
    /// What it says besides the command.
    pub parameters: SignatureParameters,
    /// The Ed25519 signature.
    pub signature: [u8; 64],
    /// The SHA-256 of the command's canonical encoding.
    pub digest: [u8; 32],
}

impl Principal {
    /// The principal of a profile.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the provider cannot take the key.
    pub fn new(profile: &Profile) -> Result<Self, KeyError> {
        let key = PrivateKey::from_secret(Suite::Ed25519, profile.signing_key.as_slice())?;
        Ok(Self { id: profile.principal, key })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> PrincipalId {
        self.id
    }

    /// Signs a command.
    ///
    /// # Errors
    ///
    /// [`SignError`] if the provider cannot.
    pub fn sign(
        &self,
        command: &Command,
        occasion: Occasion,
    ) -> Result<CommandSignature, SignError> {
        let parameters = SignatureParameters {
            principal: self.id,
            operation: occasion.operation,
            created_s: occasion.now_s,
            expires_s: occasion.now_s.saturating_add(VALIDITY_S),
        };
        let digest = sha256(&[&cbor::encode(command)]);
        let base = parameters.base(command, &STANDARD.encode(digest));
        let signature =
            self.key.sign(base.as_bytes())?.as_slice().try_into().map_err(|_| SignError::Fault)?;
        Ok(CommandSignature { parameters, signature, digest })
    }
}

#[cfg(test)]
mod tests {
    use chancery_core::limits::COMMAND_VALIDITY_MAX;
    use chancery_core::principal::Role;
    use zeroize::Zeroizing;

    use super::*;

    fn principal() -> Principal {
        let profile = Profile {
            endpoint: "https://127.0.0.1:8440".into(),
            tenant: "default".parse().unwrap(),
            principal: PrincipalId::from_bytes([0x11; 16]),
            role: Role::Operator,
            signing_key: Zeroizing::new([7; 32]),
            ca: String::new(),
        };
        Principal::new(&profile).unwrap()
    }

    #[test]
    fn a_signature_verifies_over_the_base_and_over_no_other_command() {
        let principal = principal();
        let occasion = Occasion { operation: OperationId::from_bytes([2; 16]), now_s: 1_000 };
        let signed = principal.sign(&Command::ReadStatus, occasion).unwrap();
        let public = principal.key.public().unwrap();
        let verifies = |command: &Command| {
            let digest = STANDARD.encode(sha256(&[&cbor::encode(command)]));
            let base = signed.parameters.base(command, &digest);
            public.verify(base.as_bytes(), &signed.signature).is_ok()
        };
        assert!(verifies(&Command::ReadStatus));
        assert!(!verifies(&Command::BeginImport));
    }

    #[test]
    fn a_signature_lives_no_longer_than_is_taken() {
        assert!(VALIDITY_S <= COMMAND_VALIDITY_MAX.as_secs());
        let occasion = Occasion { operation: OperationId::from_bytes([2; 16]), now_s: 1_000 };
        let signed = principal().sign(&Command::ReadStatus, occasion).unwrap();
        assert_eq!(
            (signed.parameters.created_s, signed.parameters.expires_s),
            (1_000, 1_000 + VALIDITY_S)
        );
    }
}
