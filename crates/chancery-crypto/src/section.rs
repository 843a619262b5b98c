//! The sealed sections of an audit record, their salts and their commitments.
//!
//! One random key of 32 bytes stands for each tenant, month and section. For one start of the service, with
//! its boot nonce, it gives two keys: one seals bodies, the other gives a seed for each record, whose
//! keystream is that section's salts. A seed opens one record's section to somebody and nothing else.
//!
//! ```text
//! body key  = HKDF-SHA-512[log id ‖ boot nonce, AUDIT_BODY_KEY](section key, 32)
//! seed key  = HKDF-SHA-512[log id ‖ boot nonce, AUDIT_SEED_KEY](section key, 32)
//! seed      = HMAC-SHA-256[seed key](record nonce)
//! salts     = AES-256-CTR[seed](0^n)
//! body      = AES-256-GCM[body key, record nonce](section; log id ‖ boot nonce ‖ record nonce ‖ section number)
//!
//! field commitment = SHA-256(AUDIT_FIELD_COMMITMENT ‖ group (1) ‖ field (1) ‖ salt (32) ‖ length (4) ‖ value)
//! group commitment = SHA-256(AUDIT_GROUP_COMMITMENT ‖ group (1) ‖ salt (32) ‖ length (4) ‖ value)
//! ```
//!
//! Destroying a month's section key makes bodies and openings of that section unreadable; every commitment
//! and every proof still holds.

use zeroize::Zeroizing;

use crate::labels;
use crate::primitive::{
    GCM_TAG_BYTES, Gcm, Hkdf, HmacKey, NotAuthentic, PrimitiveError, keystream, keystream_at,
    sha256,
};

/// A salt.
pub type Salt = [u8; 32];

/// A record's nonce: lane (4) ‖ counter (8). Never repeats under one boot nonce.
pub type RecordNonce = [u8; 12];

/// What every record of one start of the service has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boot {
    /// The log.
    pub log_id: [u8; 32],
    /// Drawn at the start.
    pub boot_nonce: [u8; 16],
}

impl Boot {
    fn salt(&self) -> [u8; 48] {
        let mut salt = [0; 48];
        let (log_id, boot_nonce) = salt.split_at_mut(32);
        log_id.copy_from_slice(&self.log_id);
        boot_nonce.copy_from_slice(&self.boot_nonce);
        salt
    }

    /// Derives a key for this start from one that lives longer.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if the provider cannot.
    pub fn derive(&self, key: &[u8], label: &[u8]) -> Result<Zeroizing<[u8; 32]>, PrimitiveError> {
        let mut derived = Zeroizing::new([0; 32]);
        let hkdf = Hkdf { ikm: key, salt: &self.salt(), info: &[label] };
        hkdf.sha512(derived.as_mut_slice())?;
        Ok(derived)
    }
}

/// The keys of one section, in one tenant and month, for one start of the service.
pub struct SectionKeys {
    boot: Boot,
    section: u8,
    body: Gcm,
    seed: HmacKey,
}

impl std::fmt::Debug for SectionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SectionKeys").field("section", &self.section).finish_non_exhaustive()
    }
}

impl SectionKeys {
    /// Derives them from the section key.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if the provider cannot.
    pub fn derive(section_key: &[u8; 32], section: u8, boot: Boot) -> Result<Self, PrimitiveError> {
        let body = Gcm::new(&*boot.derive(section_key, labels::AUDIT_BODY_KEY)?)?;
        let seed = boot.derive(section_key, labels::AUDIT_SEED_KEY)?;
        Ok(Self { boot, section, body, seed: HmacKey::new(&seed) })
    }

    /// The seed of one record's salts in this section: what an opening gives away.
    #[must_use]
    pub fn seed(&self, nonce: &RecordNonce) -> [u8; 32] {
        self.seed.of([nonce])
    }

    /// Seals the body of one record in place, and appends its tag.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if the provider cannot; `body` then holds nothing of use.
    pub fn seal(&self, nonce: &RecordNonce, body: &mut Vec<u8>) -> Result<(), PrimitiveError> {
        let tag = self.body.seal(*nonce, &self.associated_data(nonce), body)?;
        body.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens the sealed body of one record.
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`] if it was not sealed for this section of this record.
    pub fn open(&self, nonce: &RecordNonce, sealed: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
        let mut body = Vec::new();
        let length = self.open_in(nonce, sealed, &mut body)?.len();
        body.truncate(length);
        Ok(body)
    }

    /// The same in room that is kept from one record to the next.
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`], as for [`Self::open`].
    pub fn open_in<'r>(
        &self,
        nonce: &RecordNonce,
        sealed: &[u8],
        room: &'r mut Vec<u8>,
    ) -> Result<&'r [u8], NotAuthentic> {
        room.clear();
        room.extend_from_slice(sealed);
        Ok(self.body.open(*nonce, &self.associated_data(nonce), room)?)
    }

    fn associated_data(&self, nonce: &RecordNonce) -> [u8; 61] {
        let mut data = [self.section; 61];
        let (boot, rest) = data.split_at_mut(48);
        boot.copy_from_slice(&self.boot.salt());
        rest.split_at_mut(12).0.copy_from_slice(nonce);
        data
    }
}

/// What a sealed body has besides the body.
pub const SECTION_SEALING_BYTES: usize = GCM_TAG_BYTES;

/// The most salts of one section.
const SALTS_MAX: usize = 7;

/// `N` salts of a section, at most seven, and after them eight bytes that mask the use index.
///
/// # Errors
///
/// [`PrimitiveError`] if the provider cannot.
pub fn salts<const N: usize>(seed: &[u8; 32]) -> Result<([Salt; N], u64), PrimitiveError> {
    const { assert!(N <= SALTS_MAX) };
    let mut stream = [0; SALTS_MAX * 32 + 8];
    let stream = stream.get_mut(..N * 32 + 8).ok_or(PrimitiveError)?;
    keystream(seed, stream)?;
    let (chunks, rest) = stream.as_chunks::<32>();
    let salts = std::array::from_fn(|position| chunks.get(position).copied().unwrap_or_default());
    let mask = rest.first_chunk().copied().ok_or(PrimitiveError)?;
    Ok((salts, u64::from_be_bytes(mask)))
}

/// The mask of the use index alone: what follows the seven salts of the pseudonymous section.
///
/// # Errors
///
/// [`PrimitiveError`] if the provider cannot.
pub fn use_index_mask(seed: &[u8; 32]) -> Result<u64, PrimitiveError> {
    let mut mask = [0; 8];
    keystream_at(seed, MASK_BLOCK, &mut mask)?;
    Ok(u64::from_be_bytes(mask))
}

/// The block of the keystream that begins with the mask: behind seven salts of two blocks.
const MASK_BLOCK: u128 = 14;

/// The commitment of one field.
#[must_use]
pub fn commit_field(group: u8, field: u8, salt: &Salt, value: &[u8]) -> [u8; 32] {
    sha256(&[labels::AUDIT_FIELD_COMMITMENT, &[group, field], salt, &length(value), value])
}

/// The commitment of one group.
#[must_use]
pub fn commit_group(group: u8, salt: &Salt, value: &[u8]) -> [u8; 32] {
    sha256(&[labels::AUDIT_GROUP_COMMITMENT, &[group], salt, &length(value), value])
}

fn length(value: &[u8]) -> [u8; 4] {
    u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: Boot = Boot { log_id: [1; 32], boot_nonce: [2; 16] };

    #[test]
    fn a_body_opens_for_its_own_record_section_and_start() {
        let keys = |section, boot| SectionKeys::derive(&[9; 32], section, boot).unwrap();
        let mut sealed = b"body".to_vec();
        keys(1, BOOT).seal(&[4; 12], &mut sealed).unwrap();
        assert_eq!(keys(1, BOOT).open(&[4; 12], &sealed), Ok(b"body".to_vec()));
        assert!(keys(1, BOOT).open(&[5; 12], &sealed).is_err());
        assert!(keys(2, BOOT).open(&[4; 12], &sealed).is_err());
        assert!(keys(1, Boot { boot_nonce: [3; 16], ..BOOT }).open(&[4; 12], &sealed).is_err());
    }

    #[test]
    fn salts_differ_by_record_and_do_not_repeat_within_one() {
        let keys = SectionKeys::derive(&[9; 32], 1, BOOT).unwrap();
        let (one, mask) = salts::<7>(&keys.seed(&[4; 12])).unwrap();
        let (other, other_mask) = salts::<7>(&keys.seed(&[5; 12])).unwrap();
        assert_ne!(one, other);
        assert_ne!(mask, other_mask);
        assert_eq!(use_index_mask(&keys.seed(&[4; 12])), Ok(mask));
        let unique: std::collections::BTreeSet<_> = one.iter().collect();
        assert_eq!(unique.len(), 7);
    }

    #[test]
    fn group_field_salt_and_value_all_count() {
        let base = commit_field(1, 2, &[0; 32], b"v");
        assert_ne!(base, commit_field(2, 2, &[0; 32], b"v"));
        assert_ne!(base, commit_field(1, 3, &[0; 32], b"v"));
        assert_ne!(base, commit_field(1, 2, &[1; 32], b"v"));
        assert_ne!(base, commit_field(1, 2, &[0; 32], b"w"));
        assert_ne!(commit_group(1, &[0; 32], b"v"), base);
    }
}
