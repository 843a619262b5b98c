//! Rows sealed to their place: the root key, scope keys, and what untrusted storage holds.
//!
//! ```text
//! root key (32) → scope key (32, random, one for each tenant × environment × region; itself a sealed row)
//!
//! sealed row = format (1) ‖ row version (8) ‖ generation (4) ‖ epoch (8) ‖ salt (32) ‖ ciphertext ‖ tag (16)
//! key ‖ nonce = HKDF-SHA-512[salt, ROW_KEY](scope key, 44)
//! ciphertext  = AES-256-GCM[key, nonce](row; associated data = tenant (16) ‖ name length (2) ‖ name ‖ header)
//! ```
//!
//! **Invariant:** a row opens only where it was put: under its tenant, its name, its row version and its
//! epoch. That no row is dropped or taken back is the tenant head's part ([`crate::lthash`]).

use chancery_core::epoch::Epoch;
use chancery_core::id::TenantId;
use chancery_memory::{Arena, Exhausted, SecretBytes};
use zeroize::Zeroizing;

use crate::labels;
use crate::primitive::{GCM_TAG_BYTES, Gcm, Hkdf, PrimitiveError, random};

/// The version byte of the format.
const FORMAT: u8 = 1;

/// Format, row version, generation and epoch.
const PLACE_BYTES: usize = 1 + 8 + 4 + 8;

/// The salt, as long as the hash's security asks (RFC 5869, 3.1).
const SALT_BYTES: usize = 32;

/// What a sealed row has besides the row.
pub const SEALING_BYTES: usize = PLACE_BYTES + SALT_BYTES + GCM_TAG_BYTES;

/// A key that seals rows: the root key or a scope key.
pub struct SealingKey(SecretBytes);

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey")
    }
}

/// Where a row stands. All of it is bound by the seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlace<'a> {
    /// Whose row.
    pub tenant: TenantId,
    /// Its name in the store.
    pub name: &'a [u8],
    /// How often a row of that name was written.
    pub version: u64,
    /// The tenant's epoch when it was.
    pub epoch: Epoch,
}

/// A row does not open: another key, another place, or altered bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a stored row does not open in its place; the store was altered, or the root key is another"
)]
pub struct NotSealedHere;

/// A row cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The arena is full.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// The provider refused.
    #[error(transparent)]
    Primitive(#[from] PrimitiveError),
}

impl SealingKey {
    /// Draws a fresh one.
    ///
    /// # Errors
    ///
    /// [`SealError`] if the arena is full or there is no entropy.
    pub fn generate(arena: &Arena) -> Result<Self, SealError> {
        Ok(Self(SecretBytes::try_fill::<SealError>(arena, 32, |bytes| Ok(random(bytes)?))?))
    }

    /// Takes 32 bytes.
    ///
    /// # Errors
    ///
    /// [`SealError`] if the arena is full.
    pub fn from_bytes(arena: &Arena, key: &[u8; 32]) -> Result<Self, SealError> {
        Ok(Self(SecretBytes::fill(arena, 32, |bytes| bytes.copy_from_slice(key))?))
    }

    /// The key's bytes, to be sealed under another.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// A subkey for one use, by label.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if the provider cannot.
    pub fn subkey(&self, label: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, PrimitiveError> {
        let mut key = Zeroizing::new([0; 32]);
        let hkdf = Hkdf { ikm: self.0.expose_secret(), salt: &[], info: &[label, info] };
        hkdf.sha512(key.as_mut_slice())?;
        Ok(key)
    }

    /// Seals a row to its place.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if there is no entropy or the provider cannot.
    pub fn seal(&self, place: &RowPlace<'_>, row: &[u8]) -> Result<Vec<u8>, PrimitiveError> {
        let mut salt = [0; SALT_BYTES];
        random(&mut salt)?;
        let header = header(place);
        let mut sealed = Vec::with_capacity(SEALING_BYTES + row.len());
        sealed.extend_from_slice(&header);
        sealed.extend_from_slice(&salt);
        let (cipher, nonce) = self.row_cipher(&salt)?;
        let mut body = row.to_vec();
        let tag = cipher.seal(nonce, &associated_data(place, &header), &mut body)?;
        sealed.append(&mut body);
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens a row that must stand at `place`.
    ///
    /// # Errors
    ///
    /// [`NotSealedHere`] if it does not.
    pub fn open(
        &self,
        place: &RowPlace<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotSealedHere> {
        let header = header(place);
        let rest = sealed.strip_prefix(header.as_slice()).ok_or(NotSealedHere)?;
        let (salt, body) = rest.split_first_chunk::<SALT_BYTES>().ok_or(NotSealedHere)?;
        let (cipher, nonce) = self.row_cipher(salt).map_err(|_| NotSealedHere)?;
        let mut body = Zeroizing::new(body.to_vec());
        let opened = cipher.open(nonce, &associated_data(place, &header), &mut body);
        let length = opened.map_err(|_| NotSealedHere)?.len();
        body.truncate(length);
        Ok(body)
    }

    fn row_cipher(&self, salt: &[u8]) -> Result<(Gcm, [u8; 12]), PrimitiveError> {
        let mut material = Zeroizing::new([0_u8; 44]);
        let hkdf = Hkdf { ikm: self.0.expose_secret(), salt, info: &[labels::ROW_KEY] };
        hkdf.sha512(material.as_mut_slice())?;
        let (key, nonce) = material.split_first_chunk::<32>().ok_or(PrimitiveError)?;
        Ok((Gcm::new(key)?, nonce.try_into().map_err(|_| PrimitiveError)?))
    }
}

fn header(place: &RowPlace<'_>) -> [u8; PLACE_BYTES] {
    let mut header = [FORMAT; PLACE_BYTES];
    let (_, rest) = header.split_at_mut(1);
    let (version, rest) = rest.split_at_mut(8);
    let (generation, number) = rest.split_at_mut(4);
    version.copy_from_slice(&place.version.to_be_bytes());
    generation.copy_from_slice(&place.epoch.generation.to_be_bytes());
    number.copy_from_slice(&place.epoch.number.to_be_bytes());
    header
}

fn associated_data(place: &RowPlace<'_>, header: &[u8]) -> Vec<u8> {
    let length = u16::try_from(place.name.len()).unwrap_or(u16::MAX).to_be_bytes();
    [place.tenant.as_bytes(), length.as_slice(), place.name, header].concat()
}

/// What a sealed row says of itself in clear: its row version and epoch. Trusted only once it opens there.
///
/// # Errors
///
/// [`NotSealedHere`] if the bytes are no sealed row.
pub fn claimed_place(sealed: &[u8]) -> Result<(u64, Epoch), NotSealedHere> {
    let (header, _) = sealed.split_first_chunk::<PLACE_BYTES>().ok_or(NotSealedHere)?;
    let [FORMAT, rest @ ..] = header else { return Err(NotSealedHere) };
    let (version, rest) = rest.split_first_chunk::<8>().ok_or(NotSealedHere)?;
    let (generation, rest) = rest.split_first_chunk::<4>().ok_or(NotSealedHere)?;
    let number = rest.first_chunk::<8>().ok_or(NotSealedHere)?;
    let generation = u32::from_be_bytes(*generation);
    Ok((u64::from_be_bytes(*version), Epoch { generation, number: u64::from_be_bytes(*number) }))
}

/// A sealed row's tag, which stands for its content in the tenant's digest.
#[must_use]
pub fn seal_tag(sealed: &[u8]) -> Option<[u8; GCM_TAG_BYTES]> {
    sealed.last_chunk::<GCM_TAG_BYTES>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &[u8], version: u64) -> RowPlace<'_> {
        let epoch = Epoch { generation: 0, number: 5 };
        RowPlace { tenant: TenantId::from_bytes([1; 16]), name, version, epoch }
    }

    fn key(arena: &Arena) -> SealingKey {
        SealingKey::from_bytes(arena, &[7; 32]).unwrap()
    }

    #[test]
    fn a_row_opens_in_its_place_and_nowhere_else() {
        let arena = Arena::with_capacity(64 * 1024).unwrap();
        let key = key(&arena);
        let sealed = key.seal(&place(b"a", 1), b"row").unwrap();
        assert_eq!(key.open(&place(b"a", 1), &sealed).unwrap().as_slice(), b"row");
        assert_eq!(claimed_place(&sealed), Ok((1, Epoch { generation: 0, number: 5 })));
        assert!(key.open(&place(b"b", 1), &sealed).is_err());
        assert!(key.open(&place(b"a", 2), &sealed).is_err());
        let tenant = TenantId::from_bytes([2; 16]);
        assert!(key.open(&RowPlace { tenant, ..place(b"a", 1) }, &sealed).is_err());
        let epoch = Epoch { generation: 0, number: 6 };
        assert!(key.open(&RowPlace { epoch, ..place(b"a", 1) }, &sealed).is_err());
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let arena = Arena::with_capacity(64 * 1024).unwrap();
        let key = key(&arena);
        let sealed = key.seal(&place(b"a", 1), b"row").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(&place(b"a", 1), &altered).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(key.open(&place(b"a", 1), &sealed[..length]).is_err());
        }
    }
}
