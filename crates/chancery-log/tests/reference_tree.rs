//! The tree of eight leaves that Certificate Transparency's implementations share.
//!
//! Its leaves and roots stand in the tests of the first implementation (Apache-2.0);
//! the paths are the ones that follow from RFC 6962, section 2.1.3, whose example
//! tree has seven leaves.

use chancery_log::{
    Frontier, Hash, Leaf, TreeHead, consistency_proof, inclusion_proof, leaf_hash, node_hash,
    root_of, verify_consistency, verify_inclusion,
};

/// The data of the leaves.
const LEAVES: [&[u8]; 8] = [
    &[],
    &[0x00],
    &[0x10],
    &[0x20, 0x21],
    &[0x30, 0x31],
    &[0x40, 0x41, 0x42, 0x43],
    &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
    &[
        0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e,
        0x6f,
    ],
];

/// The root after each leaf.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn both_ways_to_the_root_reach_the_published_ones() {
    let leaves = LEAVES.map(leaf_hash);
    let mut frontier = Frontier::new();
    for (index, root) in ROOTS.iter().enumerate() {
        frontier.append(leaves[index]);
        assert_eq!(frontier.root().to_string(), *root);
        assert_eq!(root_of(&leaves[..=index]).to_string(), *root);
    }
}

/// The nodes of a tree of seven leaves, under the letters RFC 6962, 2.1.3, gives them;
/// its "a, b, c, d, e, f, j" are the leaves.
struct Named {
    leaves: [Hash; 7],
    g: Hash,
    h: Hash,
    i: Hash,
    k: Hash,
    l: Hash,
}

fn named() -> Named {
    let [d0, d1, d2, d3, d4, d5, d6, _] = LEAVES.map(leaf_hash);
    let pairs = [node_hash(&d0, &d1), node_hash(&d2, &d3), node_hash(&d4, &d5)];
    Named {
        leaves: [d0, d1, d2, d3, d4, d5, d6],
        g: pairs[0],
        h: pairs[1],
        i: pairs[2],
        k: node_hash(&pairs[0], &pairs[1]),
        l: node_hash(&pairs[2], &d6),
    }
}

#[test]
fn the_audit_paths_are_those_of_the_standard() {
    let Named { leaves, g, h, i, k, l } = named();
    let head = TreeHead { size: 7, root: root_of(&leaves) };
    let paths = [
        (0, vec![leaves[1], h, l]),
        (3, vec![leaves[2], g, l]),
        (4, vec![leaves[5], leaves[6], k]),
        (6, vec![i, k]),
    ];
    for (index, path) in paths {
        let proof = inclusion_proof(&leaves, index).unwrap();
        assert_eq!(proof, path);
        let hash = leaves[usize::try_from(index).unwrap()];
        assert_eq!(verify_inclusion(&Leaf { index, hash }, &head, &proof), Ok(()));
    }
}

#[test]
fn the_consistency_proofs_are_those_of_the_standard() {
    let Named { leaves, g, i, k, l, .. } = named();
    let new = TreeHead { size: 7, root: root_of(&leaves) };
    let proofs = [
        (3, vec![leaves[2], leaves[3], g, l]),
        (4, vec![l]),
        (6, vec![i, leaves[6], k]),
        (7, vec![]),
    ];
    for (size, expected) in proofs {
        let proof = consistency_proof(&leaves, size).unwrap();
        assert_eq!(proof, expected);
        let old = TreeHead { size, root: root_of(&leaves[..usize::try_from(size).unwrap()]) };
        assert_eq!(verify_consistency(&old, &new, &proof), Ok(()));
    }
}
