//! Streams cut, swapped, repeated and extended: each is refused.

use std::cell::Cell;

use chancery_core::context::Pair;

use super::*;

/// What one file of the tests is encrypted with.
#[derive(Clone)]
struct Case {
    data_key: DataKey,
    wrapped: Vec<u8>,
    salt: [u8; SALT_BYTES],
    purpose: Purpose,
    context: Context,
}

const FULL: usize = CHUNK_BYTES + GCM_TAG_BYTES;

impl Case {
    fn new() -> Self {
        Self {
            data_key: Zeroizing::new([7; 32]),
            wrapped: b"wrapped".to_vec(),
            salt: [9; SALT_BYTES],
            purpose: "wrap.aead:backup".parse().unwrap(),
            context: context(&["volume=1"]),
        }
    }

    fn binding(&self) -> Binding<'_> {
        Binding { purpose: &self.purpose, context: &self.context }
    }

    fn encrypt(&self, plaintext: &[u8]) -> Vec<u8> {
        let header = FileHeader::new(&self.wrapped, self.salt).unwrap();
        let mut file = Vec::new();
        let done = encrypt_stream(
            &header,
            &self.data_key,
            self.binding(),
            plaintext,
            &mut file,
            &mut |_| {},
        )
        .unwrap();
        assert_eq!(done, plaintext.len() as u64);
        file
    }

    fn decrypt(&self, mut file: &[u8]) -> Result<Vec<u8>, ChunkedError> {
        let header = FileHeader::read(&mut file)?;
        let mut plaintext = Vec::new();
        decrypt_stream(&header, &self.data_key, self.binding(), file, &mut plaintext, &mut |_| {})?;
        Ok(plaintext)
    }

    /// Whether `file` is refused as not authentic.
    fn is_closed(&self, file: &[u8]) -> bool {
        matches!(self.decrypt(file), Err(ChunkedError::NotAuthentic))
    }

    fn header_bytes(&self) -> usize {
        HEAD_BYTES + self.wrapped.len() + SALT_BYTES
    }
}

fn context(pairs: &[&str]) -> Context {
    Context::new(pairs.iter().map(|pair| Pair::parse(pair).unwrap()).collect()).unwrap()
}

/// Bytes in which no two chunks are equal.
fn plaintext(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at / CHUNK_BYTES * 31 + at) % 251).unwrap()).collect()
}

/// A file of three whole chunks and a short one, in parts: the header, then each chunk.
fn parts(case: &Case) -> Vec<Vec<u8>> {
    let file = case.encrypt(&plaintext(3 * CHUNK_BYTES + 5));
    let (header, chunks) = file.split_at(case.header_bytes());
    std::iter::once(header).chain(chunks.chunks(FULL)).map(<[u8]>::to_vec).collect()
}

#[test]
fn files_of_every_shape_round_trip() {
    let case = Case::new();
    for length in
        [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 5]
    {
        let plaintext = plaintext(length);
        let file = case.encrypt(&plaintext);
        let chunks = length.div_ceil(CHUNK_BYTES).max(1);
        assert_eq!(file.len(), case.header_bytes() + length + chunks * GCM_TAG_BYTES);
        assert_eq!(case.decrypt(&file).unwrap(), plaintext, "{length}");
    }
}

#[test]
fn the_header_has_the_documented_layout() {
    let file = Case::new().encrypt(b"plaintext");
    let expected = [b"CHCF\x01\x00\x07wrapped", &[9; 32][..]].concat();
    assert_eq!(file[..expected.len()], expected);
    let header = FileHeader::read(&mut &file[..]).unwrap();
    assert_eq!(header.wrapped(), b"wrapped");
    assert_eq!(header.bytes, expected);
}

/// The file was computed apart from this code, from the module's description.
#[test]
fn a_file_of_fixed_inputs_is_what_it_always_was() {
    assert_eq!(Case::new().encrypt(b"plaintext"), include_bytes!("../../vectors/chunked.bin"));
}

#[test]
fn a_nonce_is_eleven_bytes_of_counter_and_the_mark_of_the_last() {
    let nonce = |counter, is_last| Position { counter, is_last }.nonce();
    assert_eq!(nonce(0, false), [0; 12]);
    assert_eq!(nonce(0x0102, true), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1]);
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let case = Case::new();
    let file = case.encrypt(b"plaintext");
    for bit in 0..file.len() * 8 {
        let mut changed = file.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(case.decrypt(&changed).is_err(), "bit {bit}");
    }
    let file = parts(&case).concat();
    for byte in (0..file.len()).step_by(10_007) {
        let mut changed = file.clone();
        changed[byte] ^= 0x80;
        assert!(case.decrypt(&changed).is_err(), "byte {byte}");
    }
}

#[test]
fn a_cut_file_is_refused_wherever_it_is_cut() {
    let case = Case::new();
    let file = case.encrypt(b"plaintext");
    for length in 0..file.len() {
        assert!(case.decrypt(&file[..length]).is_err(), "{length}");
    }
    let parts = parts(&case);
    for count in 1..parts.len() {
        assert!(case.is_closed(&parts[..count].concat()), "{count} parts");
        let cut = parts[..=count].concat();
        assert!(case.is_closed(&cut[..cut.len() - 1]), "a byte short of {count} chunks");
    }
}

#[test]
fn chunks_that_are_moved_repeated_or_left_out_are_refused() {
    let case = Case::new();
    let parts = parts(&case);
    for order in [
        &[0, 2, 1, 3, 4][..],
        &[0, 1, 3, 2, 4],
        &[0, 1, 1, 2, 3, 4],
        &[0, 1, 2, 3, 3, 4],
        &[0, 2, 3, 4],
        &[0, 1, 2, 4],
        &[0, 4],
        &[0, 1, 2, 3, 4, 4],
        &[0, 1, 2, 3, 4, 1],
    ] {
        let file: Vec<u8> = order.iter().flat_map(|&part| parts[part].clone()).collect();
        assert!(case.is_closed(&file), "{order:?}");
    }
}

#[test]
fn an_extended_file_is_refused() {
    let case = Case::new();
    for length in [0, 9, CHUNK_BYTES] {
        let file = case.encrypt(&plaintext(length));
        for more in [1, GCM_TAG_BYTES, FULL] {
            assert!(case.is_closed(&[&file[..], &vec![0; more]].concat()), "{length} + {more}");
        }
    }
}

#[test]
fn an_empty_last_chunk_after_others_is_refused_though_it_is_authentic() {
    let case = Case::new();
    let header = FileHeader::new(&case.wrapped, case.salt).unwrap();
    let gcm = header.file_key(&case.data_key, case.binding()).unwrap();
    let mut file = header.bytes;
    let mut chunk = plaintext(CHUNK_BYTES);
    let tag = gcm.seal(Position { counter: 0, is_last: false }.nonce(), &[], &mut chunk).unwrap();
    file.extend([&chunk[..], &tag].concat());
    file.extend(gcm.seal(Position { counter: 1, is_last: true }.nonce(), &[], &mut []).unwrap());
    assert!(case.is_closed(&file));
}

#[test]
fn chunks_and_headers_of_other_files_are_refused() {
    let case = Case::new();
    let other = Case { salt: [8; SALT_BYTES], ..case.clone() };
    let (mut ours, theirs) = (parts(&case), parts(&other));
    assert!(case.is_closed(&[&theirs[..1], &ours[1..]].concat().concat()));
    ours[2].clone_from(&theirs[2]);
    assert!(case.is_closed(&ours.concat()));
    let wrapped = Case { wrapped: b"another".to_vec(), ..case.clone() };
    assert!(case.is_closed(&[&parts(&wrapped)[..1], &parts(&case)[1..]].concat().concat()));
}

#[test]
fn another_key_purpose_or_context_does_not_open() {
    let case = Case::new();
    let file = case.encrypt(b"plaintext");
    let purpose = "wrap.aead:other".parse().unwrap();
    assert!(Case { purpose, ..case.clone() }.is_closed(&file));
    let purpose = "encrypt.aead:backup".parse().unwrap();
    assert!(Case { purpose, ..case.clone() }.is_closed(&file));
    assert!(Case { context: Context::default(), ..case.clone() }.is_closed(&file));
    assert!(Case { context: context(&["volume=2"]), ..case.clone() }.is_closed(&file));
    assert!(Case { data_key: Zeroizing::new([8; 32]), ..case.clone() }.is_closed(&file));
    let purpose = "sign.bound:x".parse().unwrap();
    assert!(matches!(Case { purpose, ..case }.decrypt(&file), Err(ChunkedError::WrongPurpose)));
}

#[test]
fn a_header_that_is_none_is_refused() {
    let case = Case::new();
    let file = case.encrypt(b"plaintext");
    let malformed = |at: usize, bytes: &[u8]| {
        let mut changed = file.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        assert!(matches!(case.decrypt(&changed), Err(ChunkedError::Malformed)), "{at}");
    };
    malformed(0, b"CHEN");
    malformed(4, &[2]);
    malformed(5, &[0, 0]);
    malformed(5, &[4, 1]);
    malformed(5, &[4, 0]);
    for wrapped in [0, WRAPPED_BYTES_MAX + 1] {
        let refused = FileHeader::new(&vec![0; wrapped], [0; 32]);
        assert!(matches!(refused, Err(ChunkedError::WrappedKey { found }) if found == wrapped));
    }
}

/// A reader that gives one byte at a time, and is interrupted between them.
struct Trickle<'a>(&'a [u8], bool);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.0.read(&mut buffer[..1])
    }
}

#[test]
fn short_reads_and_interruptions_do_not_matter() {
    let case = Case::new();
    let plaintext = plaintext(CHUNK_BYTES + 3);
    let file = case.encrypt(&plaintext);
    let mut reader = Trickle(&file, false);
    let header = FileHeader::read(&mut reader).unwrap();
    let mut output = Vec::new();
    decrypt_stream(&header, &case.data_key, case.binding(), reader, &mut output, &mut |_| {})
        .unwrap();
    assert_eq!(output, plaintext);
}

/// Reader and writer that know how far the one is ahead of the other.
struct Ahead<'a>(&'a Cell<usize>, usize);

impl Read for Ahead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.1);
        self.1 -= count;
        self.0.set(self.0.get() + count);
        assert!(self.0.get() <= 2 * CHUNK_BYTES + HEAD_BYTES, "{} bytes are held", self.0.get());
        Ok(count)
    }
}

impl Write for Ahead<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get().saturating_sub(bytes.len()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn two_chunks_at_most_are_held_in_memory() {
    let case = Case::new();
    let header = FileHeader::new(&case.wrapped, case.salt).unwrap();
    let held = Cell::new(0);
    let mut told = Vec::new();
    let (reader, writer) = (Ahead(&held, 40 * CHUNK_BYTES), Ahead(&held, 0));
    let binding = case.binding();
    encrypt_stream(&header, &case.data_key, binding, reader, writer, &mut |done| told.push(done))
        .unwrap();
    let expected: Vec<_> = (1..=40).map(|count| count * CHUNK_BYTES as u64).collect();
    assert_eq!(told, expected);
}

/// A writer whose disk is full after the first write.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += 1;
        if self.0 > 1 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_error_of_the_output_is_told_apart_from_one_of_the_file() {
    let case = Case::new();
    let header = FileHeader::new(&case.wrapped, case.salt).unwrap();
    let result =
        encrypt_stream(&header, &case.data_key, case.binding(), &[0; 9][..], Full(0), &mut |_| {});
    assert!(
        matches!(result, Err(ChunkedError::Write(error)) if error.kind() == io::ErrorKind::StorageFull)
    );
}
