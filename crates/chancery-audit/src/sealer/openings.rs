//! Openings of records, made from their sections.

use chancery_core::cbor;
use chancery_core::record_group::{RecordGroup, RecordGroups};
use chancery_crypto::section::{Salt, commit_field, commit_group, salts};
use chancery_log::{Hash, inclusion_proof, leaf_hash, root_of};

use super::months::{MonthKeys, payload_group};
use crate::disclosure::IdentityOpening;
use crate::frame::Item;
use crate::opening::{GroupOpening, Opening};
use crate::record::{CountedKeyGroup, PayloadSection};

/// A group as it is committed: its salt and its value.
type Group = (Salt, Vec<u8>);

/// All that a record says.
struct Whole {
    /// In the order of their numbers.
    groups: [Group; 8],
    payload_seed: [u8; 32],
    payload: PayloadSection,
}

impl MonthKeys {
    /// Opens these groups of an item to somebody. `None` if the item is not what its leaf commits to.
    #[must_use]
    pub fn opening(&self, item: &Item, groups: RecordGroups) -> Option<Opening> {
        let Whole { groups: all, payload_seed, payload } = self.whole(item)?;
        let leaves = commitments(&all);
        if root_of(&leaves) != item.root {
            return None;
        }
        let opened = groups.iter().map(|group| opening_of(group, &all, &leaves));
        let opened = opened.collect::<Option<Vec<_>>>()?;
        let is_payload = groups.iter().any(|group| group == RecordGroup::Payload);
        Some(Opening::new(item.root, opened, is_payload.then_some((&payload_seed, payload))))
    }

    /// Opens the identity section of an item to somebody, to whom its actor group is opened too.
    #[must_use]
    pub fn identity_opening(&self, item: &Item) -> Option<IdentityOpening> {
        let [_, keys, _] = &self.sections;
        let ([salt], _) = salts::<1>(&keys.seed(&item.nonce())).ok()?;
        Some(IdentityOpening { salt: salt.into(), section: self.open_identity(item)? })
    }

    fn whole(&self, item: &Item) -> Option<Whole> {
        let nonce = item.nonce();
        let (mut section, index) = self.open(item)?;
        let [pseudonymous, identity, payload_keys] = &self.sections;
        let ([s0, s1, s2, s3, s4, s6, s7], _) = salts::<7>(&pseudonymous.seed(&nonce)).ok()?;
        let ([identity_salt], _) = salts::<1>(&identity.seed(&nonce)).ok()?;
        let payload_seed = payload_keys.seed(&nonce);
        let (payload_salts, _) = salts::<4>(&payload_seed).ok()?;
        let identity = cbor::encode(&self.open_identity(item)?);
        section.actor.identity = commit_field(3, 3, &identity_salt, &identity);
        let (payload, ..) = self.open_payload(item)?;
        let key = CountedKeyGroup { group: section.key, use_index: index.unwrap_or_default() };
        let [.., s5] = payload_salts;
        let groups = [
            (s0, cbor::encode(&section.time)),
            (s1, cbor::encode(&section.operation)),
            (s2, cbor::encode(&key)),
            (s3, cbor::encode(&section.actor)),
            (s4, cbor::encode(&section.authorization)),
            (s5, cbor::encode(&payload_group(&payload_salts, &payload))),
            (s6, cbor::encode(&section.source)),
            (s7, cbor::encode(&section.build)),
        ];
        Some(Whole { groups, payload_seed, payload })
    }
}

fn commitments(groups: &[Group; 8]) -> Vec<Hash> {
    let numbered = (0..).zip(groups);
    numbered.map(|(number, (salt, value))| leaf_hash(&commit_group(number, salt, value))).collect()
}

fn opening_of(group: RecordGroup, all: &[Group; 8], leaves: &[Hash]) -> Option<GroupOpening> {
    let (salt, value) = all.get(usize::from(group.number()))?;
    let siblings = inclusion_proof(leaves, u64::from(group.number())).ok()?;
    let siblings: [Hash; 3] = siblings.try_into().ok()?;
    Some(GroupOpening {
        group: group.number(),
        salt: (*salt).into(),
        value: value.clone(),
        siblings: siblings.map(|hash| (*hash.as_bytes()).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{facts, keys, sealer};
    use super::*;
    use crate::disclosure::CaseRecord;
    use crate::opening::OpeningError;

    fn item() -> Item {
        sealer().prepare(&facts(), None).unwrap().finish(Some(41), 0).0
    }

    fn all() -> RecordGroups {
        RecordGroups::of(&RecordGroup::ALL).unwrap()
    }

    #[test]
    fn an_opening_shows_what_the_leaf_commits_to_and_leads_to_it() {
        let item = item();
        let opening = keys().opening(&item, all()).unwrap();
        assert_eq!(Opening::parse(&opening.to_bytes()), Ok(opening.clone()));
        assert_eq!(opening.leaf(), item.leaf_hash());
        let opened = opening.open().unwrap();
        assert_eq!(opened.key.unwrap().use_index, 41);
        assert_eq!(opened.payload.unwrap().message, facts().message);
        assert_eq!(opened.time.unwrap().unix_ms, facts().now.unix_ms);
    }

    #[test]
    fn what_is_not_asked_for_stays_closed() {
        for group in RecordGroup::ALL {
            let one = RecordGroups::of(&[group]).unwrap();
            let opened = keys().opening(&item(), one).unwrap().open().unwrap();
            let shown = [
                opened.time.is_some(),
                opened.operation.is_some(),
                opened.key.is_some(),
                opened.actor.is_some(),
                opened.authorization.is_some(),
                opened.payload.is_some(),
                opened.source.is_some(),
                opened.build.is_some(),
            ];
            let expected = RecordGroup::ALL.map(|other| other == group);
            assert_eq!(shown, expected, "{group:?}");
        }
    }

    #[test]
    fn no_altered_bit_of_an_opening_shows_anything_under_the_same_leaf() {
        let item = item();
        let bytes = keys().opening(&item, all()).unwrap().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let shown = Opening::parse(&altered).and_then(|opening| {
                let opened = opening.open()?;
                if opening.leaf() == item.leaf_hash() {
                    Ok(opened)
                } else {
                    Err(OpeningError::NotCommitted)
                }
            });
            assert!(shown.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_of_a_case_shows_who_it_was_and_no_other_can_be_put_in_its_place() {
        let item = item();
        let opening = keys().opening(&item, all()).unwrap();
        let identity = keys().identity_opening(&item).unwrap();
        let record = CaseRecord::new(3, "k".into(), &opening, identity.clone());
        let (opened, shown) = record.open().unwrap();
        assert_eq!((opened.key.unwrap().use_index, shown), (41, identity.section.clone()));
        let mut other = identity;
        other.section.principal[0] ^= 1;
        let forged = CaseRecord::new(3, "k".into(), &opening, other);
        assert_eq!(forged.open().err(), Some(OpeningError::NotCommitted));
    }

    #[test]
    fn an_altered_record_is_not_opened() {
        let mut item = item();
        item.masked_use_index ^= 1;
        assert_eq!(keys().opening(&item, all()), None);
    }
}
