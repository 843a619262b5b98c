//! A search for secrets: in files, in texts, and in the memory of processes.
//!
//! A secret is looked for by windows of 16 bytes at its two ends, so that a copy that is cut by a line end or
//! by the border of a buffer is found too. Each window is looked for as it is, with its bytes reversed (as
//! the limbs of a big number lie in memory), in hexadecimal of both cases, and in base64 and base64url at
//! all three alignments. PKCS#8 in DER and in PEM contains those forms, and so needs none of its own.
//!
//! What it does not find: secrets under any other transformation, such as key schedules.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use chancery_api::http::fields::Base64;

/// The bytes of a window: 128 bits do not occur by chance.
const WINDOW: usize = 16;

/// How much of a process is read at once: 1 MiB.
const CHUNK: usize = 1 << 20;

/// More than the longest form of a window, so that none is cut by the end of a chunk.
const OVERLAP: usize = 64;

/// One form of one window of a secret.
#[derive(Debug)]
struct Needle {
    secret: &'static str,
    form: &'static str,
    bytes: Vec<u8>,
}

/// What is looked for.
#[derive(Debug)]
pub(crate) struct Needles {
    all: Vec<Needle>,
    /// Positions in `all`, by the first two bytes.
    by_start: Vec<Vec<usize>>,
}

/// A secret that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) secret: &'static str,
    pub(crate) form: &'static str,
    pub(crate) place: String,
    pub(crate) at: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {} in {} at {:#x}", self.secret, self.form, self.place, self.at)
    }
}

impl Needles {
    pub(crate) fn new() -> Self {
        Self { all: Vec::new(), by_start: vec![Vec::new(); 1 << 16] }
    }

    /// Looks for a secret too.
    pub(crate) fn add(&mut self, secret: &'static str, bytes: &[u8]) {
        assert!(bytes.len() >= WINDOW, "{secret} is too short to be told from chance");
        for window in [&bytes[..WINDOW], &bytes[bytes.len() - WINDOW..]] {
            self.add_window(secret, window);
        }
    }

    fn add_window(&mut self, secret: &'static str, window: &[u8]) {
        let reversed: Vec<u8> = window.iter().rev().copied().collect();
        self.add_form(secret, "raw", window.to_vec());
        self.add_form(secret, "reversed", reversed);
        let hex = chancery_audit::origin::hex(window);
        self.add_form(secret, "hex", hex.clone().into_bytes());
        self.add_form(secret, "HEX", hex.to_uppercase().into_bytes());
        for alignment in 0..3 {
            let text = base64_inside(window, alignment);
            let url = text.replace('+', "-").replace('/', "_");
            self.add_form(secret, "base64", text.into_bytes());
            self.add_form(secret, "base64url", url.into_bytes());
        }
    }

    fn add_form(&mut self, secret: &'static str, form: &'static str, bytes: Vec<u8>) {
        if self.all.iter().any(|needle| needle.bytes == bytes) {
            return;
        }
        self.by_start[start_of(bytes[0], bytes[1])].push(self.all.len());
        self.all.push(Needle { secret, form, bytes });
    }

    /// What stands in `bytes`; their first is at `offset` of `place`.
    pub(crate) fn in_bytes(&self, place: &str, bytes: &[u8], offset: u64) -> Vec<Found> {
        let mut found = Vec::new();
        for (at, pair) in (0..).zip(bytes.windows(2)) {
            for position in &self.by_start[start_of(pair[0], pair[1])] {
                let needle = &self.all[*position];
                if bytes[at..].starts_with(&needle.bytes) {
                    let at = offset + u64::try_from(at).unwrap();
                    let (secret, form) = (needle.secret, needle.form);
                    found.push(Found { secret, form, place: place.into(), at });
                }
            }
        }
        found
    }

    /// What stands in the files under a directory, however deep.
    pub(crate) fn in_directory(&self, directory: &Path) -> Vec<Found> {
        files_under(directory).iter().flat_map(|path| self.in_file(path)).collect()
    }

    /// What stands in a file.
    pub(crate) fn in_file(&self, path: &Path) -> Vec<Found> {
        // A file that was removed meanwhile holds nothing.
        let bytes = fs::read(path).unwrap_or_default();
        self.in_bytes(&path.display().to_string(), &bytes, 0)
    }

    /// What stands in the readable memory of a process.
    pub(crate) fn in_process(&self, pid: u32) -> io::Result<Vec<Found>> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let mut found = Vec::new();
        for mapping in mappings(pid)? {
            self.in_mapping(&memory, &mapping, &mut found);
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn in_mapping(&self, memory: &File, mapping: &Mapping, found: &mut Vec<Found>) {
        let mut chunk = vec![0; CHUNK + OVERLAP];
        let mut at = mapping.start;
        while at < mapping.end {
            let left = usize::try_from(mapping.end - at).unwrap().min(chunk.len());
            if let Ok(read @ 1..) = memory.read_at(&mut chunk[..left], at) {
                found.extend(self.in_bytes(&mapping.name, &chunk[..read], at));
            }
            at += u64::try_from(CHUNK).unwrap();
        }
    }
}

/// What may be 32 random bytes in the writable memory of a process that belongs to no file: each once, in its order. Words
/// begin where numbers do; eight bytes of a number or an address that is small, or of text, are none of them.
pub(crate) fn candidates(pid: u32) -> io::Result<Vec<[u8; 32]>> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let (mut known, mut candidates) = (HashSet::new(), Vec::new());
    let of_none = |mapping: &Mapping| {
        mapping.name.starts_with("rw")
            && (mapping.name.ends_with("anonymous") || mapping.name.contains('['))
    };
    for mapping in mappings(pid)?.into_iter().filter(of_none) {
        let mut bytes = vec![0; usize::try_from(mapping.end - mapping.start).unwrap()];
        // What cannot be read is no ordinary memory.
        let read = memory.read_at(&mut bytes, mapping.start).unwrap_or_default();
        let words = bytes[..read].as_chunks::<8>().0;
        for four in words.windows(4).filter(|four| four.iter().all(|word| is_random(*word))) {
            let bytes: [u8; 32] = four.concat().try_into().unwrap();
            if known.insert(bytes) {
                candidates.push(bytes);
            }
        }
    }
    Ok(candidates)
}

fn is_random(word: [u8; 8]) -> bool {
    let is_text = word.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    u64::from_le_bytes(word) >> 48 != 0 && word[..2] != [0, 0] && !is_text
}

fn start_of(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// The characters of base64 that depend on `window` alone, where it begins `alignment` bytes into a group.
fn base64_inside(window: &[u8], alignment: usize) -> String {
    let text = Base64([&vec![0; alignment], window].concat()).to_text();
    let first = (8 * alignment).div_ceil(6);
    let end = 8 * (alignment + window.len()) / 6;
    text[first..end].into()
}

/// A part of a process's address space.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The permissions and the file or the name, as `maps` has them.
    pub(crate) name: String,
}

impl Mapping {
    /// Whether an address lies in it.
    pub(crate) fn contains(&self, at: u64) -> bool {
        (self.start..self.end).contains(&at)
    }
}

/// The mappings of a process (proc(5)).
pub(crate) fn mappings(pid: u32) -> io::Result<Vec<Mapping>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    Ok(maps.lines().filter_map(mapping).collect())
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    let file = words.nth(3).unwrap_or("anonymous");
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        start: number(start)?,
        end: number(end)?,
        name: format!("{permissions} {file}"),
    })
}

fn files_under(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let files = entries.flat_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_under(&entry.path()),
        Ok(kind) if kind.is_file() => vec![entry.path()],
        _ => Vec::new(),
    });
    files.collect()
}

#[test]
fn every_form_of_a_secret_is_found() {
    let secret: Vec<u8> = (0..32).map(|byte: u8| byte.wrapping_mul(37) ^ 0xa7).collect();
    let mut needles = Needles::new();
    needles.add("secret", &secret);
    let hex = chancery_audit::origin::hex(&secret);
    let encoded = |before: usize| Base64([&vec![9; before], &secret[..]].concat()).to_text();
    let url = |before: usize| encoded(before).replace('+', "-").replace('/', "_");
    let texts = [hex.clone(), hex.to_uppercase(), encoded(0), encoded(1), encoded(2), url(1)];
    for text in texts {
        assert!(!needles.in_bytes("text", text.as_bytes(), 0).is_empty(), "{text}");
    }
    let reversed: Vec<u8> = secret.iter().rev().copied().collect();
    for bytes in [[&[7; 5], &secret[..]].concat(), reversed, secret[..WINDOW].to_vec()] {
        assert!(!needles.in_bytes("bytes", &bytes, 0).is_empty(), "{bytes:?}");
    }
    assert!(needles.in_bytes("bytes", &secret[1..31], 0).is_empty());
}
