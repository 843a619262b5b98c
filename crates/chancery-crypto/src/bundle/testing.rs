//! What the tests of bundles share: keys, and bundles over them.

use chancery_core::bundle::{Floors, Head, Universe};
use chancery_core::clock::Served;
use chancery_core::epoch::Epoch;
use chancery_core::id::{KeyId, TenantId};
use chancery_core::key::{Key, KeyVersion, Provenance, Published};
use chancery_core::name::Scope;
use chancery_core::state::KeyState;
use chancery_core::suite::Suite;

use super::{Assembly, BundleKeys, Pins, TrustBundle, page, sum};
use crate::key::PrivateKey;

/// When bundles are made, in milliseconds since 1970.
pub(super) const MADE_MS: u64 = 1_795_996_800_000;

/// When they expire.
pub(super) const EXPIRES_MS: u64 = MADE_MS + 86_400_000;

pub(super) fn keys() -> BundleKeys {
    BundleKeys::from_seeds(&[1; 32], &[2; 32]).unwrap()
}

pub(super) fn pins() -> Pins {
    Pins::of_signers(&keys().signers()).unwrap()
}

pub(super) fn epoch(number: u64) -> Epoch {
    Epoch { generation: 0, number }
}

pub(super) fn scope() -> Scope {
    let part = |text: &str| text.parse().unwrap();
    Scope { environment: part("production"), region: part("local"), service: part("default") }
}

/// The private half of a version, which is made of its numbers.
pub(super) fn private(id: u8, version: u32) -> PrivateKey {
    let seed = [id ^ u8::try_from(version).unwrap(); 32];
    PrivateKey::from_secret(Suite::Ed25519, &seed).unwrap()
}

fn version(id: u8, number: u32) -> KeyVersion {
    let published = Published { epoch: epoch(1), at: Served::default() };
    KeyVersion {
        number,
        state: KeyState::Active,
        created_ms: 1,
        provenance: Provenance::Generated,
        public: private(id, number).public().unwrap().spki().to_vec(),
        destruction: None,
        published: Some(published),
        active_from: Some(epoch(1)),
        active_at: None,
        given_up: None,
        suite: None,
    }
}

/// A key with so many versions, all active.
pub(super) fn key(id: u8, purpose: &str, versions: u32) -> Key {
    Key {
        id: KeyId::from_bytes([id; 16]),
        tenant: TenantId::from_bytes([1; 16]),
        name: format!("k{id}").parse().unwrap(),
        scope: scope(),
        purpose: purpose.parse().unwrap(),
        suite: Suite::Ed25519,
        scheduled: 1,
        authority_epoch: epoch(1),
        min_issue_epoch: epoch(1),
        versions: (1..=versions).map(|number| version(id, number)).collect(),
        witnessed: false,
        moving: None,
    }
}

/// The head over these keys, under a number.
pub(super) fn head(number: u64, over: &[Key]) -> Head {
    let sum = sum(over);
    Head {
        tenant: TenantId::from_bytes([1; 16]),
        number: epoch(number),
        as_of: epoch(number + 10),
        previous: None,
        made_ms: MADE_MS,
        refresh_ms: 60_000,
        max_staleness_ms: 3_600_000,
        expires_ms: EXPIRES_MS,
        universe: Universe::PublishedPublic,
        keys: sum.keys,
        revoked: sum.revoked,
        revoke_all: sum.revoke_all,
        root: sum.root,
        bytes: sum.bytes,
        floors: Floors::STANDARD,
        signers: keys().signers(),
    }
}

/// Its pages, and whatever they come to.
pub(super) fn assembled(head: &Head, over: &[Key]) -> Result<TrustBundle, super::BundleError> {
    let (_, signed) = keys().sign(head).unwrap();
    let mut assembly = Assembly::begin(&signed, &pins())?;
    while let Some(from) = assembly.next_entry() {
        assembly.page(&page(head.number, over, from).unwrap())?;
    }
    assembly.finish()
}

pub(super) fn bundle(over: &[Key]) -> TrustBundle {
    assembled(&head(1, over), over).unwrap()
}
