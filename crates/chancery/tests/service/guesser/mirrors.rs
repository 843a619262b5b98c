//! Two mirrors of one log, an earlier and a later one with other files, and what both have together: whoever knows all
//! that a record says but for its message and its time, of each of which there are few, confirms no guess by them.
//!
//! A mirror has leaves and hashes over them. So a guess is confirmed if it leads to a leaf, and for that all eight groups
//! of the record must be guessed with their salts. The guesser knows the groups, and takes for salts, and for what salts
//! are derived from, whatever is published. Given the right salts it is right at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use chancery_audit::opening::{Opened, Opening};
use chancery_audit::publish::LOG_DIRECTORY;
use chancery_audit::record::{PayloadGroup, PayloadSection, TimeGroup, leaf};
use chancery_client::{Client, KeyHandle, sha256_of};
use chancery_core::cbor;
use chancery_core::command::AuditQuery;
use chancery_core::record_group::RecordGroup;
use chancery_crypto::section::{Salt, commit_field, commit_group, salts};
use chancery_log::{Hash, leaf_hash, node_hash};
use minicbor::Decoder;

use super::super::people::query;
use super::{message, opening};
use crate::harness::{Service, committed, eventually, fresh, key_and_handle, sign};

/// So many messages it may be.
const MESSAGES: u8 = 16;

/// So many milliseconds before or after the right time it may be.
const WINDOW_MS: u64 = 16;

/// More records than a full tile has, so that the later mirror has one.
const RECORDS: usize = 300;

/// Published files, by their paths.
type Mirror = BTreeMap<String, Vec<u8>>;

/// The salts of a record.
#[derive(Clone)]
struct Salts {
    groups: [Salt; 8],
    /// Of message, output and context.
    payload: [Salt; 3],
}

/// What the guesser knows of a record.
struct Known {
    /// The values of its groups; those of the first and the sixth are guessed.
    values: [Vec<u8>; 8],
    time: TimeGroup,
    payload: PayloadSection,
}

/// A guess: a time, and which message.
type Guess = (u64, u8);

/// Takes down what is published now.
fn published(service: &Service, is_wanted: impl Fn(&str) -> bool) -> Mirror {
    let mut mirror = Mirror::new();
    let root = service.data().join(LOG_DIRECTORY);
    take(&root, &root, &mut mirror);
    mirror.retain(|path, _| is_wanted(path));
    mirror
}

fn take(root: &Path, directory: &Path, into: &mut Mirror) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            take(root, &path, into);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            into.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// The published checkpoint's size.
fn size(client: &Client) -> u64 {
    let note = client.log_file("checkpoint").unwrap_or_default();
    String::from_utf8(note).unwrap().lines().nth(1).map_or(0, |size| size.parse().unwrap())
}

fn sign_many(client: &Client, handle: &KeyHandle, right: u8, count: usize) -> u64 {
    let mut last = 0;
    for _ in 0..count {
        last = committed(sign(client, handle, message(right).as_bytes(), fresh())).log_index;
    }
    eventually("the records are published", || size(client) > last);
    last
}

/// All runs of 32 bytes in a mirror.
fn runs(mirror: &Mirror) -> BTreeSet<[u8; 32]> {
    let all = mirror.values().flat_map(|bytes| bytes.windows(32));
    all.map(|run| run.try_into().unwrap()).collect()
}

/// What may be a salt or lead to one: every hash and every leaf that a mirror has, and nothing at all.
fn candidates(mirror: &Mirror) -> BTreeSet<[u8; 32]> {
    let mut found = BTreeSet::from([[0; 32]]);
    for (path, bytes) in mirror {
        let entries = path.starts_with("tile/entries/");
        // An entry is its length, five bytes of the leaf's head, and a root.
        let (each, from) = if entries { (39, 7) } else { (32, 0) };
        if path.starts_with("tile/") {
            found.extend(
                bytes.chunks_exact(each).map(|one| <[u8; 32]>::try_from(&one[from..]).unwrap()),
            );
        }
    }
    found
}

/// The salts that a candidate stands for: it is what they are derived from, or each of them.
fn salts_of(candidate: &[u8; 32]) -> [Salts; 2] {
    let ([s0, s1, s2, s3, s4, s6, s7], _) = salts::<7>(candidate).unwrap();
    let ([message, output, context, s5], _) = salts::<4>(candidate).unwrap();
    let derived =
        Salts { groups: [s0, s1, s2, s3, s4, s5, s6, s7], payload: [message, output, context] };
    let same = Salts { groups: [*candidate; 8], payload: [*candidate; 3] };
    [derived, same]
}

/// The salts that an opening of all groups shows.
fn salts_shown(opening: &Opening) -> Salts {
    let bytes = opening.to_bytes();
    let mut decoder = Decoder::new(&bytes);
    let mut groups = [[0; 32]; 8];
    assert_eq!(decoder.array().unwrap(), Some(4));
    decoder.skip().unwrap();
    decoder.skip().unwrap();
    assert_eq!(decoder.array().unwrap(), Some(8));
    for salt in &mut groups {
        assert_eq!(decoder.array().unwrap(), Some(4));
        decoder.skip().unwrap();
        *salt = decoder.bytes().unwrap().try_into().unwrap();
        decoder.skip().unwrap();
        decoder.skip().unwrap();
    }
    assert_eq!(decoder.array().unwrap(), Some(3));
    decoder.skip().unwrap();
    let seed = decoder.bytes().unwrap().try_into().unwrap();
    let ([message, output, context, _], _) = salts::<4>(&seed).unwrap();
    Salts { groups, payload: [message, output, context] }
}

impl Known {
    fn of(opened: Opened) -> Self {
        let (time, payload) = (opened.time.unwrap(), opened.payload.unwrap());
        let values = [
            Vec::new(),
            cbor::encode(&opened.operation.unwrap()),
            cbor::encode(&opened.key.unwrap()),
            cbor::encode(&opened.actor.unwrap()),
            cbor::encode(&opened.authorization.unwrap()),
            Vec::new(),
            cbor::encode(&opened.source.unwrap()),
            cbor::encode(&opened.build.unwrap()),
        ];
        Self { values, time, payload }
    }

    /// The leaf of the hash tree over the groups at which a group stands.
    fn group(&self, salts: &Salts, number: usize) -> Hash {
        committed_to(salts, number, &self.values[number])
    }

    fn time(&self, salts: &Salts, unix_ms: u64) -> Hash {
        committed_to(salts, 0, &cbor::encode(&TimeGroup { unix_ms, ..self.time.clone() }))
    }

    fn payload(&self, salts: &Salts, guess: u8) -> Hash {
        let [of_message, output, context] = &salts.payload;
        let digest = sha256_of(message(guess).as_bytes()).unwrap();
        let group = PayloadGroup {
            message: commit_field(5, 0, of_message, &digest),
            output: commit_field(5, 1, output, &self.payload.output),
            context: commit_field(5, 2, context, &self.payload.context),
        };
        committed_to(salts, 5, &cbor::encode(&group))
    }

    /// The guesses that these salts lead to something published with.
    fn confirmed(&self, salts: &Salts, published: &BTreeSet<[u8; 32]>) -> BTreeSet<Guess> {
        let group = |number| self.group(salts, number);
        let (second, third) = (group(1), node_hash(&group(2), &group(3)));
        let (fifth, last) = (group(4), node_hash(&group(6), &group(7)));
        let around = self.time.unix_ms - WINDOW_MS..=self.time.unix_ms + WINDOW_MS;
        let left = around.map(|unix_ms| {
            let start = node_hash(&self.time(salts, unix_ms), &second);
            (unix_ms, node_hash(&start, &third))
        });
        let right = (0..MESSAGES).map(|guess| {
            let start = node_hash(&fifth, &self.payload(salts, guess));
            (guess, node_hash(&start, &last))
        });
        let right: Vec<_> = right.collect();
        let all = left.flat_map(|left| right.iter().map(move |right| (left, *right)));
        let found = all.filter(|((_, left), (_, right))| {
            let root = node_hash(left, right);
            let leaf = leaf_hash(&leaf(&root));
            published.contains(root.as_bytes()) || published.contains(leaf.as_bytes())
        });
        found.map(|((unix_ms, _), (guess, _))| (unix_ms, guess)).collect()
    }

    /// The guesses that a mirror confirms with whatever is in it.
    fn confirmed_by(&self, mirror: &Mirror) -> BTreeSet<Guess> {
        let published = runs(mirror);
        let salts = candidates(mirror).into_iter().flat_map(|candidate| salts_of(&candidate));
        salts.flat_map(|salts| self.confirmed(&salts, &published)).collect()
    }
}

fn committed_to(salts: &Salts, number: usize, value: &[u8]) -> Hash {
    leaf_hash(&commit_group(u8::try_from(number).unwrap(), &salts.groups[number], value))
}

#[test]
fn two_mirrors_together_confirm_no_guess_and_the_right_salts_do_by_either() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
    let right = 9;
    sign_many(&client, &handle, right, 2);
    let earlier = published(&service, |_| true);
    sign_many(&client, &handle, right, RECORDS);
    // Hashes in the place of entries, and no partial tile that the earlier one has.
    let later = published(&service, |path| {
        !path.starts_with("tile/entries/") && !earlier.contains_key(path)
    });
    let both: Mirror = earlier.clone().into_iter().chain(later.clone()).collect();
    assert!(
        later.contains_key("tile/0/000") && later.contains_key("tile/1/000.p/1"),
        "{:?}",
        later.keys()
    );
    assert!(earlier.keys().any(|path| path.starts_with("tile/entries/")));
    assert!(both.len() > earlier.len() && both.len() > later.len());

    let asked = AuditQuery {
        action: Some("sign".parse().unwrap()),
        limit: 1,
        after: Some(0),
        ..AuditQuery::default()
    };
    let index = query(&client, asked)[0].log_index;
    let whole = opening(&client, index, &RecordGroup::ALL);
    let known = Known::of(whole.open().unwrap());
    let shown = salts_shown(&whole);
    for (name, mirror) in [("earlier", &earlier), ("later", &later), ("both", &both)] {
        assert_eq!(known.confirmed_by(mirror), BTreeSet::new(), "{name}");
        // The record is in each of them, so that there is something to be confirmed.
        let found = known.confirmed(&shown, &runs(mirror));
        assert_eq!(found, BTreeSet::from([(known.time.unix_ms, right)]), "{name}");
    }
}
