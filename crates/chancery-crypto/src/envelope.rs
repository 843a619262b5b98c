//! The envelope: what `encrypt` and `wrap` give, committing and self-describing.
//!
//! ```text
//! HKDF-SHA-512[salt, label ‖ header prefix ‖ [purpose, context]](key, 76) = commitment ‖ data key ‖ nonce
//! envelope = header ‖ AES-256-GCM[data key, nonce, header](plaintext)
//! ```
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic, `CHEN` |
//! | 4 | 1 | format version, 1 |
//! | 5 | 2 | suite, big-endian |
//! | 7 | 16 | key id |
//! | 23 | 4 | key version, big-endian |
//! | 27 | 8 | posture epoch, big-endian |
//! | 35 | 32 | salt |
//! | 67 | 32 | commitment |
//! | 99 | as the plaintext | ciphertext |
//! | end − 16 | 16 | tag |
//!
//! The header prefix is all before the salt. Purpose and context are the canonical CBOR array of the two
//! (RFC 8949, 4.2.1); label, prefix and salt have fixed lengths, so that no two inputs have one info. The
//! whole header is associated data.
//!
//! HKDF follows RFC 5869, AES-256-GCM NIST SP 800-38D. A fresh salt gives each envelope a key and a nonce of
//! its own, so that no number of envelopes under one version wears it out (SP 800-38D, 8.3 bounds one key to
//! 2^32 random nonces). The commitment is the first half of the first HKDF block: an envelope opens under one
//! key, purpose and context at most (Albertini et al., 2022: AES-GCM alone is not committing).
//!
//! **Invariant:** the commitment is compared, in constant time, before anything is decrypted.
//!
//! The salt is handed in; where its entropy comes from is the caller's concern. Which key version may still
//! decrypt is decided before this module is asked.

use chancery_core::cbor;
use chancery_core::context::Context;
use chancery_core::id::KeyId;
use chancery_core::limits::MESSAGE_BYTES_MAX;
use chancery_core::purpose::{Format, Purpose};
use chancery_core::suite::Suite;
use minicbor::Encode;
use zeroize::{Zeroize, Zeroizing};

use crate::formats::KeyVersion;
use crate::key::EnvelopeKey;
use crate::labels;
use crate::primitive::{
    AES_256_KEY_BYTES, GCM_NONCE_BYTES, GCM_TAG_BYTES, Gcm, Hkdf, NotAuthentic, PrimitiveError,
    equal,
};

/// The salt, in bytes: as long as the key.
pub const SALT_BYTES: usize = 32;
/// The commitment, in bytes: two keys with one commitment are found after about 2^128 trials.
pub const COMMITMENT_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"CHEN";
const FORMAT_VERSION: u8 = 1;
/// Magic, format version, suite, key id, key version and posture epoch.
const PREFIX_BYTES: usize = 4 + 1 + 2 + 16 + 4 + 8;

/// The header, in bytes.
pub const HEADER_BYTES: usize = PREFIX_BYTES + SALT_BYTES + COMMITMENT_BYTES;
/// By how much an envelope is longer than its plaintext, in bytes.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + GCM_TAG_BYTES;
/// The longest envelope, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = MESSAGE_BYTES_MAX + OVERHEAD_BYTES;

const _: () = assert!(HEADER_BYTES == 99);

/// Which key version encrypted, under which posture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The key and its version.
    pub key: KeyVersion,
    /// The posture under which it was used.
    pub posture_epoch: u64,
}

/// What an envelope is for: both are needed again to open it, and neither is in it.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// What the key is for.
    pub purpose: &'a Purpose,
    /// The caller's context.
    pub context: &'a Context,
}

/// The purpose with the context, as they stand in the info.
#[derive(Encode)]
#[cbor(array)]
struct Info<'a> {
    #[n(0)]
    purpose: &'a Purpose,
    #[n(1)]
    context: &'a Context,
}

/// Nothing was encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptError {
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] PrimitiveError),
    /// The plaintext is longer than one request may carry.
    #[error(
        "the plaintext has {found} bytes, and at most {MESSAGE_BYTES_MAX} are encrypted; use `generate-data-key` and encrypt with that"
    )]
    TooLong {
        /// How many bytes it has.
        found: usize,
    },
    /// Keys of this purpose do not encrypt.
    #[error("keys of this purpose do not encrypt; use one for `encrypt.aead` or `wrap.aead`")]
    WrongPurpose,
}

/// The envelope was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecryptError {
    /// The bytes have not the form of an envelope.
    #[error("not an envelope")]
    Malformed,
    /// Another key, purpose or context, or changed bytes. Deliberately one error for all of them.
    #[error("the envelope does not open: other key, purpose or context, or changed bytes")]
    NotAuthentic,
    /// The envelope names another key version than the one that is to open it.
    #[error("the envelope names another key version")]
    OtherKey,
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] PrimitiveError),
    /// Keys of this purpose do not decrypt.
    #[error("keys of this purpose do not decrypt; use one for `encrypt.aead` or `wrap.aead`")]
    WrongPurpose,
}

/// The header of an envelope, taken apart. Nothing in it is verified before the envelope opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which key version opens it.
    pub origin: Origin,
    salt: [u8; SALT_BYTES],
    commitment: [u8; COMMITMENT_BYTES],
}

/// Encrypts `plaintext` under a key version.
///
/// `salt` is drawn afresh for each envelope: it is what makes key and nonce its own.
///
/// # Errors
///
/// [`EncryptError`] if the purpose does not encrypt or the plaintext is too long.
pub fn encrypt(
    key: &EnvelopeKey,
    origin: Origin,
    binding: Binding<'_>,
    salt: [u8; SALT_BYTES],
    plaintext: &[u8],
) -> Result<Vec<u8>, EncryptError> {
    if binding.purpose.format() != Format::Aead {
        return Err(EncryptError::WrongPurpose);
    }
    if plaintext.len() > MESSAGE_BYTES_MAX {
        return Err(EncryptError::TooLong { found: plaintext.len() });
    }
    let prefix = origin.prefix();
    let keys = Keys::derive(key, &prefix, salt, binding)?;
    let gcm = keys.gcm()?;
    let header = [&prefix[..], &salt, &keys.commitment].concat();
    let mut envelope = Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES);
    envelope.extend_from_slice(&header);
    envelope.extend_from_slice(plaintext);
    match gcm.seal(keys.nonce, &header, envelope.split_at_mut(HEADER_BYTES).1) {
        Ok(tag) => envelope.extend_from_slice(&tag),
        Err(error) => {
            envelope.zeroize();
            return Err(error.into());
        }
    }
    Ok(envelope)
}

/// Opens an envelope that the key version `expected` made for `binding`.
///
/// # Errors
///
/// [`DecryptError`] if it is none, is of another key version, or does not open.
pub fn decrypt(
    key: &EnvelopeKey,
    expected: KeyVersion,
    binding: Binding<'_>,
    envelope: &[u8],
) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    if binding.purpose.format() != Format::Aead {
        return Err(DecryptError::WrongPurpose);
    }
    let (header, ciphertext) = Header::split(envelope)?;
    if header.origin.key != expected {
        return Err(DecryptError::OtherKey);
    }
    let prefix = header.origin.prefix();
    let keys = Keys::derive(key, &prefix, header.salt, binding)?;
    if !equal(&keys.commitment, &header.commitment) {
        return Err(DecryptError::NotAuthentic);
    }
    let associated_data = [&prefix[..], &header.salt, &header.commitment].concat();
    let mut plaintext = Zeroizing::new(ciphertext.to_vec());
    let opened = keys.gcm()?.open(keys.nonce, &associated_data, &mut plaintext);
    let length = opened.map_err(|NotAuthentic| DecryptError::NotAuthentic)?.len();
    plaintext.truncate(length);
    Ok(plaintext)
}

impl Header {
    /// Reads the header of an envelope, to find the key version that opens it.
    ///
    /// # Errors
    ///
    /// [`DecryptError::Malformed`] if the bytes have not the form of an envelope.
    pub fn parse(envelope: &[u8]) -> Result<Self, DecryptError> {
        Self::split(envelope).map(|(header, _)| header)
    }

    /// Reads the header where only the beginning of an envelope is at hand, and how long all of it is.
    ///
    /// # Errors
    ///
    /// [`DecryptError::Malformed`] if that is not the beginning of an envelope, or none is so long.
    pub fn parse_start(start: &[u8], length: u64) -> Result<Self, DecryptError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let is_sized = (OVERHEAD_BYTES..=ENVELOPE_BYTES_MAX).contains(&length);
        let read = is_sized.then(|| Self::read(start)).flatten();
        read.map(|(header, _)| header).ok_or(DecryptError::Malformed)
    }

    /// The header, and the ciphertext with its tag.
    fn split(envelope: &[u8]) -> Result<(Self, &[u8]), DecryptError> {
        let is_sized = (OVERHEAD_BYTES..=ENVELOPE_BYTES_MAX).contains(&envelope.len());
        let parsed = is_sized.then(|| Self::read(envelope)).flatten();
        parsed.ok_or(DecryptError::Malformed)
    }

    fn read(envelope: &[u8]) -> Option<(Self, &[u8])> {
        let rest = envelope.strip_prefix(&MAGIC)?.strip_prefix(&[FORMAT_VERSION])?;
        let (suite, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (posture_epoch, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (commitment, ciphertext) = rest.split_first_chunk()?;
        let key =
            KeyVersion { key: KeyId::from_bytes(*key), version: u32::from_be_bytes(*version) };
        let origin = Origin { key, posture_epoch: u64::from_be_bytes(*posture_epoch) };
        let header = Self { origin, salt: *salt, commitment: *commitment };
        (u16::from_be_bytes(*suite) == Suite::Aes256Gcm.number()).then_some((header, ciphertext))
    }
}

impl Origin {
    fn prefix(self) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(HEADER_BYTES);
        prefix.extend_from_slice(&MAGIC);
        prefix.push(FORMAT_VERSION);
        prefix.extend_from_slice(&Suite::Aes256Gcm.number().to_be_bytes());
        prefix.extend_from_slice(self.key.key.as_bytes());
        prefix.extend_from_slice(&self.key.version.to_be_bytes());
        prefix.extend_from_slice(&self.posture_epoch.to_be_bytes());
        prefix
    }
}

/// What one envelope is encrypted with.
struct Keys {
    commitment: [u8; COMMITMENT_BYTES],
    data_key: Zeroizing<[u8; AES_256_KEY_BYTES]>,
    nonce: [u8; GCM_NONCE_BYTES],
}

impl Keys {
    fn derive(
        key: &EnvelopeKey,
        prefix: &[u8],
        salt: [u8; SALT_BYTES],
        Binding { purpose, context }: Binding<'_>,
    ) -> Result<Self, PrimitiveError> {
        let bound = cbor::encode(&Info { purpose, context });
        let mut okm = Zeroizing::new([0; COMMITMENT_BYTES + AES_256_KEY_BYTES + GCM_NONCE_BYTES]);
        Hkdf { ikm: &key.0[..], salt: &salt, info: &[labels::ENVELOPE_KEYS, prefix, &bound] }
            .sha512(&mut okm[..])?;
        let (commitment, rest) = okm.split_first_chunk().ok_or(PrimitiveError)?;
        let (data_key, rest) = rest.split_first_chunk().ok_or(PrimitiveError)?;
        let nonce = rest.first_chunk().ok_or(PrimitiveError)?;
        Ok(Self { commitment: *commitment, data_key: Zeroizing::new(*data_key), nonce: *nonce })
    }

    fn gcm(&self) -> Result<Gcm, PrimitiveError> {
        Gcm::new(&self.data_key)
    }
}

#[cfg(test)]
mod tests {
    use chancery_core::context::Pair;

    use super::*;
    use crate::key::PrivateKey;

    struct Case {
        key: PrivateKey,
        origin: Origin,
        purpose: Purpose,
        context: Context,
    }

    impl Case {
        fn new() -> Self {
            let key = KeyVersion { key: KeyId::from_bytes([0x22; 16]), version: 3 };
            Self {
                key: PrivateKey::from_secret(Suite::Aes256Gcm, &[7; 32]).unwrap(),
                origin: Origin { key, posture_epoch: 42 },
                purpose: "encrypt.aead:card-number".parse().unwrap(),
                context: context(&["customer=42"]),
            }
        }

        fn binding(&self) -> Binding<'_> {
            Binding { purpose: &self.purpose, context: &self.context }
        }

        fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>, EncryptError> {
            encrypt(
                self.key.envelope_key().unwrap(),
                self.origin,
                self.binding(),
                [9; 32],
                plaintext,
            )
        }

        fn decrypt(&self, envelope: &[u8]) -> Result<Vec<u8>, DecryptError> {
            let key = self.key.envelope_key().unwrap();
            decrypt(key, self.origin.key, self.binding(), envelope)
                .map(|plaintext| plaintext.to_vec())
        }
    }

    fn context(pairs: &[&str]) -> Context {
        Context::new(pairs.iter().map(|pair| Pair::parse(pair).unwrap()).collect()).unwrap()
    }

    const CLOSED: Result<Vec<u8>, DecryptError> = Err(DecryptError::NotAuthentic);

    #[test]
    fn the_beginning_of_an_envelope_says_what_all_of_it_says() {
        let envelope = Case::new().encrypt(b"a message").unwrap();
        let whole = Header::parse(&envelope).unwrap();
        let length = u64::try_from(envelope.len()).unwrap();
        assert_eq!(Header::parse_start(&envelope[..HEADER_BYTES], length), Ok(whole));
        let malformed = Err(DecryptError::Malformed);
        assert_eq!(Header::parse_start(&envelope[..HEADER_BYTES - 1], length), malformed);
        let (short, long) = (OVERHEAD_BYTES as u64 - 1, ENVELOPE_BYTES_MAX as u64 + 1);
        assert_eq!(Header::parse_start(&envelope[..HEADER_BYTES], short), malformed);
        assert_eq!(Header::parse_start(&envelope[..HEADER_BYTES], long), malformed);
    }

    #[test]
    fn what_was_encrypted_decrypts() {
        let case = Case::new();
        for length in [0, 1, 15, 16, 17, MESSAGE_BYTES_MAX] {
            let plaintext = vec![0x5a; length];
            let envelope = case.encrypt(&plaintext).unwrap();
            assert_eq!(envelope.len(), length + OVERHEAD_BYTES);
            assert_eq!(case.decrypt(&envelope), Ok(plaintext));
            assert_eq!(Header::parse(&envelope).unwrap().origin, case.origin);
        }
    }

    #[test]
    fn the_header_has_the_documented_layout() {
        let envelope = Case::new().encrypt(b"plaintext").unwrap();
        let mut expected = b"CHEN\x01\x00\x20".to_vec();
        expected.extend([0x22; 16]);
        expected.extend([0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 42]);
        expected.extend([9; 32]);
        assert_eq!(envelope[..67], expected);
    }

    /// The envelope was computed apart from this code, from the module's description.
    #[test]
    fn an_envelope_of_fixed_inputs_is_what_it_always_was() {
        assert_eq!(
            Case::new().encrypt(b"plaintext").unwrap(),
            include_bytes!("../vectors/envelope.bin")
        );
    }

    #[test]
    fn a_changed_bit_anywhere_is_refused() {
        let case = Case::new();
        let envelope = case.encrypt(b"plaintext").unwrap();
        for bit in 0..envelope.len() * 8 {
            let mut changed = envelope.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(case.decrypt(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_shorter_or_longer_envelope_is_refused() {
        let case = Case::new();
        let envelope = case.encrypt(b"plaintext").unwrap();
        for length in 0..envelope.len() {
            assert!(case.decrypt(&envelope[..length]).is_err(), "{length}");
        }
        assert_eq!(case.decrypt(&[&envelope[..], &[0]].concat()), CLOSED);
        assert_eq!(case.decrypt(&vec![0; ENVELOPE_BYTES_MAX + 1]), Err(DecryptError::Malformed));
    }

    #[test]
    fn another_key_purpose_or_context_does_not_open() {
        let envelope = Case::new().encrypt(b"plaintext").unwrap();
        let other = |change: fn(&mut Case)| {
            let mut other = Case::new();
            change(&mut other);
            other.decrypt(&envelope)
        };
        let key = |case: &mut Case| {
            case.key = PrivateKey::from_secret(Suite::Aes256Gcm, &[8; 32]).unwrap();
        };
        assert_eq!(other(key), CLOSED);
        assert_eq!(other(|case| case.purpose = "encrypt.aead:other".parse().unwrap()), CLOSED);
        assert_eq!(other(|case| case.purpose = "wrap.aead:card-number".parse().unwrap()), CLOSED);
        assert_eq!(other(|case| case.context = Context::default()), CLOSED);
        assert_eq!(other(|case| case.context = context(&["customer=43"])), CLOSED);
        assert_eq!(other(|case| case.origin.key.version += 1), Err(DecryptError::OtherKey));
        assert_eq!(
            other(|case| case.origin.key.key = KeyId::from_bytes([1; 16])),
            Err(DecryptError::OtherKey)
        );
    }

    #[test]
    fn a_header_that_names_another_version_does_not_open_under_it() {
        let mut case = Case::new();
        let mut envelope = case.encrypt(b"plaintext").unwrap();
        envelope[26] = 4;
        case.origin.key.version = 4;
        assert_eq!(case.decrypt(&envelope), CLOSED);
    }

    #[test]
    fn the_commitment_is_compared_before_anything_is_decrypted() {
        // An envelope whose tag is right and whose commitment is not does not open.
        let case = Case::new();
        let mut envelope = case.encrypt(b"plaintext").unwrap();
        envelope[67] ^= 1;
        let header = envelope[..HEADER_BYTES].to_vec();
        let keys = Keys::derive(
            case.key.envelope_key().unwrap(),
            &header[..PREFIX_BYTES],
            [9; 32],
            case.binding(),
        );
        let keys = keys.unwrap();
        let mut ciphertext = b"plaintext".to_vec();
        let tag = keys.gcm().unwrap().seal(keys.nonce, &header, &mut ciphertext).unwrap();
        let forged = [&header[..], &ciphertext, &tag].concat();
        assert_eq!(case.decrypt(&forged), CLOSED);
    }

    #[test]
    fn another_salt_gives_another_envelope_throughout() {
        let case = Case::new();
        let key = case.key.envelope_key().unwrap();
        let one = encrypt(key, case.origin, case.binding(), [1; 32], &[0; 64]).unwrap();
        let two = encrypt(key, case.origin, case.binding(), [2; 32], &[0; 64]).unwrap();
        let same =
            one[PREFIX_BYTES..].iter().zip(&two[PREFIX_BYTES..]).filter(|(a, b)| a == b).count();
        assert!(same < 8, "{same} of {} bytes agree", one.len() - PREFIX_BYTES);
    }

    #[test]
    fn purposes_that_do_not_encrypt_and_plaintexts_that_are_too_long_are_refused() {
        let mut case = Case::new();
        let found = MESSAGE_BYTES_MAX + 1;
        assert_eq!(case.encrypt(&vec![0; found]), Err(EncryptError::TooLong { found }));
        let envelope = case.encrypt(b"plaintext").unwrap();
        case.purpose = "sign.bound:invoice".parse().unwrap();
        assert_eq!(case.encrypt(b"plaintext"), Err(EncryptError::WrongPurpose));
        assert_eq!(case.decrypt(&envelope), Err(DecryptError::WrongPurpose));
    }
}
