//! What a command's signature covers: the command's route and digest, and when it was made.

use std::fmt::Write as _;

use minicbor::{Decode, Encode};

use super::Command;
use crate::id::{OperationId, PrincipalId};

/// What a command's signature says besides the command.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SignatureParameters {
    /// Who signs.
    #[n(0)]
    pub principal: PrincipalId,
    /// The operation id.
    #[n(1)]
    pub operation: OperationId,
    /// When it was made, in seconds since 1970.
    #[n(2)]
    pub created_s: u64,
    /// When it runs out, in seconds since 1970.
    #[n(3)]
    pub expires_s: u64,
}

impl SignatureParameters {
    /// The value of `@signature-params`, which is also that of the `Signature-Input` field.
    #[must_use]
    pub fn to_field(&self) -> String {
        format!(
            "(\"@method\" \"@path\" \"idempotency-key\" \"chancery-command-digest\");created={};expires={};keyid=\"{}\";alg=\"ed25519\";tag=\"chancery\"",
            self.created_s, self.expires_s, self.principal
        )
    }

    /// The signature base of `command`, whose canonical encoding has the digest `digest_base64`.
    #[must_use]
    pub fn base(&self, command: &Command, digest_base64: &str) -> String {
        let (method, path) = command.route();
        let mut base = String::new();
        // Writing to a `String` cannot fail.
        let _ = write!(
            base,
            "\"@method\": {method}\n\"@path\": {path}\n\"idempotency-key\": {}\n\"chancery-command-digest\": sha-256=:{digest_base64}:\n\"@signature-params\": {}",
            self.operation,
            self.to_field()
        );
        base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::KeyEvent;

    fn suspend() -> Command {
        Command::ChangeVersion {
            key: "invoices".parse().unwrap(),
            version: Some(1),
            event: KeyEvent::Suspend,
        }
    }

    #[test]
    fn the_signature_base_binds_route_id_digest_and_life() {
        let parameters = SignatureParameters {
            principal: PrincipalId::from_bytes([0x11; 16]),
            operation: OperationId::from_bytes([0x22; 16]),
            created_s: 100,
            expires_s: 160,
        };
        assert_eq!(
            parameters.base(&suspend(), "ZGlnZXN0"),
            "\"@method\": POST\n\
             \"@path\": /v1/keys/invoices/suspend\n\
             \"idempotency-key\": 22222222-2222-2222-2222-222222222222\n\
             \"chancery-command-digest\": sha-256=:ZGlnZXN0:\n\
             \"@signature-params\": (\"@method\" \"@path\" \"idempotency-key\" \"chancery-command-digest\")\
             ;created=100;expires=160;keyid=\"11111111-1111-1111-1111-111111111111\";alg=\"ed25519\";tag=\"chancery\""
        );
    }
}
