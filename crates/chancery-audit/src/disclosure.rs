//! Disclosures: what opens some records of a log to somebody who has its files and nothing else.
//!
//! ```text
//! disclosure = CBOR [1, receipt key (32), made ms, [verifier key, …], contents]
//! contents   = [0, [tenant (16), tenant's name, [month keys, …], [[key id (16), name], …]]]
//!            | [1, [[case record, …]]]
//!            | [2, [[month, [tenant events, …]]]]
//! tenant events = [tenant (16), [section keys 1 ‖ 2 (64), pseudonym key (32)]]    the keys absent if there are none
//!            | [3, [[tenant (16), …], [month keys, …]]]          the tenant as above, and the service's own months
//! month keys = [month, section keys (32) × 3, pseudonym key (32)]
//! case record = [index, key's name, opening, [salt (32), identity section]]
//! signed     = CBOR [disclosure, signature (64)]           Ed25519 by the receipt key over DISCLOSURE ‖ disclosure
//! ```
//!
//! Keys of a month open every record of one tenant in it, and no answer that is kept beside them; a case record is an
//! [`Opening`] of all groups, with what opens the identity that its actor group commits to. Verifier keys are those of
//! the log's checkpoints. Names are what the service says: they are in no record.
//!
//! How it is sealed to its recipient is not decided here.

use std::collections::BTreeMap;

use chancery_core::cbor;
use chancery_core::id::{KeyId, TenantId};
use chancery_core::name::Name;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::labels;
use chancery_crypto::section::commit_field;
use chancery_log::note::VerifierKey;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::opening::{Opened, Opening, OpeningError};
use crate::origin::Origin;
use crate::record::IdentitySection;
use crate::sealer::{EventSecrets, Month, MonthSecrets};

const FORMAT: u8 = 1;

/// The group and the field of the commitment to the identity section.
const IDENTITY_FIELD: (u8, u8) = (3, 3);

/// The keys of a month that open its records.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(array)]
pub struct MonthDisclosed {
    #[n(0)]
    month: Month,
    #[cbor(n(1), with = "minicbor::bytes")]
    sections: [u8; 96],
    #[cbor(n(2), with = "minicbor::bytes")]
    pseudonyms: [u8; 32],
}

impl std::fmt::Debug for MonthDisclosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MonthDisclosed").field("month", &self.month).finish_non_exhaustive()
    }
}

impl MonthDisclosed {
    /// Of all keys of a month those that open its records: not that of kept answers.
    #[must_use]
    pub fn of(month: Month, secrets: &MonthSecrets) -> Self {
        let mut sections = [0; 96];
        for (room, key) in sections.as_chunks_mut::<32>().0.iter_mut().zip(&secrets.sections) {
            *room = *key;
        }
        Self { month, sections, pseudonyms: secrets.pseudonyms }
    }

    /// The month.
    #[must_use]
    pub fn month(&self) -> Month {
        self.month
    }

    /// The keys; in the place of that for answers stands one that opens none.
    #[must_use]
    pub fn secrets(&self) -> MonthSecrets {
        let (keys, _) = self.sections.as_chunks::<32>();
        let key = |at: usize| keys.get(at).copied().unwrap_or_default();
        MonthSecrets {
            sections: [key(0), key(1), key(2)],
            pseudonyms: self.pseudonyms,
            answers: [0; 32],
        }
    }
}

/// A key by its id and name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Named {
    /// Its id.
    #[n(0)]
    pub id: KeyId,
    /// Its name.
    #[n(1)]
    pub name: Name,
}

/// Months of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct TenantDisclosed {
    /// Whose.
    #[n(0)]
    pub tenant: TenantId,
    /// What people call it.
    #[n(1)]
    pub name: Name,
    /// The months, ascending.
    #[n(2)]
    pub months: Vec<MonthDisclosed>,
    /// Its keys, as far as they are named.
    #[n(3)]
    pub keys: Vec<Named>,
}

/// What opens the identity section of a record: the salt of its commitment, and the section.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct IdentityOpening {
    #[n(0)]
    pub(crate) salt: ByteArray<32>,
    #[n(1)]
    pub(crate) section: IdentitySection,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CaseRecord {
    /// Its index in the log.
    #[n(0)]
    pub index: u64,
    /// Its key's name, or empty.
    #[n(1)]
    pub key: String,
    #[n(2)]
    opening: ByteVec,
    #[n(3)]
    identity: IdentityOpening,
}

impl CaseRecord {
    /// A record that was opened.
    #[must_use]
    pub fn new(index: u64, key: String, opening: &Opening, identity: IdentityOpening) -> Self {
        Self { index, key, opening: opening.to_bytes().into(), identity }
    }

    /// Its opening.
    ///
    /// # Errors
    ///
    /// [`OpeningError`] if it is none.
    pub fn opening(&self) -> Result<Opening, OpeningError> {
        Opening::parse(&self.opening)
    }

    /// What it says, and by whom, if that is what its leaf commits to.
    ///
    /// # Errors
    ///
    /// [`OpeningError`] if it is not.
    pub fn open(&self) -> Result<(Opened, IdentitySection), OpeningError> {
        let opened = self.opening()?.open()?;
        let actor = opened.actor.as_ref().ok_or(OpeningError::NotAnOpening)?;
        let (group, field) = IDENTITY_FIELD;
        let section = cbor::encode(&self.identity.section);
        let commitment = commit_field(group, field, &self.identity.salt, &section);
        if commitment != actor.identity {
            return Err(OpeningError::NotCommitted);
        }
        Ok((opened, self.identity.section.clone()))
    }
}

/// What opens what events say of a tenant's month.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct TenantEvents {
    /// Whose.
    #[n(0)]
    pub tenant: TenantId,
    /// What opens it; nothing if there are no keys of that month, or none any more.
    #[n(1)]
    pub secrets: Option<EventSecrets>,
}

/// What opens what events say of a month.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct EventsDisclosed {
    /// The month.
    #[n(0)]
    pub month: Month,
    /// Of each tenant whose events are shown: one, and the service itself.
    #[n(1)]
    pub tenants: Vec<TenantEvents>,
}

/// What is disclosed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Contents {
    /// A tenant's months.
    #[n(0)]
    Tenant(#[n(0)] TenantDisclosed),
    /// Single records, ascending.
    #[n(1)]
    Case(#[n(0)] Vec<CaseRecord>),
    /// What events say of a month.
    #[n(2)]
    Events(#[n(0)] EventsDisclosed),
    /// A tenant's months and the service's own.
    #[n(3)]
    Everything {
        /// The tenant's.
        #[n(0)]
        tenant: TenantDisclosed,
        /// The service's, ascending.
        #[n(1)]
        service: Vec<MonthDisclosed>,
    },
}

/// A disclosure.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct DisclosureFile {
    #[n(0)]
    format: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    receipt_key: [u8; 32],
    /// When it was made, in milliseconds since 1970.
    #[n(2)]
    pub made_ms: u64,
    #[n(3)]
    verifier_keys: Vec<String>,
    /// What is disclosed.
    #[n(4)]
    pub contents: Contents,
}

/// It holds what is disclosed, keys among it.
#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(array)]
struct Signed {
    #[cbor(n(0), with = "minicbor::bytes")]
    disclosure: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    signature: Vec<u8>,
}

/// The bytes are no disclosure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a disclosure, or one that was altered")]
pub struct NotADisclosure;

impl DisclosureFile {
    /// A disclosure of the log of `origin`, whose checkpoints these keys verify.
    #[must_use]
    pub fn new(origin: &Origin, made_ms: u64, keys: &[&VerifierKey], contents: Contents) -> Self {
        let verifier_keys = keys.iter().map(ToString::to_string).collect();
        let receipt_key = origin.receipt_key;
        Self { format: FORMAT, receipt_key, made_ms, verifier_keys, contents }
    }

    /// Its bytes, signed with the log's receipt key; nothing if the provider fails.
    #[must_use]
    pub fn sign(&self, key: &PrivateKey) -> Option<Vec<u8>> {
        let disclosure = cbor::encode(self);
        let signature = key.sign(&to_be_signed(&disclosure)).ok()?;
        Some(cbor::encode(&Signed { disclosure, signature }))
    }

    /// Reads one, and checks that the log that it names has signed it.
    ///
    /// # Errors
    ///
    /// [`NotADisclosure`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NotADisclosure> {
        let signed: Signed = cbor::decode(bytes, "disclosure").map_err(|_| NotADisclosure)?;
        let file: Self =
            cbor::decode(&signed.disclosure, "disclosure").map_err(|_| NotADisclosure)?;
        let key = file.origin().verifier().map_err(|_| NotADisclosure)?;
        let held = key.verify(&to_be_signed(&signed.disclosure), &signed.signature);
        held.map_err(|_| NotADisclosure)?;
        if file.format == FORMAT { Ok(file) } else { Err(NotADisclosure) }
    }

    /// The log.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::of(self.receipt_key)
    }

    /// The keys that verify the log's checkpoints.
    ///
    /// # Errors
    ///
    /// [`NotADisclosure`] if one is none.
    pub fn verifier_keys(&self) -> Result<Vec<VerifierKey>, NotADisclosure> {
        let keys = self.verifier_keys.iter().map(|key| key.parse().map_err(|_| NotADisclosure));
        keys.collect()
    }
}

impl TenantDisclosed {
    /// The keys of each month.
    #[must_use]
    pub fn secrets(&self) -> BTreeMap<Month, MonthSecrets> {
        secrets_of(&self.months)
    }
}

/// The keys of each month.
#[must_use]
pub fn secrets_of(months: &[MonthDisclosed]) -> BTreeMap<Month, MonthSecrets> {
    months.iter().map(|month| (month.month(), month.secrets())).collect()
}

fn to_be_signed(disclosure: &[u8]) -> Vec<u8> {
    [labels::DISCLOSURE, disclosure].concat()
}

#[cfg(test)]
mod tests {
    use chancery_core::suite::Suite;

    use super::*;

    fn file() -> (DisclosureFile, PrivateKey) {
        let key = PrivateKey::from_secret(Suite::Ed25519, &[1; 32]).unwrap();
        let secrets = MonthSecrets {
            sections: [[1; 32], [2; 32], [3; 32]],
            pseudonyms: [4; 32],
            answers: [5; 32],
        };
        let contents = Contents::Tenant(TenantDisclosed {
            tenant: TenantId::from_bytes([6; 16]),
            name: "default".parse().unwrap(),
            months: vec![MonthDisclosed::of(7, &secrets)],
            keys: vec![Named { id: KeyId::from_bytes([8; 16]), name: "k".parse().unwrap() }],
        });
        (DisclosureFile::new(&Origin::of_signer(&key).unwrap(), 9, &[], contents), key)
    }

    #[test]
    fn a_disclosure_is_read_as_the_log_signed_it_and_not_otherwise() {
        let (file, key) = file();
        let bytes = file.sign(&key).unwrap();
        assert_eq!(DisclosureFile::parse(&bytes), Ok(file.clone()));
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(DisclosureFile::parse(&altered), Err(NotADisclosure), "bit {bit}");
        }
        let other = PrivateKey::from_secret(Suite::Ed25519, &[2; 32]).unwrap();
        assert_eq!(DisclosureFile::parse(&file.sign(&other).unwrap()), Err(NotADisclosure));
    }

    #[test]
    fn a_month_is_disclosed_without_the_key_of_its_answers() {
        let (file, _) = file();
        let Contents::Tenant(tenant) = &file.contents else { panic!("no tenant") };
        let secrets = tenant.secrets().remove(&7).unwrap();
        assert_eq!(secrets.sections, [[1; 32], [2; 32], [3; 32]]);
        assert_eq!((secrets.pseudonyms, secrets.answers), ([4; 32], [0; 32]));
        assert!(!cbor::encode(&file).windows(32).any(|window| window == [5; 32]));
    }
}
