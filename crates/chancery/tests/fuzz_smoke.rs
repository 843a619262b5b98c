//! Every fuzz harness over its corpus and seeded mutations of it, without a fuzzer.
//!
//! The harnesses are those of `fuzz/harness.rs`. The corpus is in `fuzz/corpus`, one directory for each;
//! its first files are written by `CHANCERY_WRITE_CORPUS=1` from what [`seeds`] makes, and what a fuzzer
//! finds is added by hand. The mutations are the same in every run.

#[cfg(test)]
#[path = "../../../fuzz/harness.rs"]
mod harness;

#[cfg(test)]
#[path = "fuzz_smoke/seeds.rs"]
mod seeds;

#[cfg(test)]
mod smoke {
    use std::fs;
    use std::path::PathBuf;

    use crate::harness::HARNESSES;
    use crate::seeds;

    /// Mutations of each file of the corpus; all harnesses together take some seconds.
    const MUTATIONS: usize = 60_000;

    /// The longest input, in bytes, that mutations make.
    const LONGEST: usize = 64 * 1024;

    /// Marsaglia's xorshift64: no randomness of use, and the same numbers everywhere.
    struct Xorshift(u64);

    impl Xorshift {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, bound: usize) -> usize {
            let bound = u64::try_from(bound.max(1)).unwrap();
            usize::try_from(self.next() % bound).unwrap()
        }
    }

    /// Bytes that formats give a meaning to: lengths, limits, types of CBOR, marks of JSON.
    const TELLING: [u8; 24] = [
        0x00, 0x01, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x20, 0x40, 0x58, 0x5f, 0x60, 0x7f, 0x80, 0x81,
        0x9f, 0xa0, 0xc0, 0xf6, 0xff, b'"', b'{', b'\\', b',',
    ];

    fn mutated(corpus: &[Vec<u8>], start: &[u8], random: &mut Xorshift) -> Vec<u8> {
        let mut bytes = start.to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
                1 if !bytes.is_empty() => bytes[at] = TELLING[random.below(TELLING.len())],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
                4 if !bytes.is_empty() => drop(bytes.remove(at)),
                5 => {
                    let other = &corpus[random.below(corpus.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[random.below(other.len())..]);
                }
                _ => {
                    let end = (at + random.below(32)).min(bytes.len());
                    let part = bytes[at.min(end)..end].to_vec();
                    bytes.extend(part);
                }
            }
            bytes.truncate(LONGEST);
        }
        bytes
    }

    /// The package of the fuzz targets.
    fn package() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
    }

    fn directory(target: &str) -> PathBuf {
        package().join("corpus").join(target)
    }

    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let mut paths: Vec<_> = fs::read_dir(directory(target))
            .unwrap_or_else(|error| panic!("no corpus for {target}: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    #[test]
    fn no_input_of_the_corpus_and_no_mutation_of_it_breaks_a_harness() {
        for (target, harness) in HARNESSES {
            let corpus = corpus(target);
            assert!(!corpus.is_empty(), "an empty corpus for {target}");
            harness(&[]);
            let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
            for start in &corpus {
                harness(start);
                // Longer inputs cost more and say no more.
                for _ in 0..MUTATIONS * 1_000 / (1_000 + start.len()) {
                    harness(&mutated(&corpus, start, &mut random));
                }
            }
        }
    }

    #[test]
    fn the_corpus_begins_with_what_the_formats_are_written_as() {
        let seeds = seeds::all();
        for (target, harness) in HARNESSES {
            let of_target: Vec<_> = seeds.iter().filter(|seed| seed.target == target).collect();
            assert!(!of_target.is_empty(), "no seed for {target}");
            for seed in of_target {
                let path = directory(target).join(seed.name);
                if std::env::var_os("CHANCERY_WRITE_CORPUS").is_some() {
                    fs::create_dir_all(directory(target)).unwrap();
                    fs::write(&path, &seed.bytes).unwrap();
                }
                let file = fs::read(&path).unwrap_or_default();
                assert!(file == seed.bytes, "{} is not what is written now", path.display());
                harness(&seed.bytes);
                assert!((seed.is_taken)(&seed.bytes), "{target}/{} is not taken", seed.name);
            }
        }
    }

    #[test]
    fn every_harness_has_its_target() {
        let manifest = fs::read_to_string(package().join("Cargo.toml")).unwrap();
        for (target, _) in HARNESSES {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
            let file = package().join("fuzz_targets").join(format!("{target}.rs"));
            assert!(fs::read_to_string(file).unwrap().contains(&format!("harness::{target}(")));
        }
    }
}
