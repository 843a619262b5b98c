//! Trust bundles: what verifiers are told of a tenant's keys.
//!
//! A bundle is a signed [`Head`] over entries that are fetched in pages: one for each key that has a public half, in the
//! order of their ids, then one for each version that is revoked. The head has their number and the root of the tree
//! (RFC 6962, 2.1) over their encodings, so that it is short however many keys there are.
//!
//! A bundle has a number of its own, and says which epoch of the tenant it shows. Numbers compare as (generation,
//! number), like epochs. A version stands in it from its publishing on; whether it may be used to verify is for its state
//! to say, and whether it has signed anything yet is not looked at: verifiers know a version before it is used.
//!
//! **Invariant:** a number stands for one content. [`BundleRow::follows`] holds the next one to that.
//!
//! What is *not* here: hashes and signatures, which are `chancery-crypto`'s, and any private half.

use minicbor::{Decode, Encode};

use crate::epoch::Epoch;
use crate::id::{KeyId, TenantId};
use crate::key::{Key, KeyVersion};
use crate::limits::BUNDLES_REMEMBERED;
use crate::name::{Name, Scope};
use crate::purpose::Purpose;
use crate::schedule::{Accept, Mode, Share};
use crate::state::KeyState;
use crate::suite::Suite;

/// About which keys a bundle says something. Of others it says nothing at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Universe {
    /// Every key of the tenant that has a public half, with each version that was ever published.
    #[n(1)]
    PublishedPublic,
}

/// What is refused whatever else holds. A later bundle never says less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Floors {
    /// Signatures that bind an earlier epoch of posture.
    #[n(0)]
    pub posture_epoch: u64,
    /// Algorithms of fewer bits of classical strength.
    #[n(1)]
    pub strength_bits: u16,
}

impl Floors {
    /// What every bundle asks for: the first posture, and the least strength of the table of suites.
    pub const STANDARD: Self = Self { posture_epoch: 1, strength_bits: 128 };

    /// Whether nothing that `earlier` refuses is let through.
    #[must_use]
    pub fn is_no_less_than(&self, earlier: &Self) -> bool {
        self.posture_epoch >= earlier.posture_epoch && self.strength_bits >= earlier.strength_bits
    }
}

/// A key that signs bundles.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct BundleSigner {
    /// Its algorithm.
    #[n(0)]
    pub suite: Suite,
    /// It, as `SubjectPublicKeyInfo` in DER.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub public: Vec<u8>,
}

/// What is signed of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Head {
    /// Whose keys.
    #[n(0)]
    pub tenant: TenantId,
    /// Its own number.
    #[n(1)]
    pub number: Epoch,
    /// The tenant's epoch that it shows.
    #[n(2)]
    pub as_of: Epoch,
    /// The digest of the bundle before it; nothing for the first.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub previous: Option<[u8; 32]>,
    /// When it was made, in milliseconds since 1970.
    #[n(4)]
    pub made_ms: u64,
    /// How long to wait before asking for a newer one, in milliseconds.
    #[n(5)]
    pub refresh_ms: u64,
    /// How long it may be used by who hears nothing from the service, in milliseconds.
    #[n(6)]
    pub max_staleness_ms: u64,
    /// From when on nobody uses it, in milliseconds since 1970. Whoever withholds newer ones gains no more time.
    #[n(7)]
    pub expires_ms: u64,
    /// About which keys it says something.
    #[n(8)]
    pub universe: Universe,
    /// How many entries are keys.
    #[n(9)]
    pub keys: u64,
    /// How many entries after them are revoked versions.
    #[n(10)]
    pub revoked: u64,
    /// Whether everything is revoked. A bundle without entries does not say that.
    #[n(11)]
    pub revoke_all: bool,
    /// The root hash over the entries.
    #[cbor(n(12), with = "minicbor::bytes")]
    pub root: [u8; 32],
    /// The bytes of all entries, in number.
    #[n(13)]
    pub bytes: u64,
    /// What is refused whatever else holds.
    #[n(14)]
    pub floors: Floors,
    /// The keys that sign it.
    #[n(15)]
    pub signers: Vec<BundleSigner>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Entry {
    /// A key.
    #[n(0)]
    Key(#[n(0)] KeyEntry),
    /// A version that is revoked.
    #[n(1)]
    Revoked(#[n(0)] Revoked),
}

/// A version that is revoked: reported compromised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Revoked {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// The version.
    #[n(1)]
    pub version: u32,
}

/// A key as verifiers know it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct KeyEntry {
    /// What names it in signatures.
    #[n(0)]
    pub id: KeyId,
    /// What people call it.
    #[n(1)]
    pub name: Name,
    /// What it is for.
    #[n(2)]
    pub purpose: Purpose,
    /// Environment, region and service.
    #[n(3)]
    pub scope: Scope,
    /// What is asked of an output with two signatures of it.
    #[n(4)]
    pub accept: Accept,
    /// The versions that were published, in the order of their numbers.
    #[n(5)]
    pub versions: Vec<VersionEntry>,
    /// Where both are asked for: whose. Signatures of two others, however many hold, are not these.
    #[n(6)]
    pub both: Option<(u32, u32)>,
}

/// A version as verifiers know it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct VersionEntry {
    /// Its number.
    #[n(0)]
    pub number: u32,
    /// Its algorithm: the only one by which its signatures verify.
    #[n(1)]
    pub suite: Suite,
    /// Its public half, as `SubjectPublicKeyInfo` in DER.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub public: Vec<u8>,
    /// Its state.
    #[n(3)]
    pub state: KeyState,
    /// Whether its destruction stands scheduled: then it verifies nothing.
    #[n(4)]
    pub ending: bool,
    /// The epoch from which on it was in bundles.
    #[n(5)]
    pub published: Epoch,
    /// The epoch from which on it was allowed to sign.
    #[n(6)]
    pub active_from: Option<Epoch>,
}

impl VersionEntry {
    fn of(key: &Key, version: &KeyVersion) -> Option<Self> {
        Some(Self {
            number: version.number,
            suite: key.suite_of(version),
            public: version.public.clone(),
            state: version.state,
            ending: version.destruction.is_some(),
            published: version.published?.epoch,
            active_from: version.active_from,
        })
    }

    /// Whether signatures of it are taken. One that has not signed yet may have by the time that a verifier hears of it.
    #[must_use]
    pub fn verifies(&self) -> bool {
        let by_state = matches!(
            self.state,
            KeyState::PreActivation | KeyState::Active | KeyState::Deactivated
        );
        by_state && !self.ending
    }
}

impl KeyEntry {
    /// A key as verifiers know it; nothing if it has no public half.
    #[must_use]
    pub fn of(key: &Key) -> Option<Self> {
        is_in(key).then(|| Self {
            id: key.id,
            name: key.name.clone(),
            purpose: key.purpose.clone(),
            scope: key.scope.clone(),
            accept: accept_of(key),
            versions: key.versions.iter().filter_map(|it| VersionEntry::of(key, it)).collect(),
            both: both_of(key),
        })
    }

    /// The version of a number.
    #[must_use]
    pub fn version(&self, number: u32) -> Option<&VersionEntry> {
        self.versions.iter().find(|version| version.number == number)
    }
}

/// Whether a key is in the universe of bundles.
#[must_use]
pub fn is_in(key: &Key) -> bool {
    key.suite.is_asymmetric() && !key.versions.iter().any(|version| version.public.is_empty())
}

/// The revoked versions of a key, in the order of their numbers.
pub fn revoked_of(key: &Key) -> impl Iterator<Item = Revoked> + '_ {
    let is_revoked = |version: &&KeyVersion| {
        version.published.is_some() && version.state == KeyState::Compromised
    };
    let versions = key.versions.iter().filter(is_revoked);
    versions.map(|version| Revoked { key: key.id, version: version.number })
}

/// Two signatures are there where a rollout has both versions sign; else one is all there is.
fn dual_signing(key: &Key) -> Option<&Share> {
    let share = key.moving.as_ref().and_then(|moving| moving.share.as_ref());
    share.filter(|share| share.mode == Mode::DualSign)
}

fn accept_of(key: &Key) -> Accept {
    dual_signing(key).map(|share| share.accept).unwrap_or_default()
}

fn both_of(key: &Key) -> Option<(u32, u32)> {
    let share = dual_signing(key).filter(|share| share.accept == Accept::AllOf)?;
    Some((key.scheduled, share.version))
}

/// A bundle that was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Issued {
    /// Its number.
    #[n(0)]
    pub number: Epoch,
    /// The tenant's epoch that it shows.
    #[n(1)]
    pub as_of: Epoch,
    /// Its digest.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub digest: [u8; 32],
}

/// A tenant's latest bundle, as it is stored before anybody is given it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct BundleRow {
    /// Whose.
    #[n(0)]
    pub tenant: TenantId,
    /// The latest ones that were issued, this one at the end.
    #[n(1)]
    pub issued: Vec<Issued>,
    /// When it was made, in milliseconds since 1970.
    #[n(2)]
    pub made_ms: u64,
    /// The signed head, as it is handed out.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub signed: Vec<u8>,
}

impl BundleRow {
    /// The row of a bundle that was just made, after the one before.
    #[must_use]
    pub fn after(before: Option<&Self>, head: &Head, digest: [u8; 32], signed: Vec<u8>) -> Self {
        let mut issued = before.map(|before| before.issued.clone()).unwrap_or_default();
        issued.push(Issued { number: head.number, as_of: head.as_of, digest });
        let forgotten = issued.len().saturating_sub(BUNDLES_REMEMBERED);
        issued.drain(..forgotten);
        Self { tenant: head.tenant, issued, made_ms: head.made_ms, signed }
    }

    /// The latest one.
    #[must_use]
    pub fn latest(&self) -> Option<&Issued> {
        self.issued.last()
    }

    /// Whether it comes after `before`: under a higher number, and nothing that was issued is another now.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        let (Some((latest, rest)), Some(last)) = (self.issued.split_last(), before.latest()) else {
            return false;
        };
        let goes_on = latest.number > last.number && latest.as_of >= last.as_of;
        goes_on && before.issued.ends_with(rest) && self.made_ms >= before.made_ms
    }
}

/// The number of the bundle after `last` that shows `as_of`. In a new generation numbers begin anew.
#[must_use]
pub fn next_number(last: Option<Epoch>, as_of: Epoch) -> Epoch {
    match last {
        Some(last) if last.generation >= as_of.generation => last.next(),
        _ => Epoch { generation: as_of.generation, number: 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RolloutId;
    use crate::key::tests::{next_version, sample};
    use crate::schedule::{Fraction, Moving, Selector, Share};

    const fn epoch(generation: u32, number: u64) -> Epoch {
        Epoch { generation, number }
    }

    fn head(number: Epoch, as_of: Epoch) -> Head {
        Head {
            tenant: TenantId::from_bytes([1; 16]),
            number,
            as_of,
            previous: None,
            made_ms: 1,
            refresh_ms: 1,
            max_staleness_ms: 1,
            expires_ms: 2,
            universe: Universe::PublishedPublic,
            keys: 0,
            revoked: 0,
            revoke_all: false,
            root: [0; 32],
            bytes: 0,
            floors: Floors::STANDARD,
            signers: Vec::new(),
        }
    }

    fn row(before: Option<&BundleRow>, number: Epoch, as_of: Epoch, digest: u8) -> BundleRow {
        BundleRow::after(before, &head(number, as_of), [digest; 32], vec![digest])
    }

    #[test]
    fn a_version_is_in_from_its_publishing_on_and_verifies_before_it_is_used() {
        let mut key = sample("k");
        key.add(next_version(&key)).unwrap();
        assert_eq!(KeyEntry::of(&key).unwrap().versions.len(), 1);
        let published = key.versions[0].published.unwrap();
        key.publish(2, published).unwrap();
        let entry = KeyEntry::of(&key).unwrap();
        assert_eq!(entry.version(2).unwrap().state, KeyState::PreActivation);
        assert!(entry.version(2).unwrap().verifies());
    }

    #[test]
    fn what_processes_nothing_verifies_nothing() {
        let mut key = sample("k");
        let mut verifies = |state| {
            key.versions[0].state = state;
            KeyEntry::of(&key).unwrap().versions[0].verifies()
        };
        for state in [KeyState::Active, KeyState::Deactivated] {
            assert!(verifies(state), "{state:?}");
        }
        for state in [KeyState::Suspended, KeyState::Compromised, KeyState::Destroyed] {
            assert!(!verifies(state), "{state:?}");
        }
        key.versions[0].state = KeyState::Deactivated;
        key.versions[0].destruction = Some(crate::clock::Served::default());
        assert!(!KeyEntry::of(&key).unwrap().versions[0].verifies());
    }

    #[test]
    fn a_key_without_a_public_half_is_not_in() {
        let mut key = sample("k");
        key.suite = Suite::HmacSha256;
        assert_eq!(KeyEntry::of(&key), None);
    }

    #[test]
    fn both_are_asked_for_only_where_both_sign() {
        let mut key = sample("k");
        let mut accept = |mode| {
            let (accept, selector) = (Accept::AllOf, Selector::default());
            let share = Share { version: 1, fraction: Fraction::WHOLE, mode, accept, selector };
            let rollout = RolloutId::from_bytes([3; 16]);
            key.moving = Some(Box::new(Moving { rollout, share: Some(share) }));
            KeyEntry::of(&key).unwrap().accept
        };
        assert_eq!(accept(Mode::DualSign), Accept::AllOf);
        assert_eq!(accept(Mode::NewOnly), Accept::AnyOf);
        assert_eq!(accept(Mode::PublishOnly), Accept::AnyOf);
    }

    #[test]
    fn a_generation_begins_anew_and_outranks_what_was() {
        assert_eq!(next_number(None, epoch(0, 7)), epoch(0, 1));
        assert_eq!(next_number(Some(epoch(0, 1)), epoch(0, 9)), epoch(0, 2));
        assert_eq!(next_number(Some(epoch(0, u64::MAX)), epoch(5, 9)), epoch(5, 1));
        assert_eq!(next_number(Some(epoch(5, 1)), epoch(5, 10)), epoch(5, 2));
    }

    #[test]
    fn one_number_has_one_content() {
        let first = row(None, epoch(0, 1), epoch(0, 5), 1);
        let second = row(Some(&first), epoch(0, 2), epoch(0, 6), 2);
        assert!(second.follows(&first));
        for wrong in [
            row(Some(&first), epoch(0, 1), epoch(0, 6), 2),
            row(Some(&first), epoch(0, 2), epoch(0, 4), 2),
            row(None, epoch(0, 1), epoch(0, 6), 2),
            BundleRow { made_ms: 0, ..second.clone() },
            BundleRow { issued: Vec::new(), ..second.clone() },
        ] {
            assert!(!wrong.follows(&first), "{wrong:?}");
        }
        let other_first = row(None, epoch(0, 1), epoch(0, 5), 9);
        assert!(!row(Some(&other_first), epoch(0, 2), epoch(0, 6), 2).follows(&first));
    }

    #[test]
    fn as_many_are_remembered_as_may_be_and_the_chain_goes_on() {
        let mut last = row(None, epoch(0, 1), epoch(0, 1), 1);
        for number in 2..=u64::try_from(BUNDLES_REMEMBERED).unwrap() + 3 {
            let next = row(Some(&last), epoch(0, number), epoch(0, number), 2);
            assert!(next.follows(&last));
            last = next;
        }
        assert_eq!(last.issued.len(), BUNDLES_REMEMBERED);
    }
}
