//! What is published of a log: read back from its frames, taken up again, and refused if a bit was flipped.

use std::path::PathBuf;
use std::sync::Arc;

use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::publish::{CHECKPOINT_FILE, PublishError, Publisher, Recomputed, read_hashes};
use chancery_audit::segment::file_name;
use chancery_audit::shelf::Shelf;
use chancery_crypto::notes::{CheckpointSeeds, CheckpointSigner, NoteKey};
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::{Note, NoteVerifier};
use chancery_log::tile::{Tile, TileTree};
use chancery_log::{Leaf, TreeHead, verify_consistency, verify_inclusion};

use super::genuine::{read_frames, write_log};

/// A segment that holds a few frames of the tests.
const SEGMENT_BYTES: u64 = 2 * 1024 * 1024;

/// A log and what is published of it, in directories of their own.
struct Scene {
    log: PathBuf,
    shelf: PathBuf,
    disk: Arc<dyn Disk>,
    signer: CheckpointSigner,
}

impl Scene {
    fn new(name: &str) -> Self {
        let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("published-{name}"));
        let _ = std::fs::remove_dir_all(&place);
        let [log, shelf] = ["log", "shelf"].map(|name| place.join(name));
        for path in [&log, &shelf] {
            std::fs::create_dir_all(path).unwrap();
        }
        let seeds = CheckpointSeeds { ed25519: &[1; 32], ml_dsa_44: &[2; 32] };
        let origin = "example.org/log".parse().unwrap();
        let signer = CheckpointSigner::new(origin, &seeds, None).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(&log).unwrap());
        Self { log, shelf, disk, signer }
    }

    fn grow(&self, frames: &[usize]) -> TreeHead {
        write_log(&self.disk, SEGMENT_BYTES, frames);
        let last = read_frames(&*self.disk).pop().unwrap();
        let size = last.first_index + u64::try_from(last.items.len()).unwrap();
        TreeHead { size, root: last.tree_root }
    }

    fn publish(&mut self, publisher: &mut Publisher, state: Recomputed) {
        let origin = "example.org/log".parse().unwrap();
        let checkpoint = Checkpoint { origin, tree: state.tree() };
        let note = self.signer.sign(&checkpoint, 1_800_000_000).unwrap();
        publisher.publish(&note).unwrap();
    }

    /// The checkpoint on the shelf, if both keys of the log signed it.
    fn checkpoint(&self) -> TreeHead {
        let note = Note::parse(&Shelf::at(&self.shelf).read(CHECKPOINT_FILE).unwrap()).unwrap();
        let keys = self.signer.verifier_keys().map(|key| NoteKey::new(key.clone()).unwrap());
        let signed = note.verify(&keys.each_ref().map(|key| key as &dyn NoteVerifier)).unwrap();
        assert_eq!(signed.by().len(), 2);
        signed.text().parse::<Checkpoint>().unwrap().tree
    }
}

#[test]
fn a_log_is_published_as_it_grows_and_taken_up_where_it_was_left() {
    let mut scene = Scene::new("grows");
    let mut publisher = Publisher::new(Shelf::at(&scene.shelf));
    let mut states: Vec<TreeHead> = Vec::new();
    for frames in [vec![1], vec![255, 1], vec![400, 3, 1_000], vec![2], vec![700, 700, 700]] {
        let expected = scene.grow(&frames);
        let state = publisher.advance(&*scene.disk, expected.size).unwrap().unwrap();
        assert_eq!(state.tree(), expected);
        assert_eq!(publisher.advance(&*scene.disk, expected.size).unwrap(), None);
        scene.publish(&mut publisher, state);
        assert_eq!(scene.checkpoint(), expected);
        states.push(expected);
        if states.len().is_multiple_of(2) {
            let shelf = Shelf::at(&scene.shelf);
            publisher = Publisher::take_up(shelf, scene.checkpoint()).unwrap();
        }
    }
    let shelf = Shelf::at(&scene.shelf);
    let last = *states.last().unwrap();
    let mut tree = TileTree::new(last.size, |tile: Tile| read_hashes(&shelf, tile));
    let items = read_frames(&*scene.disk).into_iter().flat_map(|frame| frame.items);
    for (index, item) in (0..).zip(items).filter(|(index, _)| index % 97 == 0) {
        let leaf = Leaf { index, hash: item.leaf_hash() };
        verify_inclusion(&leaf, &last, &tree.inclusion_proof(index).unwrap()).unwrap();
    }
    for state in &states[..states.len() - 1] {
        let proof = tree.consistency_proof(state.size).unwrap();
        verify_consistency(state, &last, &proof).unwrap();
    }
}

#[test]
fn bundles_hold_the_leaves_that_the_tiles_hash() {
    let mut scene = Scene::new("bundles");
    let expected = scene.grow(&[600]);
    let mut publisher = Publisher::new(Shelf::at(&scene.shelf));
    let state = publisher.advance(&*scene.disk, expected.size).unwrap().unwrap();
    scene.publish(&mut publisher, state);
    let shelf = Shelf::at(&scene.shelf);
    for (bundle, tile, width) in [
        ("tile/entries/000", "tile/0/000", 256),
        ("tile/entries/001", "tile/0/001", 256),
        ("tile/entries/002.p/88", "tile/0/002.p/88", 88),
    ] {
        let entries = shelf.read(bundle).unwrap();
        let hashes = read_hashes(&shelf, tile.parse().unwrap()).unwrap();
        assert_eq!((entries.len(), hashes.len()), (width * 39, width));
        for (entry, hash) in entries.chunks(39).zip(hashes) {
            assert_eq!(entry[..2], [0, 37]);
            assert_eq!(chancery_log::leaf_hash(&entry[2..]), hash);
        }
    }
}

#[test]
fn of_a_full_tile_no_partial_one_is_left_not_even_by_a_round_that_was_cut_short() {
    let mut scene = Scene::new("partials");
    let mut publisher = Publisher::new(Shelf::at(&scene.shelf));
    let round = |scene: &mut Scene, publisher: &mut Publisher, frames: &[usize]| {
        let grown = scene.grow(frames);
        let state = publisher.advance(&*scene.disk, grown.size).unwrap().unwrap();
        scene.publish(publisher, state);
        grown
    };
    let first = round(&mut scene, &mut publisher, &[100]);
    round(&mut scene, &mut publisher, &[200]);
    let [one, other] = ["tile/0/000.p", "tile/entries/001.p"].map(|path| scene.shelf.join(path));
    assert!(!one.exists() && other.exists());
    // As if the second round had been cut short just before its checkpoint was there.
    let mut publisher = Publisher::take_up(Shelf::at(&scene.shelf), first).unwrap();
    round(&mut scene, &mut publisher, &[500]);
    for tile in ["tile/0/000", "tile/0/001", "tile/0/002", "tile/entries/001", "tile/entries/002"] {
        assert!(scene.shelf.join(tile).exists(), "{tile}");
        assert!(!scene.shelf.join(format!("{tile}.p")).exists(), "{tile}.p");
    }
    assert!(scene.shelf.join("tile/0/003.p/32").exists());
}

#[test]
fn nothing_is_signed_over_a_bit_that_was_flipped() {
    let scene = Scene::new("flipped");
    let expected = scene.grow(&[40, 40]);
    let file = scene.log.join(file_name(0));
    let bytes = std::fs::read(&file).unwrap();
    for position in (4_096..bytes.len().min(60_000)).step_by(971) {
        let mut altered = bytes.clone();
        altered[position] ^= 1;
        std::fs::write(&file, &altered).unwrap();
        let mut publisher = Publisher::new(Shelf::at(&scene.shelf));
        let read = publisher.advance(&*scene.disk, expected.size);
        // A frame that does not hold is none: nothing beyond it is read, and so not signed.
        let size = read.unwrap().map_or(0, |state| state.tree().size);
        assert!(size < expected.size, "{position}");
    }
}

#[test]
fn what_is_not_whole_is_not_taken_up() {
    let mut scene = Scene::new("not-whole");
    let expected = scene.grow(&[300]);
    let mut publisher = Publisher::new(Shelf::at(&scene.shelf));
    let state = publisher.advance(&*scene.disk, expected.size).unwrap().unwrap();
    scene.publish(&mut publisher, state);
    let other = TreeHead { root: [9; 32].into(), ..expected };
    let take_up = |tree| Publisher::take_up(Shelf::at(&scene.shelf), tree).map(|_| ());
    assert!(matches!(take_up(other), Err(PublishError::OtherRoot { size: 300 })));
    take_up(expected).unwrap();
    for path in ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"] {
        let path = scene.shelf.join(path);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[1..]).unwrap();
        assert!(matches!(take_up(expected), Err(PublishError::Edge(_))), "{}", path.display());
        std::fs::write(&path, &bytes).unwrap();
    }
}
