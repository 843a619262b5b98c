//! A bundle with its entries, before it is issued and after.

use std::sync::{Arc, OnceLock};

use chancery_api::message::{PublicReply, PublicRequest};
use chancery_core::authority::Refusal;
use chancery_core::bundle::{BundleRow, Floors, Head, Universe, next_number};
use chancery_core::epoch::Epoch;
use chancery_core::id::TenantId;
use chancery_core::key::{Key, KeyVersion as Version};
use chancery_core::limits::BUNDLE_KEYS_MAX;
use chancery_core::name::Name;
use chancery_core::purpose::{Format, Usage};
use chancery_core::reason::Reason;
use chancery_core::state::KeyState;
use chancery_crypto::bundle;
use chancery_crypto::export;
use chancery_crypto::formats::KeyVersion;
use chancery_crypto::key::PublicKey;
use chancery_crypto::primitive::sha256;

use super::{now_ms, unissued};
use crate::counters::lock;
use crate::service::Shared;

/// How long to wait before asking for a newer one, in milliseconds: a minute. Who waits at the service hears at once.
const REFRESH_MS: u64 = 60_000;

/// How long a bundle may be used by who hears nothing, in milliseconds: 4 hours. So long a revocation can be withheld from
/// a verifier, and so long can the service be away before verifiers stop.
const MAX_STALENESS_MS: u64 = 4 * 3_600_000;

/// From the making of a bundle to its end, in milliseconds: a day. One that is half over is made anew when somebody asks.
const LIFE_MS: u64 = 24 * 3_600_000;

/// The longest JWK Set, in bytes: 1 MiB, some thousands of keys on curves. One document cannot be taken in parts.
const JWKS_BYTES_MAX: usize = 1024 * 1024;

// Nobody who hears nothing uses a bundle beyond its end.
const _: () = assert!(REFRESH_MS < MAX_STALENESS_MS && MAX_STALENESS_MS < LIFE_MS / 2);

/// A bundle that may be handed out.
pub(super) struct Made {
    row: Arc<BundleRow>,
    number: Epoch,
    as_of: Epoch,
    digest: [u8; 32],
    /// The keys that it was made from; none, if they are others by now.
    keys: Option<Vec<Arc<Key>>>,
    tokens: OnceLock<Option<Vec<u8>>>,
}

/// A bundle that nobody may have yet.
pub(super) struct Draft {
    pub(super) row: BundleRow,
    keys: Vec<Arc<Key>>,
}

/// A tenant's keys at one epoch.
struct Picture {
    now_ms: u64,
    as_of: Epoch,
    keys: Vec<Arc<Key>>,
    before: Option<Arc<BundleRow>>,
}

impl Picture {
    fn take(shared: &Shared, tenant: TenantId) -> Option<Self> {
        let now_ms = now_ms(shared);
        let authority = &lock(&shared.core).authority;
        let as_of = authority.tenant(tenant)?.epoch;
        let keys = authority.bundled_keys(tenant, BUNDLE_KEYS_MAX);
        Some(Self { now_ms, as_of, keys, before: authority.bundle(tenant).cloned() })
    }
}

impl Draft {
    /// What a bundle would say now.
    pub(super) fn of(shared: &Shared, tenant: TenantId) -> Result<Self, Refusal> {
        let Picture { now_ms, as_of, keys, before } =
            Picture::take(shared, tenant).ok_or_else(unissued)?;
        if keys.len() > BUNDLE_KEYS_MAX {
            let detail = format!("a trust bundle holds at most {BUNDLE_KEYS_MAX} keys");
            return Err(Refusal { reason: Reason::TooLarge, detail });
        }
        let signing = lock(&shared.vault).bundle_keys(tenant).map_err(|_| unissued())?;
        let sum = bundle::sum(&keys);
        let last = before.as_ref().and_then(|row| row.latest());
        let made_ms = now_ms.max(before.as_ref().map_or(0, |row| row.made_ms));
        let head = Head {
            tenant,
            number: next_number(last.map(|last| last.number), as_of),
            as_of,
            previous: last.map(|last| last.digest),
            made_ms,
            refresh_ms: REFRESH_MS,
            max_staleness_ms: MAX_STALENESS_MS,
            expires_ms: made_ms.saturating_add(LIFE_MS),
            universe: Universe::PublishedPublic,
            keys: sum.keys,
            revoked: sum.revoked,
            revoke_all: sum.revoke_all,
            root: sum.root,
            bytes: sum.bytes,
            floors: Floors::STANDARD,
            signers: signing.signers(),
        };
        let (digest, signed) = signing.sign(&head).map_err(|_| unissued())?;
        Ok(Self { row: BundleRow::after(before.as_deref(), &head, digest, signed), keys })
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        self.row.latest().map(|latest| latest.digest).unwrap_or_default()
    }

    pub(super) fn into_made(self) -> Made {
        let digest = self.digest();
        let latest = self.row.latest().map(|latest| (latest.number, latest.as_of));
        let (number, as_of) = latest.unwrap_or_default();
        let (row, keys) = (Arc::new(self.row), Some(self.keys));
        Made { row, number, as_of, digest, keys, tokens: OnceLock::new() }
    }
}

impl Made {
    /// The latest bundle of an earlier start. Its entries are there if the keys are as they were.
    pub(super) fn again(shared: &Shared, tenant: TenantId) -> Option<Self> {
        let Picture { as_of, keys, before, .. } = Picture::take(shared, tenant)?;
        let row = before?;
        let latest = *row.latest()?;
        let is_same = latest.as_of == as_of && bundle::is_over(&row.signed, &bundle::sum(&keys));
        let (keys, tokens) = (is_same.then_some(keys), OnceLock::new());
        let (number, as_of, digest) = (latest.number, latest.as_of, latest.digest);
        Some(Self { row, number, as_of, digest, keys, tokens })
    }

    pub(super) fn number(&self) -> Epoch {
        self.number
    }

    /// Whether it shows the tenant as it is, and is not half over.
    pub(super) fn is_current(&self, shared: &Shared, tenant: TenantId) -> bool {
        let age_ms = now_ms(shared).saturating_sub(self.row.made_ms);
        let epoch = lock(&shared.core).authority.tenant(tenant).map(|row| row.epoch);
        self.keys.is_some() && age_ms < LIFE_MS / 2 && epoch == Some(self.as_of)
    }

    /// The page that begins there.
    pub(super) fn page(&self, from: u64) -> Option<PublicReply> {
        let keys = self.keys.as_ref()?;
        let bytes = bundle::page(self.number, keys, from)?;
        Some(PublicReply::Found { digest: sha256(&[&bytes]), bytes })
    }

    /// What is asked for of the latest bundle.
    pub(super) fn answer(&self, asked: &PublicRequest) -> Result<PublicReply, Refusal> {
        match asked {
            PublicRequest::Jwks { key, known } => {
                let bytes = self.jwks(key.as_ref())?;
                Ok(found(sha256(&[&bytes]), bytes, *known))
            }
            PublicRequest::Bundle { known, .. } => {
                Ok(found(self.digest, self.row.signed.clone(), *known))
            }
            PublicRequest::Entries { .. } => Err(unissued()),
        }
    }

    fn jwks(&self, name: Option<&Name>) -> Result<Vec<u8>, Refusal> {
        let keys = self.keys.as_deref().ok_or_else(unissued)?;
        let set = match name {
            None => self.tokens.get_or_init(|| jwks(keys.iter().filter(|key| signs(key)))).clone(),
            Some(name) => {
                let key = keys.iter().find(|key| key.name == *name && signs(key));
                let detail = format!("no key `{name}` that signs tokens");
                let absent = || Refusal { reason: Reason::Forbidden, detail };
                jwks(std::iter::once(key.ok_or_else(absent)?))
            }
        };
        set.ok_or_else(|| {
            let detail = "the keys are too many for one JWK Set; ask for those of one key, or take the trust bundle";
            Refusal { reason: Reason::TooLarge, detail: detail.to_owned() }
        })
    }
}

fn found(digest: [u8; 32], bytes: Vec<u8>, known: Option<[u8; 32]>) -> PublicReply {
    if known == Some(digest) {
        PublicReply::Known { digest }
    } else {
        PublicReply::Found { digest, bytes }
    }
}

/// Whether a key signs tokens. What a key of another format signs is no token, whoever asked for it: a key for plain
/// bytes would sign what looks like one.
fn signs(key: &Key) -> bool {
    let is_jose = matches!(key.purpose.format(), Format::Jws | Format::JwsJson);
    key.purpose.usage() == Usage::Sign && is_jose
}

/// The JWK Set of these keys; nothing, if it is too long.
fn jwks<'k>(keys: impl Iterator<Item = &'k Arc<Key>>) -> Option<Vec<u8>> {
    let versions = keys.flat_map(|key| {
        let of_key = key.versions.iter().filter(|version| verifies(version));
        of_key.map(move |version| (key, version))
    });
    let mut publics = Vec::new();
    let mut bytes = 0_usize;
    for (key, version) in versions {
        bytes = bytes.saturating_add(version.public.len());
        if bytes > JWKS_BYTES_MAX {
            return None;
        }
        let public = PublicKey::from_spki(key.suite_of(version), &version.public).ok()?;
        publics.push((public, KeyVersion { key: key.id, version: version.number }));
    }
    let set = export::jwks(publics.iter().map(|(public, version)| (public, *version))).ok()?;
    (set.len() <= JWKS_BYTES_MAX).then(|| set.into_bytes())
}

/// Whether a version is told to who verifies tokens: it is published, and what it signs is taken.
fn verifies(version: &Version) -> bool {
    let by_state =
        matches!(version.state, KeyState::PreActivation | KeyState::Active | KeyState::Deactivated);
    version.published.is_some() && by_state && version.destruction.is_none()
}
