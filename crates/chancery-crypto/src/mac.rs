//! The MAC of handle chains: HMAC-SHA-256 (RFC 2104), each use under a label of its own.
//!
//! ```text
//! tag_0       = HMAC[handle key](HANDLE_ROOT ‖ root)
//! tag_i       = HMAC[tag_{i-1}](HANDLE_LINK ‖ caveat_i)
//! revocation  = HMAC[tag_i](HANDLE_REVOCATION_ID)
//! ```

use std::collections::BTreeMap;

use chancery_core::handle::{HandleKeyId, Link, Mac, Tag};

use crate::labels;
use crate::primitive::{HmacKey, equal};

/// Adds links to a chain; holds no secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChainLink;

/// Begins and checks chains; holds the handle keys.
pub struct HandleMac {
    keys: BTreeMap<HandleKeyId, HmacKey>,
}

impl std::fmt::Debug for HandleMac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandleMac").field("keys", &self.keys.len()).finish()
    }
}

impl HandleMac {
    /// Takes the handle keys, 32 bytes each.
    #[must_use]
    pub fn new<'k>(keys: impl IntoIterator<Item = (HandleKeyId, &'k [u8; 32])>) -> Self {
        let keys = keys.into_iter();
        Self { keys: keys.map(|(id, key)| (id, HmacKey::new(key))).collect() }
    }
}

fn tag(key: &HmacKey, label: &[u8], message: &[u8]) -> Tag {
    key.of([label, message])
}

impl Link for ChainLink {
    fn link(&self, last: &Tag, caveat: &[u8]) -> Tag {
        tag(&HmacKey::new(last), labels::HANDLE_LINK, caveat)
    }

    fn revocation(&self, last: &Tag) -> Tag {
        tag(&HmacKey::new(last), labels::HANDLE_REVOCATION_ID, &[])
    }
}

impl Link for HandleMac {
    fn link(&self, last: &Tag, caveat: &[u8]) -> Tag {
        ChainLink.link(last, caveat)
    }

    fn revocation(&self, last: &Tag) -> Tag {
        ChainLink.revocation(last)
    }
}

impl Mac for HandleMac {
    fn root(&self, key: HandleKeyId, root: &[u8]) -> Option<Tag> {
        self.keys.get(&key).map(|key| tag(key, labels::HANDLE_ROOT, root))
    }

    fn equal(&self, one: &Tag, other: &Tag) -> bool {
        equal(one, other)
    }
}

/// A keyed hash: `HMAC-SHA-256[key](label ‖ parts)`, each part behind its length of 4 bytes.
///
/// Stands for names in the audit and in the index of operation ids.
pub struct KeyedHash(HmacKey);

impl std::fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyedHash")
    }
}

impl KeyedHash {
    /// Takes a key of 32 bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(HmacKey::new(key))
    }

    /// The hash of `parts` under `label`.
    #[must_use]
    pub fn of(&self, label: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let lengths = parts.iter().map(|part| u32::try_from(part.len()).unwrap_or(u32::MAX));
        let mut mac = self.0.begin();
        mac.update(label);
        for (length, part) in lengths.zip(parts) {
            mac.update(&length.to_be_bytes());
            mac.update(part);
        }
        mac.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_link_of_the_same_bytes_differ() {
        let mac = HandleMac::new([(HandleKeyId(1), &[7; 32])]);
        let root = mac.root(HandleKeyId(1), b"bytes").unwrap();
        assert_ne!(root, ChainLink.link(&[7; 32], b"bytes"));
        assert_eq!(mac.root(HandleKeyId(2), b"bytes"), None);
    }

    #[test]
    fn where_a_part_ends_changes_the_hash() {
        let hash = KeyedHash::new(&[1; 32]);
        assert_ne!(hash.of(b"label", &[b"ab", b"c"]), hash.of(b"label", &[b"a", b"bc"]));
    }
}
