//! Turns facts into records: pseudonyms, salts, commitments, sealed sections.
//!
//! A [`Sealer`] belongs to one lane and shares nothing, so lanes never wait for each other. All it leaves to
//! the sequencer is the key group's commitment, since that holds the use index ([`Prepared::finish`]).
//!
//! Nothing that a sealer makes depends on where in the log the record will stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use chancery_core::id::{HandleId, PrincipalId, TenantId};
use chancery_core::idempotency::{EntryName, RequestDigest};
use chancery_core::reason::Reason;
use chancery_crypto::section::{Boot, RecordNonce};
use chancery_log::Hash;

use crate::frame::{AnswerBlock, Item};
use crate::record::{
    ActorGroup, AuthorizationGroup, BuildGroup, Facts, IdentitySection, KeyGroup, OpenRoot,
    OperationGroup, PayloadSection, Pseudonym, PseudonymousSection, SourceGroup, TimeGroup,
    record_nonce,
};

mod events;
mod months;
mod openings;
mod terms;

pub use events::{EventFacts, EventKeys, EventSecrets};
pub(crate) use months::payload_group;
use months::{Committed, OpenKey, answer_data};
pub use months::{Keyring, Month, MonthKeys, MonthSecrets, NameClass, commit_payload, month_of};
pub use terms::FewTerms;

/// The most pseudonyms a sealer keeps at hand: 4 096, about 200 KiB; a full cache is emptied.
const PSEUDONYMS_MAX: usize = 4_096;

/// There are no keys for the tenant's month, or the provider failed: no record can be made, so nothing leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no audit record can be made: the month's keys are not loaded")]
pub struct SealerError;

/// An answer that is kept for a repeat of its operation.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The operation id's name in the index.
    pub name: EntryName,
    /// The request's digest.
    pub digest: RequestDigest,
    /// The time in the id, in milliseconds since 1970.
    pub id_ms: u64,
    /// The answer; empty where the operation runs again instead.
    pub answer: &'a [u8],
}

/// Makes the records of one lane.
#[derive(Debug)]
pub struct Sealer {
    keyring: Arc<Keyring>,
    boot: Boot,
    lane: u32,
    counter: u64,
    build: BuildGroup,
    current: BTreeMap<(TenantId, Month), Arc<MonthKeys>>,
    pseudonyms: BTreeMap<(TenantId, Month, NameClass, [u8; 16]), Pseudonym>,
    last_handle: Option<((TenantId, Month, HandleId), Pseudonym)>,
}

/// A record that lacks only its place.
#[derive(Debug)]
pub struct Prepared {
    item: Item,
    key: OpenKey,
    open: OpenRoot,
}

impl Prepared {
    /// The bytes it will take in a frame.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.item.encoded_bytes()
    }

    /// Gives it its use index; the item is complete then, and the hash is its leaf's in the log.
    #[must_use]
    pub fn finish(self, use_index: Option<u64>, command: u64) -> (Item, Hash) {
        let Self { mut item, key, open } = self;
        let (commitment, masked) = key.commit(use_index);
        item.masked_use_index = masked;
        item.command = command;
        item.root = open.close(&commitment);
        let leaf = crate::record::hash_of_leaf(&item.root);
        (item, leaf)
    }
}

impl Sealer {
    /// A sealer for one lane. No two of one start may have the same lane number.
    #[must_use]
    pub fn new(keyring: Arc<Keyring>, boot: Boot, lane: u32, build: BuildGroup) -> Self {
        let (current, pseudonyms) = (BTreeMap::new(), BTreeMap::new());
        let last_handle = None;
        Self { keyring, boot, lane, counter: 0, build, current, pseudonyms, last_handle }
    }

    /// Makes a record of `facts`, and seals the answer that is kept beside it.
    ///
    /// # Errors
    ///
    /// [`SealerError`]; then nothing may leave.
    pub fn prepare(
        &mut self,
        facts: &Facts,
        kept: Option<&Kept<'_>>,
    ) -> Result<Prepared, SealerError> {
        let month = month_of(facts.now.unix_ms);
        let keys = self.keys(facts.tenant, month)?;
        let counter = self.counter;
        self.counter += 1;
        let nonce = record_nonce(self.lane, counter);
        let identity = IdentitySection {
            principal: facts.actor.map(|id| *id.as_bytes()).unwrap_or_default(),
            credential: facts.credential.map(|id| *id.as_bytes()).unwrap_or_default(),
        };
        let payload =
            PayloadSection { message: facts.message, output: facts.output, context: facts.context };
        let section = self.section(facts, month, &keys, counter);
        let Committed { bodies, key, open } =
            keys.commit(&nonce, section, &identity, &payload).map_err(|_| SealerError)?;
        let mut item = Item::new(facts, month, self.lane, counter);
        [item.pseudonymous, item.identity, item.payload] = bodies;
        let sections = [&mut item.pseudonymous, &mut item.identity, &mut item.payload];
        for (keys, body) in keys.sections.iter().zip(sections) {
            keys.seal(&nonce, body).map_err(|_| SealerError)?;
        }
        item.answer =
            kept.map(|kept| seal_answer(&keys, facts.tenant, kept, &nonce)).transpose()?;
        Ok(Prepared { item, key, open })
    }

    fn keys(&mut self, tenant: TenantId, month: Month) -> Result<Arc<MonthKeys>, SealerError> {
        if let Some(keys) = self.current.get(&(tenant, month)) {
            return Ok(Arc::clone(keys));
        }
        let keys = self.keyring.get(tenant, month).ok_or(SealerError)?;
        self.current.insert((tenant, month), Arc::clone(&keys));
        Ok(keys)
    }

    fn section(
        &mut self,
        facts: &Facts,
        month: Month,
        keys: &MonthKeys,
        counter: u64,
    ) -> PseudonymousSection {
        let time = TimeGroup {
            unix_ms: facts.now.unix_ms,
            quality: facts.now.quality,
            boot_nonce: self.boot.boot_nonce,
            lane: self.lane,
            counter,
        };
        let credential = facts.credential.map(|id| (facts.tenant, month, id));
        let credential =
            credential.map(|name| self.handle_pseudonym(name, keys)).unwrap_or_default();
        let node = *self.boot.log_id.first_chunk().unwrap_or(&[0; 16]);
        let mut named = |class, name: Option<&[u8; 16]>| match name {
            Some(name) => self.pseudonym((facts.tenant, month, class, *name), keys),
            None => Pseudonym::default(),
        };
        let key = KeyGroup {
            tenant: named(NameClass::Tenant, Some(facts.tenant.as_bytes())),
            key: named(NameClass::Key, facts.key.as_ref().map(|(id, _)| id.as_bytes())),
            version: facts.key.map(|(_, version)| version).unwrap_or_default(),
            counted: facts.counted,
            protection: u8::from(facts.key.is_some()),
        };
        let actor = ActorGroup {
            actor: named(NameClass::Principal, facts.actor.as_ref().map(PrincipalId::as_bytes)),
            authentication: facts.authentication,
            credential,
            identity: [0; 32],
        };
        let source = SourceGroup { node: named(NameClass::Node, Some(&node)), source: 0 };
        PseudonymousSection {
            time,
            operation: operation_group(facts, keys),
            key,
            actor,
            authorization: AuthorizationGroup {
                policy: [0; 32],
                rule: 0,
                approvals: facts.approvals,
                posture_epoch: facts.posture_epoch,
                head_digest: facts.head_digest,
            },
            source,
            build: self.build,
        }
    }

    /// Handles are many and short-lived: none has a place in the cache but the last, which a batch repeats.
    fn handle_pseudonym(
        &mut self,
        name: (TenantId, Month, HandleId),
        keys: &MonthKeys,
    ) -> Pseudonym {
        match self.last_handle {
            Some((known, pseudonym)) if known == name => pseudonym,
            _ => {
                let pseudonym = keys.pseudonym(NameClass::Handle, name.2.as_bytes());
                self.last_handle = Some((name, pseudonym));
                pseudonym
            }
        }
    }

    fn pseudonym(
        &mut self,
        name: (TenantId, Month, NameClass, [u8; 16]),
        keys: &MonthKeys,
    ) -> Pseudonym {
        if let Some(known) = self.pseudonyms.get(&name) {
            return *known;
        }
        if self.pseudonyms.len() >= PSEUDONYMS_MAX {
            self.pseudonyms.clear();
        }
        let pseudonym = keys.pseudonym(name.2, &name.3);
        self.pseudonyms.insert(name, pseudonym);
        pseudonym
    }
}

fn operation_group(facts: &Facts, keys: &MonthKeys) -> OperationGroup {
    let bits = usize::BITS - facts.input_bytes.leading_zeros();
    let cause = facts.cause.unwrap_or_default();
    let id = facts.operation_id.zip(facts.actor).map(|(id, actor)| keys.operation(actor, id));
    OperationGroup {
        kind: facts.kind,
        operation: facts.operation,
        suite: facts.suite,
        outcome: u8::from(facts.refused.is_some()),
        reason: facts.refused.map_or(cause, Reason::number),
        size_bucket: u8::try_from(bits).unwrap_or(u8::MAX),
        operation_id: id.unwrap_or_default(),
        flags: facts.flags,
    }
}

fn seal_answer(
    keys: &MonthKeys,
    tenant: TenantId,
    kept: &Kept<'_>,
    nonce: &RecordNonce,
) -> Result<AnswerBlock, SealerError> {
    let mut block = AnswerBlock {
        name: kept.name,
        digest: kept.digest,
        id_ms: kept.id_ms,
        sealed: kept.answer.to_vec(),
    };
    let data = answer_data(&keys.boot, tenant, &block, nonce);
    let tag = keys.answers.seal(*nonce, &data, &mut block.sealed).map_err(|_| SealerError)?;
    block.sealed.extend_from_slice(&tag);
    Ok(block)
}

#[cfg(test)]
mod tests {
    use chancery_core::clock::{Quality, Reading, Served};
    use chancery_core::id::KeyId;

    use super::*;
    use crate::record::{Counted, Kind};

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);
    pub(super) const BOOT: Boot = Boot { log_id: [1; 32], boot_nonce: [2; 16] };
    const NOW: u64 = 1_800_000_000_000;

    pub(super) fn secrets() -> MonthSecrets {
        MonthSecrets {
            sections: [[1; 32], [2; 32], [3; 32]],
            pseudonyms: [4; 32],
            answers: [5; 32],
        }
    }

    pub(super) fn keys() -> MonthKeys {
        MonthKeys::derive(&secrets(), BOOT).unwrap()
    }

    pub(super) fn sealer() -> Sealer {
        let keyring = Keyring::default();
        keyring.insert(TENANT, month_of(NOW), keys());
        Sealer::new(
            Arc::new(keyring),
            BOOT,
            1,
            BuildGroup { build: [0; 32], configuration: [0; 32] },
        )
    }

    pub(super) fn facts() -> Facts {
        let now = Reading {
            unix_ms: NOW,
            quality: Quality::Plausible,
            served: Served::default(),
            wall_ms: NOW,
        };
        let mut facts = Facts::new(TENANT, now, Kind::Use);
        facts.key = Some((KeyId::from_bytes([7; 16]), 1));
        facts.counted = Counted::Yes;
        facts.message = [8; 32];
        facts
    }

    #[test]
    fn a_record_opens_to_what_its_leaf_commits_to() {
        let (item, _) = sealer().prepare(&facts(), None).unwrap().finish(Some(41), 0);
        let (section, index) = keys().open(&item).unwrap();
        assert_eq!(index, Some(41));
        assert_eq!(section.key.key, keys().pseudonym(NameClass::Key, &[7; 16]));
        assert_eq!(keys().recompute(&item), Some(item.root));
    }

    #[test]
    fn the_last_handle_is_remembered_for_its_own_tenant_and_month_alone() {
        let other = TenantId::from_bytes([2; 16]);
        let later = NOW + 31 * 86_400_000;
        let with = |pseudonyms| {
            let secrets = MonthSecrets { pseudonyms, ..secrets() };
            MonthKeys::derive(&secrets, BOOT).unwrap()
        };
        let months = [(TENANT, NOW, [4; 32]), (other, NOW, [5; 32]), (TENANT, later, [6; 32])];
        let mut sealer = sealer();
        for (tenant, unix_ms, pseudonyms) in months {
            sealer.keyring.insert(tenant, month_of(unix_ms), with(pseudonyms));
        }
        for (month, handle) in [(0, 1), (0, 1), (0, 2), (1, 2), (0, 2), (2, 2), (2, 1)] {
            let (tenant, unix_ms, pseudonyms) = months[month];
            let credential = Some(HandleId::from_bytes([handle; 16]));
            let now = Reading { unix_ms, ..facts().now };
            let facts = Facts { tenant, now, credential, ..facts() };
            let (item, _) = sealer.prepare(&facts, None).unwrap().finish(Some(0), 0);
            let (section, _) = with(pseudonyms).open(&item).unwrap();
            let expected = with(pseudonyms).pseudonym(NameClass::Handle, &[handle; 16]);
            assert_eq!(section.actor.credential, expected, "month {month}, handle {handle}");
        }
    }

    #[test]
    fn another_use_index_is_another_root() {
        let finish = |index| sealer().prepare(&facts(), None).unwrap().finish(Some(index), 0).1;
        assert_eq!(finish(1), finish(1));
        assert_ne!(finish(1), finish(2));
    }

    #[test]
    fn every_altered_byte_of_a_section_or_the_index_is_found() {
        let (item, _) = sealer().prepare(&facts(), None).unwrap().finish(Some(41), 0);
        let altered = |edit: &dyn Fn(&mut Item)| {
            let mut item = item.clone();
            edit(&mut item);
            keys().recompute(&item) != Some(item.root)
        };
        for position in 0..item.pseudonymous.len() {
            assert!(altered(&|item| item.pseudonymous[position] ^= 1));
        }
        for position in 0..item.payload.len() {
            assert!(altered(&|item| item.payload[position] ^= 1));
        }
        for position in 0..item.identity.len() {
            assert!(altered(&|item| item.identity[position] ^= 1));
        }
        assert!(altered(&|item| item.masked_use_index ^= 1));
    }

    #[test]
    fn the_sections_take_no_more_than_a_record_may() {
        let (item, _) = sealer().prepare(&facts(), None).unwrap().finish(Some(u64::MAX), 0);
        let sealing = 3 * chancery_crypto::section::SECTION_SEALING_BYTES;
        let clear = item.pseudonymous.len() + item.identity.len() + item.payload.len() - sealing;
        assert!(clear <= crate::record::RECORD_BYTES_MAX, "{clear} bytes");
    }

    #[test]
    fn an_answer_opens_for_its_own_tenant_and_operation() {
        let kept = Kept { name: [1; 32], digest: [2; 32], id_ms: 3, answer: b"answer" };
        let (item, _) = sealer().prepare(&facts(), Some(&kept)).unwrap().finish(None, 0);
        assert_eq!(keys().open_answer(TENANT, &item), Some(b"answer".to_vec()));
        assert_eq!(keys().open_answer(TenantId::from_bytes([2; 16]), &item), None);
        let mut altered = item.clone();
        altered.answer.as_mut().unwrap().digest[0] ^= 1;
        assert_eq!(keys().open_answer(TENANT, &altered), None);
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        for (unix_s, month) in [
            (0, 0),
            (31 * 86_400 - 1, 0),
            (31 * 86_400, 1),
            (951_782_399, 361),     // 2000-02-28T23:59:59Z
            (951_868_800, 362),     // 2000-03-01T00:00:00Z
            (1_795_478_400, 682),   // 2026-11-24T00:00:00Z
            (4_102_444_800, 1_560), // 2100-01-01T00:00:00Z
        ] {
            assert_eq!(month_of(unix_s * 1_000), month, "{unix_s}");
        }
    }
}
