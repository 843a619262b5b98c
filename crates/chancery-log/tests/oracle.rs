//! Roots and proofs against those of a second implementation, `ct-merkle`.

use chancery_log::{Frontier, Hash, consistency_proof, inclusion_proof, leaf_hash, root_of};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;

/// Trees of every size up to this are compared.
const SIZE_MAX: usize = 130;

fn bytes(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(Hash::as_bytes).copied().collect()
}

#[test]
fn roots_and_all_proofs_equal_those_of_the_oracle() {
    let mut oracle = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut frontier = Frontier::new();
    let mut leaves = Vec::new();
    for size in 1..=SIZE_MAX {
        let data = size.to_be_bytes().to_vec();
        leaves.push(leaf_hash(&data));
        frontier.append(leaf_hash(&data));
        oracle.push(data);
        assert_eq!(root_of(&leaves).as_bytes()[..], oracle.root().as_bytes()[..]);
        assert_eq!(frontier.root(), root_of(&leaves));
        for place in 0..size {
            let ours = inclusion_proof(&leaves, place as u64).unwrap();
            assert_eq!(bytes(&ours), oracle.prove_inclusion(place).as_bytes());
            let ours = consistency_proof(&leaves, place as u64 + 1).unwrap();
            assert_eq!(bytes(&ours), oracle.prove_consistency(size - place - 1).as_bytes());
        }
    }
}
