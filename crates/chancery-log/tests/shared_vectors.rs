//! The Merkle vectors of transparency-dev/merkle (Apache-2.0), where they are at hand.
//!
//! The files stand beside the project, not in it; without them the tests say so and
//! pass. The vectors for subtrees that do not start at leaf 0 are left out, since the
//! crate proves nothing about those.
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a vector that cannot be read must fail its test, and a skip must be seen"
)]

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chancery_log::{Hash, Leaf, TreeHead, verify_consistency, verify_inclusion};
use serde_json::Value;

/// A vector that compares two equal roots which are no hashes; [`Hash`] cannot hold them.
const ROOTS_ARE_NO_HASHES: &str = "sizes-are-equal-one-and-proof-is-empty.json";

fn shared(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/merkle").join(folder)
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}

/// Reads every vector in `folder` and compares what `accepts` says with what it wants.
fn check(folder: &str, accepts: fn(&Value) -> bool) {
    let folder = shared(folder);
    if !folder.is_dir() {
        println!("skipped: the shared vectors are not beside the project");
        return;
    }
    let files = files_under(&folder);
    assert!(!files.is_empty());
    for file in files.iter().filter(|file| !file.ends_with(ROOTS_ARE_NO_HASHES)) {
        let vector: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let wanted = !vector["wantErr"].as_bool().unwrap();
        assert_eq!(accepts(&vector), wanted, "{}", file.display());
    }
}

/// The hash in `value`, unless it has another length; some vectors try that.
fn hash(value: &Value) -> Option<Hash> {
    let bytes = BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
    Some(Hash::from(<[u8; 32]>::try_from(bytes).ok()?))
}

fn proof(vector: &Value) -> Option<Vec<Hash>> {
    // A proof of no hashes is `null` in some vectors.
    vector["proof"].as_array().map_or(Some(Vec::new()), |hashes| hashes.iter().map(hash).collect())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn accepts_inclusion(vector: &Value) -> bool {
    let parsed = || Some((hash(&vector["leafHash"])?, hash(&vector["root"])?, proof(vector)?));
    parsed().is_some_and(|(leaf, root, proof)| {
        let leaf = Leaf { index: number(&vector["leafIdx"]), hash: leaf };
        let head = TreeHead { size: number(&vector["treeSize"]), root };
        verify_inclusion(&leaf, &head, &proof).is_ok()
    })
}

fn accepts_consistency(vector: &Value) -> bool {
    let parsed = || Some((hash(&vector["root1"])?, hash(&vector["root2"])?, proof(vector)?));
    parsed().is_some_and(|(old_root, new_root, proof)| {
        let old = TreeHead { size: number(&vector["size1"]), root: old_root };
        let new = TreeHead { size: number(&vector["size2"]), root: new_root };
        verify_consistency(&old, &new, &proof).is_ok()
    })
}

#[test]
fn inclusion_vectors_are_decided_as_published() {
    check("inclusion", accepts_inclusion);
}

#[test]
fn consistency_vectors_are_decided_as_published() {
    check("consistency", accepts_consistency);
}
