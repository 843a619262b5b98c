//! Which Ed25519 signatures ours accepts, held to the edge cases of C2SP/CCTV.
//!
//! Verifiers differ on keys and points of small order and on encodings that are not canonical. The table
//! below is the rule that ours follows; the documentation of `PublicKey` states it in words.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::Path;

use chancery_core::suite::Suite;
use chancery_crypto::key::PublicKey;

/// Where the vectors lie: beside the project.
const VECTORS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/ed25519-edge-cases.json");

/// What precedes the 32 bytes of a key in its `SubjectPublicKeyInfo` (RFC 8410, 4).
const SPKI_HEAD: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The rule: a vector with one of these flags is refused, and every other one is accepted.
const REFUSED: [&str; 3] = ["low_order_residue", "non_canonical_A", "non_canonical_R"];

/// What becomes of the vectors with each flag: how many are refused, and how many accepted.
const TABLE: [(&str, [usize; 2]); 8] = [
    ("low_order_A", [440, 86]),
    ("low_order_R", [500, 86]),
    ("low_order_component_A", [606, 168]),
    ("low_order_component_R", [525, 140]),
    ("low_order_residue", [583, 0]),
    ("non_canonical_A", [226, 0]),
    ("non_canonical_R", [316, 0]),
    ("reencoded_k", [146, 0]),
];

#[derive(serde::Deserialize)]
struct Vector {
    number: usize,
    key: String,
    sig: String,
    msg: String,
    flags: Option<Vec<String>>,
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn is_accepted(vector: &Vector) -> bool {
    let spki = [&SPKI_HEAD[..], &bytes(&vector.key)].concat();
    let key = PublicKey::from_spki(Suite::Ed25519, &spki);
    key.is_ok_and(|key| key.verify(vector.msg.as_bytes(), &bytes(&vector.sig)).is_ok())
}

#[test]
fn a_signature_is_accepted_exactly_when_the_equation_without_cofactor_holds_in_canonical_form() {
    if !Path::new(VECTORS).exists() {
        println!("skipped: the vectors of C2SP/CCTV do not lie beside the project");
        return;
    }
    let vectors: Vec<Vector> = serde_json::from_slice(&std::fs::read(VECTORS).unwrap()).unwrap();
    assert_eq!(vectors.len(), 914);
    let mut table = BTreeMap::<&str, [usize; 2]>::new();
    for vector in &vectors {
        let flags = vector.flags.as_deref().unwrap_or_default();
        let is_accepted = is_accepted(vector);
        for flag in flags {
            table.entry(flag).or_default()[usize::from(is_accepted)] += 1;
        }
        let is_refused_by_rule = flags.iter().any(|flag| REFUSED.contains(&flag.as_str()));
        assert_eq!(is_accepted, !is_refused_by_rule, "vector {}: {flags:?}", vector.number);
    }
    assert_eq!(table, BTreeMap::from(TABLE));
}
