//! The keys that open what events say: two sections of a month's records, and the names in them.
//!
//! They open neither what was signed or encrypted, by its digests, nor kept answers, and not the way to a leaf. Whoever has
//! them holds records against the log by its frames ([`crate::page`]), since a section that opens was sealed by the log,
//! for that record and no other, and the frame's hash covers it with its leaf.

use chancery_core::id::KeyId;
use chancery_crypto::mac::KeyedHash;
use chancery_crypto::primitive::PrimitiveError;
use chancery_crypto::section::{Boot, SectionKeys, use_index_mask};
use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::months::pseudonym_of;
use super::{MonthSecrets, NameClass};
use crate::frame::ItemView;
use crate::record::{Counted, IdentitySection, Pseudonym, PseudonymousSection, SECTIONS};

/// The secrets of a tenant's month that open what events say.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(array)]
pub struct EventSecrets {
    /// Of sections 1 and 2.
    #[cbor(n(0), with = "minicbor::bytes")]
    sections: [u8; 64],
    #[cbor(n(1), with = "minicbor::bytes")]
    pseudonyms: [u8; 32],
}

impl std::fmt::Debug for EventSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventSecrets")
    }
}

impl EventSecrets {
    /// Of all secrets of a month those that events need.
    #[must_use]
    pub fn of(secrets: &MonthSecrets) -> Self {
        let [one, two, _] = &secrets.sections;
        let mut sections = [0; 64];
        let (first, second) = sections.split_at_mut(32);
        first.copy_from_slice(one);
        second.copy_from_slice(two);
        Self { sections, pseudonyms: secrets.pseudonyms }
    }
}

/// The keys for one start of the service.
#[derive(Debug)]
pub struct EventKeys {
    pseudonymous: SectionKeys,
    identity: SectionKeys,
    pseudonyms: KeyedHash,
}

/// What events say of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFacts {
    /// Section 1.
    pub section: PseudonymousSection,
    /// The use index, if one is counted.
    pub use_index: Option<u64>,
    /// Section 2.
    pub identity: IdentitySection,
}

impl EventKeys {
    /// Derives them.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if the provider cannot.
    pub fn derive(secrets: &EventSecrets, boot: Boot) -> Result<Self, PrimitiveError> {
        let ([one, two], _) = secrets.sections.as_chunks::<32>() else {
            return Err(PrimitiveError);
        };
        let [first, second, _] = SECTIONS;
        Ok(Self {
            pseudonymous: SectionKeys::derive(one, first, boot)?,
            identity: SectionKeys::derive(two, second, boot)?,
            pseudonyms: KeyedHash::new(&secrets.pseudonyms),
        })
    }

    /// The pseudonym of a key.
    #[must_use]
    pub fn key_pseudonym(&self, key: KeyId) -> Pseudonym {
        pseudonym_of(&self.pseudonyms, NameClass::Key, key.as_bytes())
    }

    /// Opens an item, with room for a section; nothing if it was not sealed so.
    #[must_use]
    pub fn open(&self, item: &ItemView<'_>, room: &mut Vec<u8>) -> Option<EventFacts> {
        let nonce = item.nonce();
        let body = self.pseudonymous.open_in(&nonce, item.pseudonymous, room).ok()?;
        let section: PseudonymousSection = minicbor::decode(body).ok()?;
        let body = self.identity.open_in(&nonce, item.identity, room).ok()?;
        let identity: IdentitySection = minicbor::decode(body).ok()?;
        if section.operation.kind != item.kind {
            return None;
        }
        let use_index = match section.key.counted {
            Counted::No => None,
            Counted::Yes => {
                let mask = use_index_mask(&self.pseudonymous.seed(&nonce)).ok()?;
                Some(item.masked_use_index ^ mask)
            }
        };
        Some(EventFacts { section, use_index, identity })
    }
}

#[cfg(test)]
mod tests {
    use chancery_core::cbor;

    use super::super::tests::{BOOT, facts, keys, sealer, secrets};
    use super::*;
    use crate::codec::Reader;
    use crate::frame::Item;

    fn opened(keys: &EventKeys, item: &Item) -> Option<EventFacts> {
        let bytes = item.to_bytes();
        keys.open(&ItemView::read(&mut Reader::new(&bytes)).unwrap(), &mut Vec::new())
    }

    #[test]
    fn what_events_say_opens_as_with_all_keys_of_the_month() {
        let item = sealer().prepare(&facts(), None).unwrap().finish(Some(41), 0).0;
        let (section, use_index) = keys().open(&item).unwrap();
        let identity = keys().open_identity(&item).unwrap();
        let events = EventKeys::derive(&EventSecrets::of(&secrets()), BOOT).unwrap();
        let expected = EventFacts { section, use_index, identity };
        assert_eq!(opened(&events, &item), Some(expected.clone()));
        assert_eq!(use_index, Some(41));
        let (key, _) = facts().key.unwrap();
        assert_eq!(events.key_pseudonym(key), expected.section.key.key);
        for alter in [
            |item: &mut Item| item.pseudonymous[0] ^= 1,
            |item: &mut Item| item.identity[0] ^= 1,
            |item: &mut Item| item.counter ^= 1,
            |item: &mut Item| item.kind = crate::record::Kind::Count,
        ] {
            let mut altered = item.clone();
            alter(&mut altered);
            assert_eq!(opened(&events, &altered), None);
        }
    }

    #[test]
    fn neither_payloads_nor_answers_are_opened_by_them() {
        let encoded = cbor::encode(&EventSecrets::of(&secrets()));
        let [.., payload] = secrets().sections;
        for closed in [payload, secrets().answers] {
            assert!(!encoded.windows(32).any(|window| window == closed));
        }
        let decoded: EventSecrets = cbor::decode(&encoded, "secrets").unwrap();
        assert_eq!(decoded, EventSecrets::of(&secrets()));
    }
}
