//! The roots file: whose reductions are taken where no secret is at hand.
//!
//! A copy of every principal's public key and role, signed with the log's receipt key, whose public half
//! stands in the log's `origin`. It is written at each start and whenever a principal is added, and read by
//! the process that only takes reductions. An older copy names fewer principals and grants nothing.

use chancery_audit::disk::Disk;
use chancery_audit::origin::Origin;
use chancery_core::authority::Authority;
use chancery_core::cbor;
use chancery_core::id::PrincipalId;
use chancery_core::principal::Principal;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::labels;
use minicbor::{Decode, Encode};

use crate::config::SignerError;

/// The file's name, beside the journal.
pub(crate) const ROOTS_FILE: &str = "roots";

/// Who may give commands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Roots {
    #[cbor(n(0), with = "minicbor::bytes")]
    log_id: [u8; 32],
    /// The service's time when the file was written; its reader's clock is not taken to be behind that.
    #[n(1)]
    pub(crate) written_ms: u64,
    #[n(2)]
    principals: Vec<Principal>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Signed {
    #[cbor(n(0), with = "minicbor::bytes")]
    roots: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    signature: Vec<u8>,
}

impl Roots {
    /// Everybody whom `authority` knows.
    pub(crate) fn of(authority: &Authority, log_id: [u8; 32], written_ms: u64) -> Self {
        Self { log_id, written_ms, principals: authority.principals().cloned().collect() }
    }

    /// The principal of that id.
    pub(crate) fn principal(&self, id: PrincipalId) -> Option<&Principal> {
        self.principals.iter().find(|principal| principal.id == id)
    }

    /// Signs it and puts it in the place of the old one.
    pub(crate) fn write(&self, disk: &dyn Disk, key: &PrivateKey) -> Result<(), SignerError> {
        let written = disk.write_whole(ROOTS_FILE, &self.signed(key)?);
        written.map_err(SignerError::disk("the roots file cannot be written"))
    }

    fn signed(&self, key: &PrivateKey) -> Result<Vec<u8>, SignerError> {
        let roots = cbor::encode(self);
        let signature = key.sign(&to_be_signed(&roots)).map_err(|_| SignerError::Certificate)?;
        Ok(cbor::encode(&Signed { roots, signature }))
    }

    /// Reads it, and checks that the service of this log signed it.
    pub(crate) fn read(disk: &dyn Disk, origin: &Origin) -> Result<Self, SignerError> {
        let file = disk.read_whole(ROOTS_FILE);
        Self::parse(&file.map_err(SignerError::disk("the roots file cannot be read"))?, origin)
    }

    fn parse(file: &[u8], origin: &Origin) -> Result<Self, SignerError> {
        const ALTERED: SignerError = SignerError::Reductions("the roots file is altered");
        let signed: Signed = cbor::decode(file, "roots file").map_err(|_| ALTERED)?;
        let key = origin.verifier().map_err(|_| ALTERED)?;
        key.verify(&to_be_signed(&signed.roots), &signed.signature).map_err(|_| ALTERED)?;
        let roots: Self = cbor::decode(&signed.roots, "roots").map_err(|_| ALTERED)?;
        if roots.log_id == origin.log_id { Ok(roots) } else { Err(ALTERED) }
    }
}

fn to_be_signed(roots: &[u8]) -> Vec<u8> {
    [labels::REDUCTION_ROOTS, roots].concat()
}

#[cfg(test)]
mod tests {
    use chancery_core::suite::Suite;

    use super::*;

    #[test]
    fn roots_are_taken_as_the_service_of_the_log_signed_them_and_not_otherwise() {
        let key = |byte| PrivateKey::from_secret(Suite::Ed25519, &[byte; 32]).unwrap();
        let origin = |byte| Origin::of_signer(&key(byte)).unwrap();
        let roots = Roots { log_id: origin(1).log_id, written_ms: 7, principals: Vec::new() };
        let file = roots.signed(&key(1)).unwrap();
        assert_eq!(Roots::parse(&file, &origin(1)).unwrap(), roots);
        assert!(Roots::parse(&file, &origin(2)).is_err());
        assert!(Roots::parse(&roots.signed(&key(2)).unwrap(), &origin(2)).is_err());
        for bit in 0..file.len() * 8 {
            let mut altered = file.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(Roots::parse(&altered, &origin(1)).is_err(), "bit {bit}");
        }
    }
}
