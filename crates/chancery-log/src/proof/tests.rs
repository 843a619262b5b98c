//! Proofs against their definition, an independent crate, and public vectors.

use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::hash::{HASH_BYTES, leaf_hash};

/// The trees of up to this many leaves are tried exhaustively.
const EXHAUSTIVE: u64 = 64;

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

fn head(leaves: &[Hash]) -> TreeHead {
    TreeHead { size: leaves.len() as u64, root: root_of(leaves) }
}

/// The hash with one bit changed; `bit` counts round the hash.
fn changed(hash: Hash, bit: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8 % HASH_BYTES] ^= 1 << (bit % 8);
    Hash::from(bytes)
}

/// Every proof that differs from `proof` in one bit.
fn one_bit_off(proof: &[Hash]) -> impl Iterator<Item = Vec<Hash>> {
    let bits = proof.len() * HASH_BYTES * 8;
    (0..bits).map(|bit| {
        let mut wrong = proof.to_vec();
        let place = bit / (HASH_BYTES * 8);
        wrong[place] = changed(wrong[place], bit);
        wrong
    })
}

/// Every shorter proof at either end, and longer ones.
fn wrong_lengths(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let extra = leaf_hash(b"extra");
    let shorter = (0..proof.len()).map(|length| proof[..length].to_vec());
    let without_start = (1..=proof.len()).map(|start| proof[start..].to_vec());
    let longer = [[proof, &[extra]].concat(), [&[extra], proof].concat()];
    let doubled = proof.last().map(|last| [proof, &[*last]].concat());
    shorter.chain(without_start).chain(longer).chain(doubled).collect()
}

#[test]
fn every_inclusion_proof_verifies() {
    for size in 1..=EXHAUSTIVE {
        let leaves = leaves(size);
        for index in 0..size {
            let proof = inclusion_proof(&leaves, index).unwrap();
            let leaf = Leaf { index, hash: leaves[usize::try_from(index).unwrap()] };
            assert_eq!(verify_inclusion(&leaf, &head(&leaves), &proof), Ok(()), "{leaf:?}, {size}");
        }
    }
}

#[test]
fn an_inclusion_proof_with_any_bit_changed_fails() {
    for size in 1..=EXHAUSTIVE {
        let leaves = leaves(size);
        let head = head(&leaves);
        for index in 0..size {
            let leaf = Leaf { index, hash: leaves[usize::try_from(index).unwrap()] };
            for wrong in one_bit_off(&inclusion_proof(&leaves, index).unwrap()) {
                let refused = verify_inclusion(&leaf, &head, &wrong).unwrap_err();
                assert!(matches!(refused, InclusionError::Root { .. }), "{leaf:?}, {size}");
            }
        }
    }
}

#[test]
fn an_inclusion_proof_of_another_length_fails() {
    for size in 1..=EXHAUSTIVE {
        let leaves = leaves(size);
        for index in 0..size {
            let proof = inclusion_proof(&leaves, index).unwrap();
            let leaf = Leaf { index, hash: leaves[usize::try_from(index).unwrap()] };
            for wrong in wrong_lengths(&proof) {
                let (expected, found) = (proof.len(), wrong.len());
                assert_eq!(
                    verify_inclusion(&leaf, &head(&leaves), &wrong),
                    Err(InclusionError::Length { expected, found })
                );
            }
        }
    }
}

#[test]
fn an_inclusion_proof_holds_for_no_other_leaf_place_or_root() {
    for size in 1..=EXHAUSTIVE {
        let leaves = leaves(size);
        let head = head(&leaves);
        for index in 0..size {
            let proof = inclusion_proof(&leaves, index).unwrap();
            let leaf = Leaf { index, hash: leaves[usize::try_from(index).unwrap()] };
            for other in (0..=size).filter(|other| *other != index) {
                assert!(verify_inclusion(&Leaf { index: other, ..leaf }, &head, &proof).is_err());
            }
            for bit in 0..HASH_BYTES * 8 {
                let wrong_leaf = Leaf { hash: changed(leaf.hash, bit), ..leaf };
                assert!(verify_inclusion(&wrong_leaf, &head, &proof).is_err());
                let wrong_head = TreeHead { root: changed(head.root, bit), ..head };
                assert!(verify_inclusion(&leaf, &wrong_head, &proof).is_err());
            }
        }
    }
}

#[test]
fn every_consistency_proof_verifies() {
    for size in 1..=EXHAUSTIVE {
        let leaves = leaves(size);
        for old_size in 1..=size {
            let old = head(&leaves[..usize::try_from(old_size).unwrap()]);
            let proof = consistency_proof(&leaves, old_size).unwrap();
            assert_eq!(verify_consistency(&old, &head(&leaves), &proof), Ok(()), "{old:?}, {size}");
        }
    }
}

#[test]
fn a_consistency_proof_with_any_bit_changed_fails() {
    for size in 1..=EXHAUSTIVE {
        let leaves = leaves(size);
        let new = head(&leaves);
        for old_size in 1..=size {
            let old = head(&leaves[..usize::try_from(old_size).unwrap()]);
            for wrong in one_bit_off(&consistency_proof(&leaves, old_size).unwrap()) {
                let refused = verify_consistency(&old, &new, &wrong).unwrap_err();
                assert!(matches!(
                    refused,
                    ConsistencyError::OldRoot { .. } | ConsistencyError::NewRoot { .. }
                ));
            }
        }
    }
}

#[test]
fn a_consistency_proof_of_another_length_fails() {
    for size in 1..=EXHAUSTIVE {
        let leaves = leaves(size);
        for old_size in 1..=size {
            let old = head(&leaves[..usize::try_from(old_size).unwrap()]);
            let proof = consistency_proof(&leaves, old_size).unwrap();
            for wrong in wrong_lengths(&proof) {
                let (expected, found) = (proof.len(), wrong.len());
                assert_eq!(
                    verify_consistency(&old, &head(&leaves), &wrong),
                    Err(ConsistencyError::Length { expected, found })
                );
            }
        }
    }
}

#[test]
fn a_consistency_proof_holds_for_no_other_root() {
    for size in 1..=EXHAUSTIVE {
        let leaves = leaves(size);
        let new = head(&leaves);
        for old_size in 1..=size {
            let old = head(&leaves[..usize::try_from(old_size).unwrap()]);
            let proof = consistency_proof(&leaves, old_size).unwrap();
            for bit in 0..HASH_BYTES * 8 {
                let wrong_old = TreeHead { root: changed(old.root, bit), ..old };
                assert!(verify_consistency(&wrong_old, &new, &proof).is_err());
                let wrong_new = TreeHead { root: changed(new.root, bit), ..new };
                assert!(verify_consistency(&old, &wrong_new, &proof).is_err());
            }
        }
    }
}

proptest! {
    #[test]
    fn proofs_in_larger_trees_verify(
        (size, place) in (1_u64..2_000).prop_flat_map(|size| (Just(size), 0..size)),
    ) {
        let leaves = leaves(size);
        let new = head(&leaves);
        let leaf = Leaf { index: place, hash: leaves[usize::try_from(place).unwrap()] };
        let proof = inclusion_proof(&leaves, place).unwrap();
        prop_assert_eq!(verify_inclusion(&leaf, &new, &proof), Ok(()));
        let old = head(&leaves[..=usize::try_from(place).unwrap()]);
        let proof = consistency_proof(&leaves, old.size).unwrap();
        prop_assert_eq!(verify_consistency(&old, &new, &proof), Ok(()));
    }

    #[test]
    fn no_size_or_index_makes_verifying_panic_or_accept_nothing(
        index: u64, old_size: u64, size: u64, length in 0..=PROOF_HASHES_MAX + 1,
    ) {
        let hash = leaf_hash(b"any");
        let proof = vec![hash; length];
        let head = TreeHead { size, root: hash };
        // SHA-256 would have to collide for a proof of equal hashes to end in one of them.
        let proved = verify_inclusion(&Leaf { index, hash }, &head, &proof).is_ok();
        prop_assert!(!proved || size == 1);
        let old = TreeHead { size: old_size, root: hash };
        let consistent = verify_consistency(&old, &head, &proof).is_ok();
        prop_assert!(!consistent || old_size == size);
    }
}

#[test]
fn the_longest_proofs_have_as_many_hashes_as_the_limit_allows() {
    let hash = leaf_hash(b"any");
    let head = TreeHead { size: TREE_SIZE_MAX, root: hash };
    let refused = verify_inclusion(&Leaf { index: 0, hash }, &head, &[]).unwrap_err();
    assert_eq!(refused, InclusionError::Length { expected: PROOF_HASHES_MAX - 1, found: 0 });
    let refused = verify_consistency(&TreeHead { size: 3, root: hash }, &head, &[]).unwrap_err();
    assert_eq!(refused, ConsistencyError::Length { expected: PROOF_HASHES_MAX, found: 0 });
}

#[test]
fn a_tree_beyond_the_limit_is_refused() {
    let hash = leaf_hash(b"any");
    let (limit, found) = (TREE_SIZE_MAX, TREE_SIZE_MAX + 1);
    let head = TreeHead { size: found, root: hash };
    let refused = verify_inclusion(&Leaf { index: 0, hash }, &head, &[]).unwrap_err();
    assert_eq!(refused, InclusionError::TooLarge { limit, found });
    let refused = verify_consistency(&head, &head, &[]).unwrap_err();
    assert_eq!(refused, ConsistencyError::TooLarge { limit, found });
}

#[test]
fn a_leaf_just_beyond_the_tree_is_refused_for_its_place() {
    for size in 0..EXHAUSTIVE {
        let leaf = Leaf { index: size, hash: leaf_hash(b"any") };
        assert_eq!(
            verify_inclusion(&leaf, &head(&leaves(size)), &[]),
            Err(InclusionError::IndexBeyondSize { index: size, size })
        );
    }
}

#[test]
fn nothing_is_proved_about_a_leaf_that_is_not_there() {
    assert_eq!(
        inclusion_proof(&leaves(3), 3).unwrap_err(),
        ProveInclusionError { index: 3, size: 3 }
    );
    assert!(inclusion_proof(&[], 0).is_err());
}

#[test]
fn nothing_is_proved_from_an_empty_or_a_larger_tree() {
    for old in [0, 4] {
        let refused = consistency_proof(&leaves(3), old).unwrap_err();
        assert_eq!(refused, ProveConsistencyError { old, new: 3 });
        let old = TreeHead { size: old, root: root_of(&leaves(old)) };
        let refused = verify_consistency(&old, &head(&leaves(3)), &[]).unwrap_err();
        assert_eq!(refused, ConsistencyError::Sizes { old: old.size, new: 3 });
    }
}
