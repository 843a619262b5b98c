//! The primitives under keys, envelopes and files: HKDF, AES-256-GCM, SHA-256, comparison and randomness.
//!
//! Each is a thin, fallible face on the provider with the parameters that Chancery uses fixed: HKDF
//! (RFC 5869), AES-256-GCM with a nonce of 96 bits and a tag of 128 (NIST SP 800-38D), SHA-256 (FIPS 180-4).
//! SHA-256 of short messages is the log's, which takes half the time for two or three blocks.
//!
//! Nothing here separates purposes: that is for the callers, whose infos begin with a label of
//! [`crate::labels`] and whose nonces never repeat under one key.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, digest, hkdf, rand};
use chancery_log::sha256_of_short;

/// The length of an AES-256 key, in bytes (FIPS 197).
pub const AES_256_KEY_BYTES: usize = 32;
/// The nonce of AES-256-GCM, in bytes (NIST SP 800-38D, 5.2.1.1: 96 bits are recommended).
pub const GCM_NONCE_BYTES: usize = 12;
/// The tag of AES-256-GCM, in bytes (NIST SP 800-38D, 5.2.1.2).
pub const GCM_TAG_BYTES: usize = 16;

/// The provider refused: a length that the primitive does not have, or a fault of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic provider refused the operation")]
pub struct PrimitiveError;

/// The ciphertext, its associated data or its nonce is not what was sealed, or the key is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext does not authenticate")]
pub struct NotAuthentic;

/// What HKDF takes. The parts of `info` are concatenated as they are.
#[derive(Clone, Copy)]
pub struct Hkdf<'a> {
    /// Input keying material.
    pub ikm: &'a [u8],
    /// The salt; empty means none (RFC 5869, 2.2).
    pub salt: &'a [u8],
    /// The info, in parts.
    pub info: &'a [&'a [u8]],
}

/// The length of what HKDF gives.
struct OutputLength(usize);

impl hkdf::KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}

impl Hkdf<'_> {
    /// `HKDF-SHA-256[salt, info](ikm, out.len())` (RFC 5869, 2.2 and 2.3).
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if `out` is longer than 8 160 bytes (255 blocks).
    pub fn sha256(&self, out: &mut [u8]) -> Result<(), PrimitiveError> {
        self.fill(hkdf::HKDF_SHA256, out)
    }

    /// `HKDF-SHA-512[salt, info](ikm, out.len())` (RFC 5869, 2.2 and 2.3).
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if `out` is longer than 16 320 bytes (255 blocks).
    pub fn sha512(&self, out: &mut [u8]) -> Result<(), PrimitiveError> {
        self.fill(hkdf::HKDF_SHA512, out)
    }

    fn fill(&self, algorithm: hkdf::Algorithm, out: &mut [u8]) -> Result<(), PrimitiveError> {
        let prk = hkdf::Salt::new(algorithm, self.salt).extract(self.ikm);
        let okm = prk.expand(self.info, OutputLength(out.len())).map_err(|_| PrimitiveError)?;
        okm.fill(out).map_err(|_| PrimitiveError)
    }
}

/// AES-256-GCM under one key.
pub struct Gcm(LessSafeKey);

impl std::fmt::Debug for Gcm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gcm(redacted)")
    }
}

impl Gcm {
    /// Schedules a key.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if the provider cannot.
    pub fn new(key: &[u8; AES_256_KEY_BYTES]) -> Result<Self, PrimitiveError> {
        let key = UnboundKey::new(&aead::AES_256_GCM, key).map_err(|_| PrimitiveError)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Encrypts `in_out` in place and returns its tag (NIST SP 800-38D, 7.1).
    ///
    /// # Security
    ///
    /// A nonce is used once under one key.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if the provider cannot.
    pub fn seal(
        &self,
        nonce: [u8; GCM_NONCE_BYTES],
        associated_data: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; GCM_TAG_BYTES], PrimitiveError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(associated_data), in_out);
        tag.map_err(|_| PrimitiveError)?.as_ref().try_into().map_err(|_| PrimitiveError)
    }

    /// Decrypts ciphertext ‖ tag in place and returns the plaintext (NIST SP 800-38D, 7.2).
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`] if anything differs from what was sealed; `in_out` then holds nothing of use.
    pub fn open<'b>(
        &self,
        nonce: [u8; GCM_NONCE_BYTES],
        associated_data: &[u8],
        in_out: &'b mut [u8],
    ) -> Result<&'b mut [u8], NotAuthentic> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::from(associated_data), in_out).map_err(|_| NotAuthentic)
    }
}

/// `SHA-256(parts)`, the parts concatenated as they are (FIPS 180-4).
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    sha256_of_short(parts).unwrap_or_else(|| sha256_in_pieces(parts))
}

fn sha256_in_pieces(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    // SHA-256 has 32 bytes, so that the lengths agree.
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// HMAC-SHA-256 (RFC 2104) under one key, whose two inner states are kept. For short messages it takes less
/// than half the time of the provider's, which serves the suites; the tests hold one against the other.
#[derive(Clone)]
pub struct HmacKey(hmac::Hmac<sha2::Sha256>);

/// A message whose MAC is being computed.
pub struct HmacMessage(hmac::Hmac<sha2::Sha256>);

impl std::fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HmacKey(redacted)")
    }
}

impl std::fmt::Debug for HmacMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HmacMessage(redacted)")
    }
}

impl HmacKey {
    /// Takes a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        use hmac::KeyInit as _;
        // The block of the hash, filled with zeros behind the key: what RFC 2104 makes of a short key.
        let mut block = zeroize::Zeroizing::new([0; 64]);
        let (place, _) = block.split_at_mut(32);
        place.copy_from_slice(key);
        Self(hmac::Hmac::new((&*block).into()))
    }

    /// Begins a message.
    #[must_use]
    pub fn begin(&self) -> HmacMessage {
        HmacMessage(self.0.clone())
    }

    /// The MAC of `parts`, concatenated as they are.
    #[must_use]
    pub fn of<const N: usize>(&self, parts: [&[u8]; N]) -> [u8; 32] {
        let mut message = self.begin();
        for part in parts {
            message.update(part);
        }
        message.finish()
    }
}

impl HmacMessage {
    /// Adds a part.
    pub fn update(&mut self, part: &[u8]) {
        hmac::Mac::update(&mut self.0, part);
    }

    /// The MAC.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        hmac::Mac::finalize(self.0).into_bytes().into()
    }
}

/// `AES-256-CTR[key](0^n)` from counter block 0 (NIST SP 800-38A, 6.5): overwrites `out` with keystream.
///
/// # Security
///
/// For keys that serve this one purpose and are used once.
///
/// # Errors
///
/// [`PrimitiveError`] if the provider cannot.
pub fn keystream(key: &[u8; AES_256_KEY_BYTES], out: &mut [u8]) -> Result<(), PrimitiveError> {
    keystream_at(key, 0, out)
}

/// The same from a block of 16 bytes on, counted from 0.
///
/// # Errors
///
/// [`PrimitiveError`] if the provider cannot.
pub fn keystream_at(
    key: &[u8; AES_256_KEY_BYTES],
    block: u128,
    out: &mut [u8],
) -> Result<(), PrimitiveError> {
    let key = UnboundCipherKey::new(&cipher::AES_256, key).map_err(|_| PrimitiveError)?;
    let key = EncryptingKey::ctr(key).map_err(|_| PrimitiveError)?;
    out.fill(0);
    let counter = EncryptionContext::Iv128(FixedLength::from(block.to_be_bytes()));
    key.less_safe_encrypt(out, counter).map(|_| ()).map_err(|_| PrimitiveError)
}

/// Whether two byte strings are equal, in a time that depends on their lengths alone.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// Fills `out` from the provider's generator.
///
/// # Errors
///
/// [`PrimitiveError`] if the generator fails.
pub fn random(out: &mut [u8]) -> Result<(), PrimitiveError> {
    rand::fill(out).map_err(|_| PrimitiveError)
}

/// How many values a [`RandomPool`] draws at once: a draw costs as much as all of them.
const POOL_VALUES: usize = 64;

/// Random values of `N` bytes, drawn from the provider's generator for many at once, each given out once.
///
/// # Security
///
/// For what is no secret, such as ids: values wait in plain memory until they are asked for.
#[derive(Debug)]
pub struct RandomPool<const N: usize> {
    drawn: [[u8; N]; POOL_VALUES],
    left: usize,
}

impl<const N: usize> Default for RandomPool<N> {
    fn default() -> Self {
        Self { drawn: [[0; N]; POOL_VALUES], left: 0 }
    }
}

impl<const N: usize> RandomPool<N> {
    /// A value that was never given out.
    ///
    /// # Errors
    ///
    /// [`PrimitiveError`] if the generator fails.
    pub fn next_value(&mut self) -> Result<[u8; N], PrimitiveError> {
        if self.left == 0 {
            random(self.drawn.as_flattened_mut())?;
            self.left = POOL_VALUES;
        }
        self.left -= 1;
        self.drawn.get(self.left).copied().ok_or(PrimitiveError)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    #[test]
    fn the_keystream_is_that_of_the_standard() {
        // NIST CAVP, AES-256, zero plaintext block under the zero key.
        let mut out = [9; 16];
        keystream(&[0; 32], &mut out).unwrap();
        assert_eq!(hex(&out), "dc95c078a2408989ad48a21492842087");
    }

    #[test]
    fn sha256_of_parts_is_that_of_their_concatenation() {
        // FIPS 180-4, example `abc`.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&sha256(&[b"a", b"", b"bc"])), expected);
    }

    #[test]
    fn short_and_long_messages_have_the_hash_of_the_provider() {
        for length in [0, 55, 56, 64, 183, 184, 400, 5_000] {
            let message = vec![7; length];
            assert_eq!(sha256(&[&message]), sha256_in_pieces(&[&message]), "{length} bytes");
        }
    }

    #[test]
    fn a_pool_gives_each_value_once_and_draws_again_when_it_is_empty() {
        let mut pool = RandomPool::<16>::default();
        let values: std::collections::BTreeSet<_> =
            (0..3 * POOL_VALUES).map(|_| pool.next_value().unwrap()).collect();
        assert_eq!(values.len(), 3 * POOL_VALUES);
    }

    #[test]
    fn hmac_is_that_of_the_provider_at_every_length_up_to_four_blocks() {
        let key = [0x5a; 32];
        let provider = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
        let message: Vec<u8> = (0..=255).collect();
        for length in 0..=message.len() {
            let (one, two) = message[..length].split_at(length / 3);
            let expected = aws_lc_rs::hmac::sign(&provider, &message[..length]);
            assert_eq!(HmacKey::new(&key).of([one, two]), expected.as_ref(), "{length} bytes");
        }
    }

    #[test]
    fn an_output_longer_than_255_blocks_is_refused() {
        let input = Hkdf { ikm: &[1; 32], salt: &[], info: &[b"info"] };
        assert!(input.sha256(&mut [0; 255 * 32]).is_ok());
        assert_eq!(input.sha256(&mut [0; 255 * 32 + 1]), Err(PrimitiveError));
        assert_eq!(input.sha512(&mut [0; 255 * 64 + 1]), Err(PrimitiveError));
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let gcm = Gcm::new(&[7; 32]).unwrap();
        let mut sealed = b"plaintext".to_vec();
        let tag = gcm.seal([1; 12], b"header", &mut sealed).unwrap();
        sealed.extend(tag);
        assert_eq!(
            gcm.open([1; 12], b"header", &mut sealed.clone()),
            Ok(&mut b"plaintext".to_vec()[..])
        );
        assert!(gcm.open([2; 12], b"header", &mut sealed.clone()).is_err());
        assert!(gcm.open([1; 12], b"other", &mut sealed.clone()).is_err());
        assert!(gcm.open([1; 12], b"header", &mut [0; 15]).is_err());
    }
}
