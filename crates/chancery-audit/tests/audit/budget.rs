//! The exfiltration budget: how many bits of a record somebody can choose who may use keys and wants to tell something
//! to a reader of the log who has no key. `docs/privacy.md` has the figures; they are computed here from real records.

use std::collections::BTreeSet;
use std::sync::Arc;

use chancery_audit::frame::Item;
use chancery_audit::publish::entry;
use chancery_audit::record::{BuildGroup, Counted, Facts, Kind, leaf};
use chancery_audit::sealer::{Kept, Keyring, MonthKeys, MonthSecrets, Sealer, month_of};
use chancery_core::clock::{Quality, Reading, Served, millis};
use chancery_core::handle::Operation;
use chancery_core::id::{HandleId, KeyId, OperationId, PrincipalId};
use chancery_core::limits::{MESSAGE_BYTES_MAX, OPERATION_RETENTION};
use chancery_core::reason::Reason;
use chancery_crypto::labels;
use chancery_crypto::mac::KeyedHash;
use chancery_crypto::primitive::sha256;

use super::genuine::{NOW, TENANT, boot};

/// The bytes of an entry that every record has in common: its length, and the head of the leaf.
const FIXED_BYTES: usize = 7;

/// What is tried of each thing that a caller can choose.
const TRIES: u64 = 64;

/// Something that a caller can choose, and its variants.
type Choice = (&'static str, fn(&mut Facts, u64));

fn bytes16(number: u64) -> [u8; 16] {
    *sha256(&[&number.to_be_bytes()]).first_chunk().unwrap()
}

/// All of it: everything of a record that comes from a request, or from which key and handle it is made with.
const CHOICES: [Choice; 11] = [
    ("message", |facts, n| facts.message = sha256(&[&n.to_be_bytes()])),
    ("output", |facts, n| facts.output = sha256(&[&n.to_be_bytes()])),
    ("context", |facts, n| facts.context = sha256(&[&n.to_be_bytes()])),
    ("operation id", |facts, n| facts.operation_id = Some(OperationId::from_bytes(bytes16(n)))),
    ("input size", |facts, n| facts.input_bytes = 1 << (n % 17)),
    ("operation", |facts, n| facts.operation = at(&Operation::ALL, n).number()),
    ("refusal", |facts, n| facts.refused = Some(*at(Reason::ALL, n))),
    ("key", |facts, n| facts.key = Some((KeyId::from_bytes(bytes16(n)), 1))),
    ("handle", |facts, n| facts.credential = Some(HandleId::from_bytes(bytes16(n)))),
    ("actor", |facts, n| facts.actor = Some(PrincipalId::from_bytes(bytes16(n)))),
    ("flags", |facts, n| facts.flags = u8::try_from(n % 4).unwrap()),
];

fn at<T>(all: &[T], n: u64) -> &T {
    &all[usize::try_from(n).unwrap() % all.len()]
}

fn facts() -> Facts {
    let now = Reading {
        unix_ms: NOW,
        quality: Quality::Plausible,
        served: Served::default(),
        wall_ms: NOW,
    };
    let mut facts = Facts::new(TENANT, now, Kind::Use);
    facts.key = Some((KeyId::from_bytes([7; 16]), 1));
    facts.counted = Counted::Yes;
    facts.actor = Some(PrincipalId::from_bytes([5; 16]));
    facts.credential = Some(HandleId::from_bytes([9; 16]));
    facts.suite = 1;
    facts.input_bytes = 1_000;
    facts
}

/// A record of these facts under a month's keys, always with the same nonce and use index, so that whatever differs
/// between two comes from what was chosen.
fn record(facts: &Facts, keys: u8, kept: Option<&Kept<'_>>) -> Item {
    let secrets = MonthSecrets::from_bytes(&[keys; 160]).unwrap();
    let keyring = Keyring::default();
    keyring.insert(TENANT, month_of(NOW), MonthKeys::derive(&secrets, boot(1)).unwrap());
    let build = BuildGroup { build: [6; 32], configuration: [8; 32] };
    let mut sealer = Sealer::new(Arc::new(keyring), boot(1), 3, build);
    sealer.prepare(facts, kept).unwrap().finish(Some(41), 0).0
}

/// What a mirror has of a record.
fn published(item: &Item) -> Vec<u8> {
    entry(&leaf(&item.root)).to_vec()
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect()
}

/// The bits that tell so many cases apart, to a tenth.
fn bits(cases: usize) -> String {
    format!("{:.1}", f64::from(u32::try_from(cases).unwrap()).log2())
}

/// What the document says of a channel, in the column of bits.
fn documented(channel: &str) -> String {
    let page = include_str!("../../../../docs/privacy.md");
    let line = page.lines().find(|line| line.starts_with(&format!("| {channel} |")));
    let line = line.unwrap_or_else(|| panic!("docs/privacy.md has no line of `{channel}`"));
    line.split('|').nth(3).unwrap().trim().to_owned()
}

#[test]
fn no_caller_chooses_a_byte_that_is_published() {
    let base = published(&record(&facts(), 1, None));
    let other_base = published(&record(&facts(), 2, None));
    for (name, choose) in CHOICES {
        let mut changed = BTreeSet::new();
        for n in 0..TRIES {
            let mut facts = facts();
            choose(&mut facts, n);
            let (one, other) =
                (published(&record(&facts, 1, None)), published(&record(&facts, 2, None)));
            assert_eq!(one[..FIXED_BYTES], base[..FIXED_BYTES], "{name}");
            // Neither what stands there nor what a choice changes of it can be known without the month's keys.
            assert_ne!(one, other, "{name} {n}");
            if one != base {
                assert_ne!(xor(&one, &base), xor(&other, &other_base), "{name} {n}");
            }
            changed.extend((0..one.len()).filter(|at| one[*at] != base[*at]));
        }
        // All of the root changes with whatever is chosen, and nothing else does.
        assert_eq!(changed, (FIXED_BYTES..base.len()).collect(), "{name}");
    }
    assert_eq!(documented("content of a record"), "0");
}

#[test]
fn whoever_tries_until_a_leaf_pleases_leaves_every_try_on_record() {
    // Of 2^12 records that differ in a message, the best has no more zero bits at its beginning than chance gives it.
    let leading = |n: u64| {
        let facts = Facts { message: sha256(&[&n.to_be_bytes()]), ..facts() };
        let root = record(&facts, 1, None).root;
        u64::from_be_bytes(*root.as_bytes().first_chunk().unwrap()).leading_zeros()
    };
    let most = (0..1 << 12).map(leading).max().unwrap();
    assert!((9..=20).contains(&most), "{most}");
    assert_eq!(documented("best of N records"), "log2 N, at the cost of N records");
}

/// What stands in clear beside a record in its frame, as far as it depends on what was done: kind, number of a command,
/// and the lengths of the sections.
fn in_clear(item: &Item) -> (u8, u64, [usize; 3]) {
    let lengths = [item.pseudonymous.len(), item.identity.len(), item.payload.len()];
    (item.kind.number(), item.command, lengths)
}

#[test]
fn the_sizes_of_sections_tell_as_much_as_the_document_says() {
    // What a handle may do, and what its key is: a caller may have several.
    let keys = [1, 24, 32].iter().flat_map(|suite| [1, 24, 256].map(|version| (*suite, version)));
    let keys: Vec<(u16, u32)> = keys.collect();
    let refusals: Vec<_> =
        [None].into_iter().chain(Reason::ALL.iter().copied().map(Some)).collect();
    let mut seen = BTreeSet::new();
    for operation in Operation::ALL.map(Operation::number) {
        for (suite, version) in &keys {
            for refused in &refusals {
                for input_bytes in [0, MESSAGE_BYTES_MAX] {
                    let key = Some((KeyId::from_bytes([7; 16]), *version));
                    let (suite, refused) = (*suite, *refused);
                    let facts = Facts { operation, suite, key, refused, input_bytes, ..facts() };
                    seen.insert(in_clear(&record(&facts, 1, None)));
                }
            }
        }
    }
    let nothing = Facts { actor: None, credential: None, operation_id: None, ..facts() };
    assert!(seen.contains(&in_clear(&record(&nothing, 1, None))), "what is absent has its length");
    assert_eq!(documented("sizes of the sections"), bits(seen.len()), "{seen:?}");
}

#[test]
fn a_kept_answer_tells_its_length_and_the_time_in_its_operation_id() {
    let key = KeyedHash::new(&[3; 32]);
    let hash = |label, part: &[u8]| key.of(label, &[part]);
    let kept = |id_ms, answer| Kept {
        name: hash(labels::AUDIT_OPERATION_ID, b"id"),
        digest: hash(labels::REQUEST_DIGEST, b"request"),
        id_ms,
        answer,
    };
    let answer = vec![0; MESSAGE_BYTES_MAX];
    let record = |id_ms, length: usize| record(&facts(), 1, Some(&kept(id_ms, &answer[..length])));
    let lengths: BTreeSet<usize> =
        (0..=64).map(|length| record(NOW, length).answer.unwrap().sealed.len()).collect();
    assert_eq!(lengths.len(), 65, "every length shows");
    assert_eq!(record(NOW - 77, 0).answer.unwrap().id_ms, NOW - 77, "the time shows");
    assert_eq!(documented("length of a kept answer"), bits(MESSAGE_BYTES_MAX));
    // An id is taken whose time is within a day of the service's, either way.
    let times = usize::try_from(2 * millis(OPERATION_RETENTION)).unwrap();
    assert_eq!(documented("time in an operation id"), bits(times));
}
