//! Turns facts into records: pseudonyms, salts, commitments, sealed sections.
//!
//! A [`Sealer`] belongs to one lane and shares nothing, so lanes never wait for each other. All it leaves to
//! the sequencer is the key group's commitment, since that holds the use index ([`Prepared::finish`]).
//!
//! Nothing that a sealer makes depends on where in the log the record will stand.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use chancery_core::cbor;
use chancery_core::id::{OperationId, PrincipalId, TenantId};
use chancery_core::idempotency::{EntryName, RequestDigest};
use chancery_core::reason::Reason;
use chancery_crypto::labels;
use chancery_crypto::mac::KeyedHash;
use chancery_crypto::primitive::{Gcm, PrimitiveError};
use chancery_crypto::section::{
    Boot, RecordNonce, Salt, SectionKeys, commit_field, commit_group, salts,
};
use chancery_log::Hash;

use crate::frame::{AnswerBlock, Item};
use crate::record::{
    ActorGroup, AuthorizationGroup, BuildGroup, Counted, CountedKeyGroup, Facts, IdentitySection,
    KeyGroup, OpenRoot, OperationGroup, PayloadGroup, PayloadPath, PayloadSection, Pseudonym,
    PseudonymousSection, SECTIONS, SourceGroup, TimeGroup, record_nonce,
};

/// Months since January 1970.
pub type Month = u16;

/// The most pseudonyms a sealer keeps at hand: 4 096, about 200 KiB; a full cache is emptied.
const PSEUDONYMS_MAX: usize = 4_096;

/// The month of a time in milliseconds since 1970.
#[must_use]
pub fn month_of(unix_ms: u64) -> Month {
    // Civil months from days, after Hinnant's `civil_from_days`.
    let days = unix_ms / 86_400_000 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (month, carry) = if shifted < 10 { (shifted + 2, 0) } else { (shifted - 10, 1) };
    let year = year_of_era + era * 400 + carry;
    u16::try_from((year.saturating_sub(1970)) * 12 + month).unwrap_or(u16::MAX)
}

/// The random keys of one tenant and month: what shredding destroys.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct MonthSecrets {
    /// One for each section, in the order of their numbers.
    pub sections: [[u8; 32]; 3],
    /// For names.
    pub pseudonyms: [u8; 32],
    /// For answers.
    pub answers: [u8; 32],
}

impl std::fmt::Debug for MonthSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MonthSecrets")
    }
}

impl MonthSecrets {
    /// Their bytes in a sealed row.
    pub const BYTES: usize = 5 * 32;

    /// Reads them from a row.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.as_chunks::<32>();
        let [one, two, three, pseudonyms, answers] = *keys else { return None };
        rest.is_empty().then_some(Self { sections: [one, two, three], pseudonyms, answers })
    }
}

/// The keys of one tenant and month, for one start of the service.
#[derive(Debug)]
pub struct MonthKeys {
    sections: [SectionKeys; 3],
    pseudonyms: KeyedHash,
    answers: Gcm,
    boot: Boot,
}

impl MonthKeys {
    /// Derives them.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if the provider cannot.
    pub fn derive(secrets: &MonthSecrets, boot: Boot) -> Result<Self, PrimitiveError> {
        let [one, two, three] = &secrets.sections;
        let [n1, n2, n3] = SECTIONS;
        Ok(Self {
            sections: [
                SectionKeys::derive(one, n1, boot)?,
                SectionKeys::derive(two, n2, boot)?,
                SectionKeys::derive(three, n3, boot)?,
            ],
            pseudonyms: KeyedHash::new(&secrets.pseudonyms),
            answers: Gcm::new(&*boot.derive(&secrets.answers, labels::ANSWER_KEY)?)?,
            boot,
        })
    }

    /// The pseudonym of a name of some class.
    #[must_use]
    pub fn pseudonym(&self, class: NameClass, name: &[u8]) -> Pseudonym {
        truncate(&self.pseudonyms.of(labels::AUDIT_PSEUDONYM, &[&[class as u8], name]))
    }

    /// The keyed hash that stands for an operation id.
    #[must_use]
    pub fn operation(&self, principal: PrincipalId, id: OperationId) -> Pseudonym {
        let parts: [&[u8]; 2] = [principal.as_bytes(), id.as_bytes()];
        truncate(&self.pseudonyms.of(labels::AUDIT_OPERATION_ID, &parts))
    }

    /// Opens the pseudonymous section of an item, and gives the use index if one is counted.
    #[must_use]
    pub fn open(&self, item: &Item) -> Option<(PseudonymousSection, Option<u64>)> {
        let [section, ..] = &self.sections;
        let body = section.open(&item.nonce(), &item.pseudonymous).ok()?;
        let opened: PseudonymousSection = cbor::decode(&body, "pseudonymous section").ok()?;
        let (_, mask) = salts::<7>(&section.seed(&item.nonce())).ok()?;
        let index = (opened.key.counted == Counted::Yes).then_some(item.masked_use_index ^ mask);
        Some((opened, index))
    }

    /// Opens the identity section of an item.
    #[must_use]
    pub fn open_identity(&self, item: &Item) -> Option<IdentitySection> {
        let [_, section, _] = &self.sections;
        cbor::decode(&section.open(&item.nonce(), &item.identity).ok()?, "identity section").ok()
    }

    /// Recomputes the root of an item from its opened sections: the record is what the leaf commits to.
    #[must_use]
    pub fn recompute(&self, item: &Item) -> Option<Hash> {
        let (committed, _, group_2) = self.recommit(item)?;
        Some(committed.open.close(&group_2))
    }

    /// What opens the payload section of an item to somebody: the section, its seed, and the way to the root.
    #[must_use]
    pub fn open_payload(&self, item: &Item) -> Option<(PayloadSection, [u8; 32], PayloadPath)> {
        let (committed, payload, group_2) = self.recommit(item)?;
        let [.., section] = &self.sections;
        Some((payload, section.seed(&item.nonce()), committed.open.payload_path(&group_2)))
    }

    fn recommit(&self, item: &Item) -> Option<(Committed, PayloadSection, [u8; 32])> {
        let (opened, index) = self.open(item)?;
        let [.., section] = &self.sections;
        let payload = section.open(&item.nonce(), &item.payload).ok()?;
        let payload: PayloadSection = cbor::decode(&payload, "payload section").ok()?;
        let identity = self.open_identity(item)?;
        // The identity commitment is part of the actor group, so an altered one changes the root.
        let committed = self.commit(&item.nonce(), opened, &identity, &payload).ok()?;
        let group_2 = committed.key_commitment(index);
        Some((committed, payload, group_2))
    }

    fn commit(
        &self,
        nonce: &RecordNonce,
        mut section: PseudonymousSection,
        identity: &IdentitySection,
        payload: &PayloadSection,
    ) -> Result<Committed, PrimitiveError> {
        let [pseudonymous_keys, identity_keys, payload_keys] = &self.sections;
        let ([s0, s1, s2, s3, s4, s6, s7], mask) = salts::<7>(&pseudonymous_keys.seed(nonce))?;
        let ([identity_salt], _) = salts::<1>(&identity_keys.seed(nonce))?;
        section.actor.identity = commit_field(3, 3, &identity_salt, &cbor::encode(identity));
        let c5 = commit_payload(&payload_keys.seed(nonce), payload)?;
        let commitments = [
            commit_group(0, &s0, &cbor::encode(&section.time)),
            commit_group(1, &s1, &cbor::encode(&section.operation)),
            commit_group(3, &s3, &cbor::encode(&section.actor)),
            commit_group(4, &s4, &cbor::encode(&section.authorization)),
            c5,
            commit_group(6, &s6, &cbor::encode(&section.source)),
            commit_group(7, &s7, &cbor::encode(&section.build)),
        ];
        Ok(Committed { section, key_salt: s2, mask, open: OpenRoot::new(commitments) })
    }

    /// Opens an answer.
    #[must_use]
    pub fn open_answer(&self, tenant: TenantId, item: &Item) -> Option<Vec<u8>> {
        let block = item.answer.as_ref()?;
        let mut answer = block.sealed.clone();
        let data = answer_data(&self.boot, tenant, block, &item.nonce());
        let length = self.answers.open(item.nonce(), &data, &mut answer).ok()?.len();
        answer.truncate(length);
        Some(answer)
    }
}

/// The commitment of group 5 under its seed. Whoever is given seed and section can compute it.
///
/// # Errors
///
/// [`PrimitiveError`] if the provider cannot.
pub fn commit_payload(
    seed: &[u8; 32],
    payload: &PayloadSection,
) -> Result<[u8; 32], PrimitiveError> {
    let ([message, output, context, group], _) = salts::<4>(seed)?;
    let fields = PayloadGroup {
        message: commit_field(5, 0, &message, &payload.message),
        output: commit_field(5, 1, &output, &payload.output),
        context: commit_field(5, 2, &context, &payload.context),
    };
    Ok(commit_group(5, &group, &cbor::encode(&fields)))
}

struct Committed {
    section: PseudonymousSection,
    key_salt: Salt,
    mask: u64,
    open: OpenRoot,
}

impl Committed {
    fn key_commitment(&self, use_index: Option<u64>) -> [u8; 32] {
        let use_index = use_index.unwrap_or_default();
        let group = CountedKeyGroup { group: self.section.key.clone(), use_index };
        commit_group(2, &self.key_salt, &cbor::encode(&group))
    }
}

/// What a pseudonym stands for. The number keeps classes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum NameClass {
    /// A tenant.
    Tenant = 1,
    /// A key.
    Key = 2,
    /// A principal.
    Principal = 3,
    /// A handle.
    Handle = 4,
    /// A node.
    Node = 5,
}

fn truncate(hash: &[u8; 32]) -> Pseudonym {
    hash.first_chunk::<16>().copied().unwrap_or_default()
}

/// The keys of all tenants and months that are loaded, shared by lanes and readers.
#[derive(Debug, Default)]
pub struct Keyring {
    months: RwLock<BTreeMap<(TenantId, Month), Arc<MonthKeys>>>,
}

impl Keyring {
    /// Adds the keys of a tenant and month.
    pub fn insert(&self, tenant: TenantId, month: Month, keys: MonthKeys) {
        let mut months = self.months.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        months.insert((tenant, month), Arc::new(keys));
    }

    /// The keys of a tenant and month, if they are loaded.
    #[must_use]
    pub fn get(&self, tenant: TenantId, month: Month) -> Option<Arc<MonthKeys>> {
        let months = self.months.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        months.get(&(tenant, month)).cloned()
    }
}

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
}

/// A record that lacks only its place.
#[derive(Debug)]
pub struct Prepared {
    item: Item,
    committed: CommittedKey,
}

#[derive(Debug)]
struct CommittedKey {
    group: KeyGroup,
    salt: Salt,
    mask: u64,
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
        let Self { mut item, committed } = self;
        let CommittedKey { group, salt, mask, open } = committed;
        let index = use_index.unwrap_or_default();
        let counted = CountedKeyGroup { group, use_index: index };
        item.masked_use_index = index ^ mask;
        item.command = command;
        item.root = open.close(&commit_group(2, &salt, &cbor::encode(&counted)));
        let leaf = crate::record::hash_of_leaf(&item.root);
        (item, leaf)
    }
}

impl Sealer {
    /// A sealer for one lane. No two of one start may have the same lane number.
    #[must_use]
    pub fn new(keyring: Arc<Keyring>, boot: Boot, lane: u32, build: BuildGroup) -> Self {
        let (current, pseudonyms) = (BTreeMap::new(), BTreeMap::new());
        Self { keyring, boot, lane, counter: 0, build, current, pseudonyms }
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
        let committed =
            keys.commit(&nonce, section, &identity, &payload).map_err(|_| SealerError)?;
        let mut item = Item::new(facts, month, self.lane, counter);
        let bodies = [
            (cbor::encode(&committed.section), &mut item.pseudonymous),
            (cbor::encode(&identity), &mut item.identity),
            (cbor::encode(&payload), &mut item.payload),
        ];
        for (keys, (body, sealed)) in keys.sections.iter().zip(bodies) {
            keys.seal(&nonce, &body, sealed).map_err(|_| SealerError)?;
        }
        item.answer =
            kept.map(|kept| seal_answer(&keys, facts.tenant, kept, &nonce)).transpose()?;
        let Committed { section, key_salt, mask, open } = committed;
        let committed = CommittedKey { group: section.key, salt: key_salt, mask, open };
        Ok(Prepared { item, committed })
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
            // Handles are many and short-lived: not worth a place in the cache.
            credential: facts
                .credential
                .map(|id| keys.pseudonym(NameClass::Handle, id.as_bytes()))
                .unwrap_or_default(),
            identity: [0; 32],
        };
        let source = SourceGroup { node: named(NameClass::Node, Some(&[0; 16])), source: 0 };
        PseudonymousSection {
            time,
            operation: operation_group(facts, keys),
            key,
            actor,
            authorization: AuthorizationGroup {
                policy: [0; 32],
                rule: 0,
                approvals: 0,
                posture_epoch: facts.posture_epoch,
                head_digest: facts.head_digest,
            },
            source,
            build: self.build,
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
    let id = facts.operation_id.zip(facts.actor).map(|(id, actor)| keys.operation(actor, id));
    OperationGroup {
        kind: facts.kind,
        operation: facts.operation,
        suite: facts.suite,
        outcome: u8::from(facts.refused.is_some()),
        reason: facts.refused.map_or(0, Reason::number),
        size_bucket: u8::try_from(bits).unwrap_or(u8::MAX),
        operation_id: id.unwrap_or_default(),
        flags: 0,
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

fn answer_data(boot: &Boot, tenant: TenantId, block: &AnswerBlock, nonce: &RecordNonce) -> Vec<u8> {
    let id_ms = block.id_ms.to_be_bytes();
    let parts: [&[u8]; 6] =
        [tenant.as_bytes(), &block.name, &block.digest, &id_ms, &boot.boot_nonce, nonce];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use chancery_core::clock::{Quality, Reading, Served};
    use chancery_core::id::KeyId;

    use super::*;
    use crate::record::Kind;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);
    const BOOT: Boot = Boot { log_id: [1; 32], boot_nonce: [2; 16] };
    const NOW: u64 = 1_800_000_000_000;

    fn secrets() -> MonthSecrets {
        MonthSecrets {
            sections: [[1; 32], [2; 32], [3; 32]],
            pseudonyms: [4; 32],
            answers: [5; 32],
        }
    }

    fn keys() -> MonthKeys {
        MonthKeys::derive(&secrets(), BOOT).unwrap()
    }

    fn sealer() -> Sealer {
        let keyring = Keyring::default();
        keyring.insert(TENANT, month_of(NOW), keys());
        Sealer::new(
            Arc::new(keyring),
            BOOT,
            1,
            BuildGroup { build: [0; 32], configuration: [0; 32] },
        )
    }

    fn facts() -> Facts {
        let now = Reading { unix_ms: NOW, quality: Quality::Plausible, served: Served::default() };
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
