//! Key material in use: unwrapped when it is needed, kept parsed within a budget, forgotten the longest unused first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chancery_core::id::KeyId;
use chancery_core::key::Key;
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;

use crate::config::SignerError;
use crate::counters::lock;
use crate::vault::Vault;

/// The most arena bytes that parsed keys take: 2 MiB of the arena's 4.
const BUDGET_BYTES: usize = 2 * 1024 * 1024;

/// Parsed keys, by key and version.
#[derive(Default)]
pub(crate) struct Materials {
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    keys: BTreeMap<(KeyId, u32), Cached>,
    by_age: BTreeMap<u64, (KeyId, u32)>,
    clock: u64,
    bytes: usize,
}

struct Cached {
    key: Arc<PrivateKey>,
    used: u64,
}

/// Whether this is the first use of a version since it was unwrapped: its signature is verified before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    Yes,
    No,
}

/// What a parsed key takes in the arena, in bytes, rounded up from what was measured.
fn cost(suite: Suite) -> usize {
    match suite {
        Suite::RsaPss3072 | Suite::RsaPkcs1Sha256With3072 => 9 * 1024,
        Suite::RsaPss4096 | Suite::RsaPkcs1Sha256With4096 => 12 * 1024,
        Suite::MlDsa44 | Suite::MlDsa65 | Suite::MlDsa87 => 10 * 1024,
        _ => 2 * 1024,
    }
}

impl Materials {
    /// The material of a version of `key`.
    pub(crate) fn get(
        &self,
        vault: &Mutex<Vault>,
        key: &Key,
        version: u32,
    ) -> Result<(Arc<PrivateKey>, First), SignerError> {
        if let Some(found) = lock(&self.cache).touch((key.id, version)) {
            return Ok((found, First::No));
        }
        let secret = lock(vault).material(key.tenant, key.id, version, &key.scope)?;
        let suite = key.version(version).map_or(key.suite, |version| key.suite_of(version));
        let parsed = PrivateKey::from_secret(suite, &secret);
        let parsed =
            parsed.map_err(|_| SignerError::Inconsistent("a key version's material is no key"))?;
        let parsed = Arc::new(parsed);
        lock(&self.cache).insert((key.id, version), Arc::clone(&parsed));
        Ok((parsed, First::Yes))
    }

    /// Forgets a version, so that nothing of it stays in memory once its last use has ended.
    pub(crate) fn forget(&self, id: (KeyId, u32)) {
        lock(&self.cache).remove(id);
    }
}

impl Cache {
    fn touch(&mut self, id: (KeyId, u32)) -> Option<Arc<PrivateKey>> {
        self.clock += 1;
        let cached = self.keys.get_mut(&id)?;
        self.by_age.remove(&cached.used);
        cached.used = self.clock;
        self.by_age.insert(self.clock, id);
        Some(Arc::clone(&cached.key))
    }

    fn insert(&mut self, id: (KeyId, u32), key: Arc<PrivateKey>) {
        self.remove(id);
        self.bytes += cost(key.suite());
        while self.bytes > BUDGET_BYTES {
            let Some((_, oldest)) = self.by_age.first_key_value() else { break };
            self.remove(*oldest);
        }
        self.clock += 1;
        self.by_age.insert(self.clock, id);
        self.keys.insert(id, Cached { key, used: self.clock });
    }

    fn remove(&mut self, id: (KeyId, u32)) {
        if let Some(cached) = self.keys.remove(&id) {
            self.by_age.remove(&cached.used);
            self.bytes = self.bytes.saturating_sub(cost(cached.key.suite()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_key_is_forgotten_first() {
        let mut cache = Cache::default();
        let id = |number: usize| {
            (
                KeyId::from_bytes([u8::try_from(number % 256).unwrap(); 16]),
                u32::try_from(number).unwrap(),
            )
        };
        let room = BUDGET_BYTES / cost(Suite::HkdfSha256);
        let key = Arc::new(PrivateKey::from_secret(Suite::HkdfSha256, &[1; 32]).unwrap());
        for number in 0..room {
            cache.insert(id(number), Arc::clone(&key));
        }
        assert!(cache.touch(id(0)).is_some());
        cache.insert(id(room), Arc::clone(&key));
        assert!(cache.touch(id(1)).is_none());
        assert!(cache.touch(id(0)).is_some());
        assert_eq!(cache.keys.len(), room);
        assert_eq!(cache.by_age.len(), room);
    }
}
