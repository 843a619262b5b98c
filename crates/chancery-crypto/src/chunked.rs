//! The large-file format: encrypted by the caller, chunk by chunk, under a data key of the service.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic, `CHCF` |
//! | 4 | 1 | format version, 1 |
//! | 5 | 2 | length *n* of the wrapped data key, big-endian, 1 to 1 024 |
//! | 7 | *n* | wrapped data key: an [`crate::envelope`] |
//! | 7 + *n* | 32 | salt |
//! | 39 + *n* | | chunks |
//!
//! ```text
//! file key = HKDF-SHA-512[salt, label ‖ header ‖ [purpose, context]](data key, 32)
//! chunk i  = AES-256-GCM[file key, i as 11 bytes big-endian ‖ last, nothing](64 KiB of plaintext)
//! ```
//!
//! `last` is 1 for the last chunk and 0 for the others, which is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár,
//! 2015) with a counter for a nonce. All chunks but the last hold 65 536 bytes; the last holds 1 to 65 536,
//! or none when the file is empty. So a plaintext has one form, and a file that is cut, extended, or has
//! chunks moved, repeated or taken from another file does not open.
//!
//! Each file has a key of its own by its salt, and the wrapped key commits to the data key, purpose and
//! context, so that a file opens in one way at most.
//!
//! **Invariant:** nothing is written that was not authenticated. That it was the whole file is known at the
//! end alone: a caller writes to a temporary name and renames when [`decrypt_stream`] has returned.
//!
//! Both directions hold two chunks in memory, whatever the file's length. Unwrapping the data key is the
//! service's work: [`FileHeader::read`] gives the wrapped key, and [`decrypt_stream`] goes on from there.

use std::io::{self, Read, Write};

use chancery_core::cbor;
use chancery_core::context::Context;
use chancery_core::purpose::{Format, Purpose};
use minicbor::Encode;
use zeroize::Zeroizing;

pub use crate::envelope::Binding;
use crate::labels;
use crate::primitive::{
    AES_256_KEY_BYTES, GCM_NONCE_BYTES, GCM_TAG_BYTES, Gcm, Hkdf, NotAuthentic, PrimitiveError,
};

/// The plaintext of one chunk, in bytes: 64 KiB, so that the tags add a quarter of a per mille.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// The salt, in bytes.
pub const SALT_BYTES: usize = 32;
/// The longest wrapped data key, in bytes; ours have 147.
pub const WRAPPED_BYTES_MAX: usize = 1_024;
/// The most chunks in one file: 2^32, which is 256 TiB. Under one key 2^44 blocks keep the advantage of
/// whoever would tell AES-GCM from chance under 2^-40.
pub const CHUNKS_MAX: u64 = 1 << 32;

const MAGIC: [u8; 4] = *b"CHCF";
const FORMAT_VERSION: u8 = 1;
/// Magic, format version and the length of the wrapped key.
const HEAD_BYTES: usize = 4 + 1 + 2;

/// A key that encrypts one file, in clear while it does.
pub type DataKey = Zeroizing<[u8; AES_256_KEY_BYTES]>;

/// The file was not encrypted or decrypted. What was written so far is to be discarded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkedError {
    /// The bytes do not begin as a file of this format does.
    #[error("not an encrypted file, or one of a later version")]
    Malformed,
    /// Another key, purpose or context, or a file that was changed, cut, extended or rearranged.
    #[error("the file does not open: other key, purpose or context, or changed or missing bytes")]
    NotAuthentic,
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] PrimitiveError),
    /// The input cannot be read.
    #[error("the input cannot be read")]
    Read(#[source] io::Error),
    /// The file has more than 2^32 chunks.
    #[error("the file is longer than 256 TiB; split it")]
    TooLong,
    /// The wrapped key has no length that files have.
    #[error("a wrapped key has 1 to {WRAPPED_BYTES_MAX} bytes; this has {found}")]
    WrappedKey {
        /// How many bytes it has.
        found: usize,
    },
    /// The output cannot be written.
    #[error("the output cannot be written")]
    Write(#[source] io::Error),
    /// Keys of this purpose do not encrypt files.
    #[error("keys of this purpose do not encrypt files; use one for `wrap.aead` or `encrypt.aead`")]
    WrongPurpose,
}

/// All before the chunks of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Invariant: as in the table above, whole.
    bytes: Vec<u8>,
}

impl FileHeader {
    /// Makes the header of a new file. `salt` is drawn afresh for each.
    ///
    /// # Errors
    ///
    /// [`ChunkedError::WrappedKey`] if the wrapped key has no length that files have.
    pub fn new(wrapped: &[u8], salt: [u8; SALT_BYTES]) -> Result<Self, ChunkedError> {
        let error = ChunkedError::WrappedKey { found: wrapped.len() };
        let length = u16::try_from(wrapped.len())
            .ok()
            .filter(|_| is_wrapped_length(wrapped.len()))
            .ok_or(error)?;
        let bytes = [&MAGIC[..], &[FORMAT_VERSION], &length.to_be_bytes(), wrapped, &salt].concat();
        Ok(Self { bytes })
    }

    /// Reads the header of a file and no byte more, so that the chunks can be read from the same reader.
    ///
    /// # Errors
    ///
    /// [`ChunkedError::Malformed`] if the file does not begin with one.
    pub fn read(reader: &mut impl Read) -> Result<Self, ChunkedError> {
        let mut head = [0; HEAD_BYTES];
        reader.read_exact(&mut head).map_err(read_error)?;
        let [m0, m1, m2, m3, version, high, low] = head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if [m0, m1, m2, m3] != MAGIC || version != FORMAT_VERSION || !is_wrapped_length(length) {
            return Err(ChunkedError::Malformed);
        }
        let mut bytes = head.to_vec();
        bytes.resize(HEAD_BYTES + length + SALT_BYTES, 0);
        reader.read_exact(bytes.split_at_mut(HEAD_BYTES).1).map_err(read_error)?;
        Ok(Self { bytes })
    }

    /// The wrapped data key, for the service to unwrap.
    #[must_use]
    pub fn wrapped(&self) -> &[u8] {
        self.bytes.get(HEAD_BYTES..self.bytes.len() - SALT_BYTES).unwrap_or_default()
    }

    fn salt(&self) -> &[u8] {
        self.bytes.last_chunk::<SALT_BYTES>().map_or(&[], |salt| salt)
    }

    fn file_key(&self, data_key: &DataKey, binding: Binding<'_>) -> Result<Gcm, ChunkedError> {
        let Binding { purpose, context } = binding;
        if purpose.format() != Format::Aead {
            return Err(ChunkedError::WrongPurpose);
        }
        let bound = cbor::encode(&Info { purpose, context });
        let mut key = Zeroizing::new([0; AES_256_KEY_BYTES]);
        let info = [labels::CHUNKED_FILE_KEY, &self.bytes, &bound];
        Hkdf { ikm: &data_key[..], salt: self.salt(), info: &info }.sha512(&mut key[..])?;
        Ok(Gcm::new(&key)?)
    }
}

fn is_wrapped_length(length: usize) -> bool {
    (1..=WRAPPED_BYTES_MAX).contains(&length)
}

fn read_error(error: io::Error) -> ChunkedError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        ChunkedError::Malformed
    } else {
        ChunkedError::Read(error)
    }
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

/// Encrypts what `reader` gives into `writer`, header first, and returns the length of the plaintext.
///
/// `progress` is told after each chunk how many bytes of plaintext are done.
///
/// # Errors
///
/// [`ChunkedError`]; what was written so far is then to be discarded.
pub fn encrypt_stream(
    header: &FileHeader,
    data_key: &DataKey,
    binding: Binding<'_>,
    mut reader: impl Read,
    mut writer: impl Write,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ChunkedError> {
    let gcm = header.file_key(data_key, binding)?;
    writer.write_all(&header.bytes).map_err(ChunkedError::Write)?;
    let mut done = 0;
    chunks(&mut reader, CHUNK_BYTES, &mut |chunk, position| {
        done += length(chunk);
        let tag = gcm.seal(position.nonce(), &[], chunk)?;
        writer
            .write_all(chunk)
            .and_then(|()| writer.write_all(&tag))
            .map_err(ChunkedError::Write)?;
        progress(done);
        Ok(())
    })?;
    writer.flush().map_err(ChunkedError::Write)?;
    Ok(done)
}

/// Decrypts what `reader` gives after the header into `writer`, and returns the length of the plaintext.
///
/// `progress` is told after each chunk how many bytes of plaintext are done.
///
/// # Errors
///
/// [`ChunkedError`]; what was written so far is then to be discarded.
pub fn decrypt_stream(
    header: &FileHeader,
    data_key: &DataKey,
    binding: Binding<'_>,
    mut reader: impl Read,
    mut writer: impl Write,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ChunkedError> {
    let gcm = header.file_key(data_key, binding)?;
    let mut done = 0;
    chunks(&mut reader, CHUNK_BYTES + GCM_TAG_BYTES, &mut |chunk, position| {
        let opened = gcm.open(position.nonce(), &[], chunk);
        let plaintext = opened.map_err(|NotAuthentic| ChunkedError::NotAuthentic)?;
        if plaintext.is_empty() && position.counter > 0 {
            return Err(ChunkedError::NotAuthentic);
        }
        writer.write_all(plaintext).map_err(ChunkedError::Write)?;
        done += length(plaintext);
        progress(done);
        Ok(())
    })?;
    writer.flush().map_err(ChunkedError::Write)?;
    Ok(done)
}

/// Where a chunk stands in its file.
#[derive(Clone, Copy)]
struct Position {
    counter: u64,
    is_last: bool,
}

impl Position {
    /// Eleven bytes of counter, big-endian, and one that marks the last chunk.
    fn nonce(self) -> [u8; GCM_NONCE_BYTES] {
        let mut nonce = [0; GCM_NONCE_BYTES];
        nonce[3..11].copy_from_slice(&self.counter.to_be_bytes());
        nonce[11] = u8::from(self.is_last);
        nonce
    }
}

/// What is done with one chunk.
type Each<'f> = dyn FnMut(&mut [u8], Position) -> Result<(), ChunkedError> + 'f;

/// Gives `each` the chunks of a reader, `size` bytes each but the last. There is always a last one.
fn chunks(reader: &mut impl Read, size: usize, each: &mut Each<'_>) -> Result<(), ChunkedError> {
    // Allocated once, so that no plaintext stays behind in a buffer that was outgrown.
    let [mut chunk, mut next] = [(); 2].map(|()| Zeroizing::new(Vec::with_capacity(size)));
    fill(reader, size, &mut chunk)?;
    for counter in 0..CHUNKS_MAX {
        fill(reader, size, &mut next)?;
        let is_last = next.is_empty();
        each(&mut chunk, Position { counter, is_last })?;
        if is_last {
            return Ok(());
        }
        std::mem::swap(&mut chunk, &mut next);
    }
    Err(ChunkedError::TooLong)
}

/// Reads until `buffer` holds `size` bytes or the input ends.
fn fill(reader: &mut impl Read, size: usize, buffer: &mut Vec<u8>) -> Result<(), ChunkedError> {
    buffer.clear();
    let limit = u64::try_from(size).unwrap_or(u64::MAX);
    reader.take(limit).read_to_end(buffer).map(|_| ()).map_err(ChunkedError::Read)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
