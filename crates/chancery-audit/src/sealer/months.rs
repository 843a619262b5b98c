//! The audit keys of a tenant's month: what opens records, and what shredding destroys.
//!
//! [`MonthSecrets`] are the random keys that are stored; [`MonthKeys`] are derived from them for one start of
//! the service, and open and recompute what was sealed under that start's boot nonce.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use chancery_core::cbor;
use chancery_core::id::{OperationId, PrincipalId, TenantId};
use chancery_crypto::labels;
use chancery_crypto::mac::KeyedHash;
use chancery_crypto::primitive::{Gcm, PrimitiveError};
use chancery_crypto::section::{
    Boot, RecordNonce, Salt, SectionKeys, commit_field, commit_group, salts,
};
use chancery_log::Hash;

use crate::frame::{AnswerBlock, Item, ItemView};
use crate::record::{
    Counted, CountedKeyGroup, IdentitySection, KeyGroup, OpenRoot, PayloadGroup, PayloadPath,
    PayloadSection, Pseudonym, PseudonymousSection, SECTIONS,
};

/// Months since January 1970.
pub type Month = u16;

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
    pub(super) sections: [SectionKeys; 3],
    pseudonyms: KeyedHash,
    pub(super) answers: Gcm,
    pub(super) boot: Boot,
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
        pseudonym_of(&self.pseudonyms, class, name)
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
        let (open, _, group_2) = self.recommit(item)?;
        Some(open.close(&group_2))
    }

    /// What opens the payload section of an item to somebody: the section, its seed, and the way to the root.
    #[must_use]
    pub fn open_payload(&self, item: &Item) -> Option<(PayloadSection, [u8; 32], PayloadPath)> {
        let (open, payload, group_2) = self.recommit(item)?;
        let [.., section] = &self.sections;
        Some((payload, section.seed(&item.nonce()), open.payload_path(&group_2)))
    }

    /// What an item is found by: its sections as they were sealed, without the way to the leaf. It is not enough to show
    /// anything by, and costs a fifth of that.
    pub(super) fn open_unproved(
        &self,
        item: &ItemView<'_>,
        room: &mut Vec<u8>,
    ) -> Option<(PseudonymousSection, PayloadSection)> {
        let [pseudonymous, _, payload] = &self.sections;
        let body = pseudonymous.open_in(&item.nonce(), item.pseudonymous, room).ok()?;
        let section = minicbor::decode(body).ok()?;
        let body = payload.open_in(&item.nonce(), item.payload, room).ok()?;
        Some((section, minicbor::decode(body).ok()?))
    }

    fn recommit(&self, item: &Item) -> Option<(OpenRoot, PayloadSection, [u8; 32])> {
        let (opened, index) = self.open(item)?;
        let [.., section] = &self.sections;
        let payload = section.open(&item.nonce(), &item.payload).ok()?;
        let payload: PayloadSection = cbor::decode(&payload, "payload section").ok()?;
        let identity = self.open_identity(item)?;
        // The identity commitment is part of the actor group, so an altered one changes the root.
        let Committed { key, open, .. } =
            self.commit(&item.nonce(), opened, &identity, &payload).ok()?;
        let (group_2, _) = key.commit(index);
        Some((open, payload, group_2))
    }

    pub(super) fn commit(
        &self,
        nonce: &RecordNonce,
        mut section: PseudonymousSection,
        identity: &IdentitySection,
        payload: &PayloadSection,
    ) -> Result<Committed, PrimitiveError> {
        let [pseudonymous_keys, identity_keys, payload_keys] = &self.sections;
        let ([s0, s1, s2, s3, s4, s6, s7], mask) = salts::<7>(&pseudonymous_keys.seed(nonce))?;
        let ([identity_salt], _) = salts::<1>(&identity_keys.seed(nonce))?;
        let identity = cbor::encode(identity);
        section.actor.identity = commit_field(3, 3, &identity_salt, &identity);
        let c5 = commit_payload(&payload_keys.seed(nonce), payload)?;
        let groups = Groups::encode(&section);
        let [g0, g1, _, g3, g4, g6, g7] = groups.parts();
        let open = OpenRoot::new([
            commit_group(0, &s0, g0),
            commit_group(1, &s1, g1),
            commit_group(3, &s3, g3),
            commit_group(4, &s4, g4),
            c5,
            commit_group(6, &s6, g6),
            commit_group(7, &s7, g7),
        ]);
        let bodies = [groups.bytes, identity, cbor::encode(payload)];
        let key = OpenKey { group: section.key, salt: s2, mask };
        Ok(Committed { bodies, key, open })
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
    let (salts, _) = salts::<4>(seed)?;
    let [.., group] = &salts;
    Ok(commit_group(5, group, &cbor::encode(&payload_group(&salts, payload))))
}

/// Group 5: the commitments of the three digests, under the salts of their section.
pub(crate) fn payload_group(
    [message, output, context, _]: &[Salt; 4],
    payload: &PayloadSection,
) -> PayloadGroup {
    PayloadGroup {
        message: commit_field(5, 0, message, &payload.message),
        output: commit_field(5, 1, output, &payload.output),
        context: commit_field(5, 2, context, &payload.context),
    }
}

/// Room for section 1 in clear and its tag: 420 bytes at most.
const PSEUDONYMOUS_BYTES: usize = 448;

/// Section 1 in clear: its groups, each encoded once for section and commitment alike.
struct Groups {
    bytes: Vec<u8>,
    ends: [usize; 7],
}

impl Groups {
    fn encode(section: &PseudonymousSection) -> Self {
        let mut bytes = Vec::with_capacity(PSEUDONYMOUS_BYTES);
        // The head of an array of seven (RFC 8949, 3.1).
        bytes.push(0x87);
        let ends = [
            cbor::append(&mut bytes, &section.time),
            cbor::append(&mut bytes, &section.operation),
            cbor::append(&mut bytes, &section.key),
            cbor::append(&mut bytes, &section.actor),
            cbor::append(&mut bytes, &section.authorization),
            cbor::append(&mut bytes, &section.source),
            cbor::append(&mut bytes, &section.build),
        ];
        Self { bytes, ends }
    }

    fn parts(&self) -> [&[u8]; 7] {
        let mut start = 1;
        self.ends.map(|end| {
            let part = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            part
        })
    }
}

/// A record whose groups are committed, all but the key's.
pub(super) struct Committed {
    /// The three sections in clear.
    pub(super) bodies: [Vec<u8>; 3],
    pub(super) key: OpenKey,
    pub(super) open: OpenRoot,
}

/// The key group, to be committed with its use index.
#[derive(Debug)]
pub(super) struct OpenKey {
    group: KeyGroup,
    salt: Salt,
    mask: u64,
}

impl OpenKey {
    /// The commitment with a use index, or 0 if none is counted; and that number under its mask.
    pub(super) fn commit(self, use_index: Option<u64>) -> ([u8; 32], u64) {
        let use_index = use_index.unwrap_or_default();
        let group = CountedKeyGroup { group: self.group, use_index };
        (commit_group(2, &self.salt, &cbor::encode(&group)), use_index ^ self.mask)
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
    /// In the index alone, a version behind the pseudonym of its key.
    Version = 6,
    /// In the index alone, kind and number of what was done.
    Action = 7,
    /// In the index alone, an outcome.
    Outcome = 8,
    /// In the index alone, a reason.
    Reason = 9,
    /// In the index alone, the digest of an output.
    Output = 10,
}

pub(super) fn pseudonym_of(keys: &KeyedHash, class: NameClass, name: &[u8]) -> Pseudonym {
    truncate(&keys.of(labels::AUDIT_PSEUDONYM, &[&[class as u8], name]))
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

pub(super) fn answer_data(
    boot: &Boot,
    tenant: TenantId,
    block: &AnswerBlock,
    nonce: &RecordNonce,
) -> Vec<u8> {
    let id_ms = block.id_ms.to_be_bytes();
    let parts: [&[u8]; 6] =
        [tenant.as_bytes(), &block.name, &block.digest, &id_ms, &boot.boot_nonce, nonce];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use chancery_core::clock::Quality;
    use chancery_crypto::section::SECTION_SEALING_BYTES;

    use super::*;
    use crate::record::{
        ActorGroup, Authentication, AuthorizationGroup, BuildGroup, Kind, OperationGroup,
        SourceGroup, TimeGroup,
    };

    fn section() -> PseudonymousSection {
        let (unix_ms, boot_nonce) = (u64::MAX, [1; 16]);
        PseudonymousSection {
            time: TimeGroup {
                unix_ms,
                quality: Quality::Plausible,
                boot_nonce,
                lane: u32::MAX,
                counter: u64::MAX,
            },
            operation: OperationGroup {
                kind: Kind::Use,
                operation: u8::MAX,
                suite: u16::MAX,
                outcome: 1,
                reason: u16::MAX,
                size_bucket: u8::MAX,
                operation_id: [2; 16],
                flags: 0,
            },
            key: KeyGroup {
                tenant: [3; 16],
                key: [4; 16],
                version: u32::MAX,
                counted: Counted::Yes,
                protection: 1,
            },
            actor: ActorGroup {
                actor: [5; 16],
                authentication: Authentication::Handle,
                credential: [6; 16],
                identity: [7; 32],
            },
            authorization: AuthorizationGroup {
                policy: [8; 32],
                rule: u16::MAX,
                approvals: u8::MAX,
                posture_epoch: u64::MAX,
                head_digest: [9; 32],
            },
            source: SourceGroup { node: [10; 16], source: 0 },
            build: BuildGroup { build: [11; 32], configuration: [12; 32] },
        }
    }

    #[test]
    fn the_groups_one_after_the_other_are_the_section() {
        let section = section();
        let groups = Groups::encode(&section);
        assert_eq!(groups.bytes, cbor::encode(&section));
        assert!(groups.bytes.len() + SECTION_SEALING_BYTES <= PSEUDONYMOUS_BYTES);
    }

    #[test]
    fn each_part_is_one_group_as_it_is_encoded_alone() {
        let section = section();
        let groups = Groups::encode(&section);
        let [time, operation, key, actor, authorization, source, build] = groups.parts();
        assert_eq!(cbor::decode(time, "group"), Ok(section.time));
        assert_eq!(cbor::decode(operation, "group"), Ok(section.operation));
        assert_eq!(cbor::decode(key, "group"), Ok(section.key));
        assert_eq!(cbor::decode(actor, "group"), Ok(section.actor));
        assert_eq!(cbor::decode(authorization, "group"), Ok(section.authorization));
        assert_eq!(cbor::decode(source, "group"), Ok(section.source));
        assert_eq!(cbor::decode(build, "group"), Ok(section.build));
    }
}
