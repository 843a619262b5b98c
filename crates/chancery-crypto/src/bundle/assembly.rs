//! A bundle as it is put together: its head first, then its pages in their order.

use chancery_core::bundle::{Entry, Head, KeyEntry, Revoked};
use chancery_core::limits::{BUNDLE_BYTES_MAX, BUNDLE_KEYS_MAX, KEY_VERSIONS_MAX};
use chancery_core::state::KeyState;
use chancery_log::{Frontier, leaf_hash};

use super::{
    BundleError, BundleFile, FORMAT, HEAD_BYTES_MAX, PAGE_BYTES_MAX, Page, Pins, SignedHead,
    TrustBundle, decode, signed_bytes,
};
use crate::primitive::sha256;

/// The longest file of a whole bundle, in bytes.
const FILE_BYTES_MAX: u64 = BUNDLE_BYTES_MAX + BUNDLE_BYTES_MAX / 8;

/// A bundle whose head is signed by enough pinned keys, and whose entries are still coming.
#[derive(Debug)]
pub struct Assembly {
    signed: Vec<u8>,
    head: Head,
    digest: [u8; 32],
    frontier: Frontier,
    bytes: u64,
    keys: Vec<KeyEntry>,
    revoked: Vec<Revoked>,
}

impl Assembly {
    /// Takes a signed head.
    ///
    /// # Errors
    ///
    /// [`BundleError`] if too few pinned keys have signed it, or it says that it is longer than a bundle may be.
    pub fn begin(signed: &[u8], pins: &Pins) -> Result<Self, BundleError> {
        let opened: SignedHead = decode(signed, HEAD_BYTES_MAX, "signed head")?;
        if opened.format != FORMAT {
            return Err(BundleError::Malformed);
        }
        let (have, need) = (count(&opened, pins), pins.threshold());
        if have < need {
            return Err(BundleError::Signatures { have, need });
        }
        let head: Head = decode(&opened.head, HEAD_BYTES_MAX, "head")?;
        check_bounds(&head)?;
        let digest = sha256(&[&opened.head]);
        let (frontier, keys, revoked) = (Frontier::new(), Vec::new(), Vec::new());
        Ok(Self { signed: signed.to_vec(), head, digest, frontier, bytes: 0, keys, revoked })
    }

    /// Takes a whole bundle out of one file.
    ///
    /// # Errors
    ///
    /// [`BundleError`] if any part of it is not what its head was signed over.
    pub fn whole(file: &[u8], pins: &Pins) -> Result<TrustBundle, BundleError> {
        let most = usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX);
        let file: BundleFile = decode(file, most, "bundle file")?;
        if file.format != FORMAT {
            return Err(BundleError::Malformed);
        }
        let mut assembly = Self::begin(&file.signed, pins)?;
        for entry in &file.entries {
            assembly.entry(entry)?;
        }
        assembly.finish()
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The head with its signatures, as it came.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// The place of the entry that is to come next; nothing if all are there.
    #[must_use]
    pub fn next_entry(&self) -> Option<u64> {
        let taken = self.frontier.size();
        (taken < self.head.keys.saturating_add(self.head.revoked)).then_some(taken)
    }

    /// Takes the next page.
    ///
    /// # Errors
    ///
    /// [`BundleError`] if it is another, or holds what this bundle does not.
    pub fn page(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        let page: Page = decode(bytes, PAGE_BYTES_MAX, "bundle page")?;
        let is_next = page.number == self.head.number && Some(page.from) == self.next_entry();
        if page.format != FORMAT || !is_next || page.entries.is_empty() {
            return Err(BundleError::OtherPage);
        }
        page.entries.iter().try_for_each(|entry| self.entry(entry))
    }

    fn entry(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(size);
        let place = self.next_entry().ok_or(BundleError::OtherEntries)?;
        if self.bytes > self.head.bytes {
            return Err(BundleError::OtherEntries);
        }
        match decode(bytes, PAGE_BYTES_MAX, "bundle entry")? {
            Entry::Key(key) if place < self.head.keys => self.keys.push(checked(key)?),
            Entry::Revoked(revoked) if place >= self.head.keys => self.revoked.push(revoked),
            _ => return Err(BundleError::OtherEntries),
        }
        self.frontier.append(leaf_hash(bytes));
        Ok(())
    }

    /// The bundle, once every entry is there.
    ///
    /// # Errors
    ///
    /// [`BundleError::OtherEntries`] if any is missing or another than was signed, or two contradict each other.
    pub fn finish(self) -> Result<TrustBundle, BundleError> {
        let is_whole = self.next_entry().is_none()
            && self.bytes == self.head.bytes
            && *self.frontier.root().as_bytes() == self.head.root
            && self.keys.is_sorted_by(|one, next| one.id < next.id)
            && self.is_revoked_as_said();
        if !is_whole {
            return Err(BundleError::OtherEntries);
        }
        let Self { signed, head, digest, keys, revoked, .. } = self;
        TrustBundle::new(signed, head, digest, (keys, revoked)).ok_or(BundleError::OtherEntries)
    }

    /// Whether the revoked versions are those whose keys say so, no more and no fewer.
    fn is_revoked_as_said(&self) -> bool {
        let of_keys = self.keys.iter().flat_map(|key| {
            let compromised = |state| state == KeyState::Compromised;
            let versions = key.versions.iter().filter(move |version| compromised(version.state));
            versions.map(|version| Revoked { key: key.id, version: version.number })
        });
        of_keys.eq(self.revoked.iter().copied())
    }
}

/// How many pinned keys have signed a head, each counted once.
fn count(signed: &SignedHead, pins: &Pins) -> usize {
    let message = signed_bytes(&signed.head);
    let has_signed = |key: &&crate::key::PublicKey| {
        let name = key.fingerprint();
        let mut its = signed.signatures.iter().filter(|signature| signature.signer == name);
        its.any(|signature| key.verify(&message, &signature.signature).is_ok())
    };
    pins.keys().iter().filter(has_signed).count()
}

fn check_bounds(head: &Head) -> Result<(), BundleError> {
    let keys_max = u64::try_from(BUNDLE_KEYS_MAX).unwrap_or(u64::MAX);
    let versions_max = u64::try_from(KEY_VERSIONS_MAX).unwrap_or(u64::MAX);
    let is_bounded = head.keys <= keys_max
        && head.revoked <= keys_max.saturating_mul(versions_max)
        && head.bytes <= BUNDLE_BYTES_MAX;
    if is_bounded { Ok(()) } else { Err(BundleError::TooLarge) }
}

/// A key whose versions are in their order, each once.
fn checked(key: KeyEntry) -> Result<KeyEntry, BundleError> {
    let is_sorted = key.versions.is_sorted_by(|one, next| one.number < next.number);
    if is_sorted { Ok(key) } else { Err(BundleError::OtherEntries) }
}
