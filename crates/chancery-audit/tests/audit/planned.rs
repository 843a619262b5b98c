//! What other formats need, from the frames that are written today.
//!
//! The formats are `docs/formats/dense-segment.md` and the proofs over several records in `proof.md`, which have tests of
//! their own, and `resume-file.md`, which the signer writes: that frames carry what is in one is held here, the file
//! itself by the tests of `chancery_audit::resume`.

use std::collections::BTreeMap;
use std::sync::Arc;

use chancery_audit::disk::Disk;
use chancery_audit::frame::{FRAME_HEADER_BYTES, Frame, Item};
use chancery_audit::record::{CountedKeyGroup, hash_of_leaf};
use chancery_audit::sealer::NameClass;
use chancery_core::record_group::{RecordGroup, RecordGroups};
use chancery_log::{
    Frontier, Hash, Leaf, TreeHead, consistency_proof, inclusion_proof, node_hash, root_of,
    verify_consistency, verify_inclusion,
};

use super::genuine::{KEY, boot, keys, read_frames, write_log};
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

/// `used`: from the opened group to the leaf, by its path to a tree of the log.
fn check_used(frames: &[Frame], hashes: &[Hash], position: usize) -> (CountedKeyGroup, u64) {
    let item = items(frames)[position];
    let key_alone = RecordGroups::of(&[RecordGroup::Key]).unwrap();
    let opening = keys(boot(9)).opening(item, key_alone).unwrap();
    let index = position as u64;
    let tree = TreeHead { size: hashes.len() as u64, root: frames.last().unwrap().tree_root };
    let path = inclusion_proof(hashes, index).unwrap();
    verify_inclusion(&Leaf { index, hash: opening.leaf() }, &tree, &path).unwrap();
    (opening.open().unwrap().key.unwrap(), index)
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
