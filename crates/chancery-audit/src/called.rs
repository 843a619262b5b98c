//! What a key version was called in the months before: a tenant and a key have other pseudonyms each month.
//!
//! ```text
//! names = CBOR [1, [[tenant pseudonym (16), key pseudonym (16)], …]]     one pair a month, the oldest first
//! ```
//!
//! A record of kind 6 has SHA-256 of them as the digest of its output, so that whoever is shown them can follow the
//! version from one month into the next ([`crate::proof`]). They are kept nowhere: the keys of the months give them
//! again.
//!
//! **Invariant:** no two months have the same pair.

use chancery_core::cbor;
use chancery_core::id::{KeyId, TenantId};
use chancery_crypto::primitive::sha256;
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::record::{KeyGroup, Pseudonym};
use crate::sealer::{MonthKeys, NameClass};

const FORMAT: u8 = 1;

/// The most months that are named: 1 200, a hundred years, 43 KB.
pub const MONTHS_NAMED_MAX: usize = 1_200;

/// The names of a key version in the months before a record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Names {
    #[n(0)]
    format: u8,
    #[n(1)]
    months: Vec<Called>,
}

/// What a key is called in one month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Called {
    #[n(0)]
    tenant: ByteArray<16>,
    #[n(1)]
    key: ByteArray<16>,
}

impl Called {
    /// By the keys of that month.
    #[must_use]
    pub fn by(keys: &MonthKeys, tenant: TenantId, key: KeyId) -> Self {
        let of = |class, name: &[u8]| ByteArray::from(keys.pseudonym(class, name));
        Self {
            tenant: of(NameClass::Tenant, tenant.as_bytes()),
            key: of(NameClass::Key, key.as_bytes()),
        }
    }

    /// In a record.
    #[must_use]
    pub fn of(group: &KeyGroup) -> Self {
        Self { tenant: group.tenant.into(), key: group.key.into() }
    }

    /// The key's pseudonym.
    #[must_use]
    pub fn key(&self) -> Pseudonym {
        *self.key
    }
}

impl Names {
    /// The newest of these months, the oldest first; nothing if there is none.
    #[must_use]
    pub fn of(months: &[Called]) -> Option<Self> {
        let surplus = months.len().saturating_sub(MONTHS_NAMED_MAX);
        let months = months.get(surplus..).filter(|months| !months.is_empty())?;
        Some(Self { format: FORMAT, months: months.to_vec() })
    }

    /// The months, the oldest first.
    #[must_use]
    pub fn months(&self) -> &[Called] {
        &self.months
    }

    /// What a record commits to.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[&cbor::encode(self)])
    }

    /// Whether they are some, not too many, and no two the same.
    pub(crate) fn is_one(&self) -> bool {
        let mut sorted = self.months.clone();
        sorted.sort_unstable();
        self.format == FORMAT
            && (1..=MONTHS_NAMED_MAX).contains(&sorted.len())
            && sorted.is_sorted_by(|one, next| one < next)
    }
}
