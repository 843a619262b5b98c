//! What other formats need, from the frames that are written today.
//!
//! The formats are `docs/formats/proof.md` and `dense-segment.md`, which nothing writes yet, and
//! `resume-file.md`, which the signer writes: that frames carry what is in one is held here, the file itself by
//! the tests of `chancery_audit::resume`.

use std::collections::BTreeMap;
use std::sync::Arc;

use chancery_audit::disk::Disk;
use chancery_audit::frame::{FRAME_HEADER_BYTES, Frame, Item};
use chancery_audit::record::{CountedKeyGroup, SECTIONS, hash_of_leaf, leaf};
use chancery_audit::sealer::NameClass;
use chancery_core::cbor;
use chancery_crypto::section::{SectionKeys, commit_field, commit_group, salts};
use chancery_log::{
    Frontier, Hash, Leaf, TreeHead, consistency_proof, inclusion_proof, leaf_hash, node_hash,
    root_of, verify_consistency, verify_inclusion,
};

use super::genuine::{KEY, SECRETS, boot, keys, read_frames, write_log};
use super::life::origin;
use super::model::Model;

const FRAMES: [usize; 4] = [3, 7, 1, 290];

fn frames() -> Vec<Frame> {
    let disk: Arc<dyn Disk> = Arc::new(Model::default());
    write_log(&disk, 512 * 1024, &FRAMES);
    read_frames(&*disk)
}

fn items(frames: &[Frame]) -> Vec<&Item> {
    frames.iter().flat_map(|frame| &frame.items).collect()
}

/// The opening of one group, as a proof shows it.
struct Opening {
    salt: [u8; 32],
    value: Vec<u8>,
    /// The commitments beside it, from its own pair to the halves.
    path: Vec<Hash>,
}

/// Opens the key group of an item and nothing else of it.
fn open_key_group(item: &Item) -> Opening {
    let start = boot(9);
    let of = |section: u8| {
        let key = &SECRETS[usize::from(section) - 1];
        SectionKeys::derive(key, section, start).unwrap()
    };
    let [one, two, three] = SECTIONS.map(of);
    let nonce = item.nonce();
    let (mut section, use_index) = keys(start).open(item).unwrap();
    let (payload, seed, _) = keys(start).open_payload(item).unwrap();
    let ([s0, s1, s2, s3, s4, s6, s7], _) = salts::<7>(&one.seed(&nonce)).unwrap();
    let ([identity_salt], _) = salts::<1>(&two.seed(&nonce)).unwrap();
    assert_eq!(seed, three.seed(&nonce));
    let identity = keys(start).open_identity(item).unwrap();
    section.actor.identity = commit_field(3, 3, &identity_salt, &cbor::encode(&identity));
    let counted =
        CountedKeyGroup { group: section.key.clone(), use_index: use_index.unwrap_or_default() };
    let value = cbor::encode(&counted);
    let commitments = [
        commit_group(0, &s0, &cbor::encode(&section.time)),
        commit_group(1, &s1, &cbor::encode(&section.operation)),
        commit_group(2, &s2, &value),
        commit_group(3, &s3, &cbor::encode(&section.actor)),
        commit_group(4, &s4, &cbor::encode(&section.authorization)),
        chancery_audit::sealer::commit_payload(&seed, &payload).unwrap(),
        commit_group(6, &s6, &cbor::encode(&section.source)),
        commit_group(7, &s7, &cbor::encode(&section.build)),
    ];
    let path = inclusion_proof(&commitments.map(|commitment| leaf_hash(&commitment)), 2).unwrap();
    Opening { salt: s2, value, path }
}

/// `used`: from the opened group to the leaf, by its path to a tree of the log.
fn check_used(frames: &[Frame], hashes: &[Hash], position: usize) -> (CountedKeyGroup, u64) {
    let item = items(frames)[position];
    let opening = open_key_group(item);
    let commitment = leaf_hash(&commit_group(2, &opening.salt, &opening.value));
    let group = Leaf { index: 2, hash: commitment };
    verify_inclusion(&group, &TreeHead { size: 8, root: item.root }, &opening.path).unwrap();
    let index = position as u64;
    let tree = TreeHead { size: hashes.len() as u64, root: frames.last().unwrap().tree_root };
    let path = inclusion_proof(hashes, index).unwrap();
    verify_inclusion(&Leaf { index, hash: leaf_hash(&leaf(&item.root)) }, &tree, &path).unwrap();
    (cbor::decode(&opening.value, "key group").unwrap(), index)
}

/// `complete`: every use index of the key, each once, each with the same pseudonym.
fn check_complete(frames: &[Frame], hashes: &[Hash]) {
    let pseudonym = keys(boot(9)).pseudonym(NameClass::Key, KEY.as_bytes());
    let opened = (0..hashes.len()).map(|position| check_used(frames, hashes, position));
    let uses = opened.filter(|(group, _)| group.group.key == pseudonym);
    let indices: Vec<u64> = uses.map(|(group, _)| group.use_index).collect();
    assert!(indices.len() > 100);
    assert!((0..).zip(&indices).all(|(expected, index)| expected == *index));
}

/// `consistent`: between any two frames' ends.
fn check_consistent(frames: &[Frame], hashes: &[Hash]) {
    let head = |frame: &Frame| TreeHead { size: frame.end_index(), root: frame.tree_root };
    for (position, old) in frames.iter().enumerate() {
        for new in &frames[position + 1..] {
            let end = usize::try_from(new.end_index()).unwrap();
            let proof = consistency_proof(&hashes[..end], old.end_index()).unwrap();
            verify_consistency(&head(old), &head(new), &proof).unwrap();
        }
    }
}

/// What a resume file holds: frontier, use indices, last head, live entries.
fn check_resumable(frames: &[Frame]) {
    let mut frontier = Frontier::new();
    let mut uses = BTreeMap::new();
    let mut entries = Vec::new();
    for frame in frames {
        for item in &frame.items {
            frontier.append(item.leaf_hash());
            let (section, index) = keys(boot(9)).open(item).unwrap();
            if let Some(index) = index {
                let next = uses.entry((section.key.key, section.key.version)).or_insert(0);
                assert_eq!(*next, index);
                *next += 1;
            }
            entries
                .extend(item.answer.as_ref().map(|block| (block.name, block.digest, block.id_ms)));
        }
        // At every frame's end, put away and taken up again.
        let parts = (frontier.size(), frontier.peaks().to_vec());
        frontier = Frontier::from_parts(parts.0, parts.1).unwrap();
        assert_eq!((frontier.size(), frontier.root()), (frame.end_index(), frame.tree_root));
    }
    assert!(!uses.is_empty() && !entries.is_empty());
    assert_eq!(frames.last().unwrap().head(origin().log_id).tree_root, frontier.root());
}

/// A dense segment keeps each frame's header and checksum, and the items without padding; from those the
/// frame comes back byte for byte, and each bundle of 256 has the leaves of its part of the tree.
fn check_repackable(frames: &[Frame]) {
    let mut dense_items = Vec::new();
    for frame in frames {
        let encoded = frame.encode();
        let length = usize::try_from(u32::from_be_bytes(encoded.bytes[8..12].try_into().unwrap()));
        let (used, padding) = encoded.bytes.split_at(length.unwrap());
        assert!(padding.iter().all(|byte| *byte == 0));
        let (header, rest) = used.split_at(FRAME_HEADER_BYTES);
        let (body, checksum) = rest.split_last_chunk::<4>().unwrap();
        let mut rebuilt = [header, body, checksum].concat();
        rebuilt.resize(rebuilt.len().next_multiple_of(4096), 0);
        assert_eq!(Frame::decode(&rebuilt).unwrap().1.hash, encoded.hash);
        let item_bytes: usize = frame.items.iter().map(Item::encoded_bytes).sum();
        assert_eq!(item_bytes, body.len());
        dense_items.extend(frame.items.iter().map(|item| hash_of_leaf(&item.root)));
    }
    // A full bundle is one complete subtree: its root is a peak, and the rest of the tree stands beside it.
    let (bundle, rest) = dense_items.split_at(256);
    let root = node_hash(&root_of(bundle), &root_of(rest));
    assert_eq!(root, frames.last().unwrap().tree_root);
}

#[test]
fn todays_bytes_carry_what_later_formats_need() {
    let frames = frames();
    let hashes: Vec<Hash> = items(&frames).into_iter().map(Item::leaf_hash).collect();
    assert_eq!(hashes.len(), FRAMES.iter().sum::<usize>());
    check_complete(&frames, &hashes);
    check_consistent(&frames, &hashes);
    check_resumable(&frames);
    check_repackable(&frames);
}
