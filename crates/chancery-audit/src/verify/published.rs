//! Holds what a log publishes against its frames: every tile, every bundle of entries, and the checkpoint.
//!
//! The names and the checkpoint are taken down first and the frames read then, so that a service may go on
//! publishing meanwhile. What the frames do not explain does not belong there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::Note;
use chancery_log::tile::{Edge, TILE_WIDTH, Tile, TileKind, to_tile_bytes};
use chancery_log::{Hash, TreeHead, leaf_hash};

use crate::frame::Frame;
use crate::gap::{GAP_BYTES_MAX, Gap, SignedGap};
use crate::origin::Origin;
use crate::proof::Trust;
use crate::publish::{
    CHECKPOINT_FILE, ENTRY_BYTES, GAP_FILE, LOG_DIRECTORY, POLICY_FILE, entry, policy_text,
};
use crate::record::leaf;
use crate::recovery::WalkError;
use crate::witnessed::{WITNESSED_CHECKPOINT, WITNESSED_POLICY, has_digest};

/// What a name ends with while its file is written; one is left where a process ended meanwhile.
pub(super) const UNFINISHED: &str = ".new";

/// So much of a file is read: 64 KiB, as long as a note may be; a bundle of entries has 10 KiB.
const FILE_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(GAP_BYTES_MAX < FILE_BYTES_MAX);

/// What is published, and how much of it the frames have explained so far.
#[derive(Default)]
pub(super) struct PublishedCheck {
    directory: PathBuf,
    /// The files that no record was found for yet.
    files: BTreeSet<String>,
    /// What was signed.
    heads: Vec<Head>,
    edge: Edge,
    /// The entries behind the last full bundle.
    entries: Vec<u8>,
    /// Which log this one follows.
    gap: Option<Gap>,
    finding: Option<WalkError>,
}

/// A checkpoint that is published.
struct Head {
    file: &'static str,
    tree: TreeHead,
    /// Whether the frames had its root at its size.
    is_rooted: bool,
}

impl Head {
    fn new(file: &'static str, tree: TreeHead) -> Self {
        // Of the empty log there is no frame.
        Self { file, tree, is_rooted: tree.size == 0 }
    }
}

impl PublishedCheck {
    /// Takes down what the log of that origin publishes now.
    pub(super) fn begin(data: &Path, origin: &Origin) -> Result<Self, WalkError> {
        let directory = data.join(LOG_DIRECTORY);
        let mut files = BTreeSet::new();
        list(&directory, "", &mut files)?;
        let mut check = Self { directory, files, ..Self::default() };
        check.gap(origin)?;
        check.texts()?;
        Ok(check)
    }

    /// Reads the statement of the gap behind which the log begins, if it does.
    fn gap(&mut self, origin: &Origin) -> Result<(), WalkError> {
        if !self.files.remove(GAP_FILE) {
            return Ok(());
        }
        let altered = corrupt(GAP_FILE, 0, "not what its operator and this log signed");
        let signed = SignedGap::parse_published(&self.read(GAP_FILE)?, origin);
        self.gap = Some(signed.map_err(|_| altered)?.gap().clone());
        Ok(())
    }

    /// Which log this one follows, if it follows one that was retired.
    pub(super) fn follows(&self) -> Option<&Gap> {
        self.gap.as_ref()
    }

    /// Reads checkpoint and policy, and holds them against each other.
    fn texts(&mut self) -> Result<(), WalkError> {
        let policy = self.files.remove(POLICY_FILE);
        let (by_witnesses, witnesses) =
            (self.files.remove(WITNESSED_CHECKPOINT), self.files.remove(WITNESSED_POLICY));
        if !self.files.remove(CHECKPOINT_FILE) {
            // The first checkpoint, of the empty log, is there before any tile.
            let is_new = self.files.iter().all(|file| file.ends_with(UNFINISHED));
            let missing = || WalkError::Missing { file: named(CHECKPOINT_FILE) };
            return is_new.then_some(()).ok_or_else(missing);
        }
        if !policy {
            return Err(WalkError::Missing { file: named(POLICY_FILE) });
        }
        let (policy, checkpoint) = (self.text(POLICY_FILE)?, self.text(CHECKPOINT_FILE)?);
        let trust = Trust::parse(&policy)
            .map_err(|_| corrupt(POLICY_FILE, 0, "not a policy of this log's keys"))?;
        differs(POLICY_FILE, policy.as_bytes(), policy_text(trust.log_keys()).as_bytes())?;
        let altered =
            corrupt(CHECKPOINT_FILE, 0, "not what the keys of the policy beside it signed");
        let note = Note::parse(checkpoint.as_bytes());
        let vouched = note.map_err(Into::into).and_then(|note| trust.vouched(note));
        // Both keys sign; a signature that was altered beyond recognition is missed.
        let vouched = vouched.ok().filter(|vouched| vouched.logs.len() == trust.log_keys().len());
        let Checkpoint { tree, .. } = vouched.ok_or(altered)?.checkpoint;
        self.heads.push(Head::new(CHECKPOINT_FILE, tree));
        match (by_witnesses, witnesses) {
            (false, false) => Ok(()),
            (true, false) => Err(WalkError::Missing { file: named(WITNESSED_POLICY) }),
            (is_there, true) => self.witnessed(&trust, is_there),
        }
    }

    /// Reads the policy of witnesses, which has the keys of the log's own, and the checkpoint that they cosigned.
    fn witnessed(&mut self, own: &Trust, is_there: bool) -> Result<(), WalkError> {
        let policy = self.text(WITNESSED_POLICY)?;
        let trust = Trust::parse(&policy)
            .ok()
            .filter(|trust| has_digest(&policy) && trust.log_keys().eq(own.log_keys()));
        let altered = corrupt(
            WITNESSED_POLICY,
            0,
            "not as it was published, by its own digest and the log's policy",
        );
        let trust = trust.ok_or(altered)?;
        if !is_there {
            return Ok(());
        }
        let text = self.text(WITNESSED_CHECKPOINT)?;
        let note = Note::parse(text.as_bytes()).ok();
        let note = note.filter(|note| trust.kept(note).to_string() == text);
        let vouched = note.and_then(|note| trust.vouched(note).ok());
        let altered = corrupt(
            WITNESSED_CHECKPOINT,
            0,
            "not what the log and the witnesses of the policy beside it signed",
        );
        let Checkpoint { tree, .. } = vouched.ok_or(altered)?.checkpoint;
        self.heads.push(Head::new(WITNESSED_CHECKPOINT, tree));
        Ok(())
    }

    fn text(&self, file: &str) -> Result<String, WalkError> {
        let bytes = self.read(file)?;
        if bytes.len() > FILE_BYTES_MAX {
            let offset = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
            return Err(corrupt(file, offset, "longer than such a file may be"));
        }
        String::from_utf8(bytes).map_err(|error| {
            let offset = u64::try_from(error.utf8_error().valid_up_to()).unwrap_or(u64::MAX);
            corrupt(file, offset, "not a text")
        })
    }

    /// Takes the records that were pruned, as their leaves were published. They must have the tree that they had.
    pub(super) fn pruned(&mut self, tree: &TreeHead) -> Result<(), WalkError> {
        for bundle in 0..tree.size.div_ceil(TILE_WIDTH) {
            let end = tree.size.min((bundle + 1) * TILE_WIDTH);
            for root in self.published_roots(bundle, end - bundle * TILE_WIDTH)? {
                self.append(&root);
            }
        }
        if self.edge.root() == tree.root {
            return Ok(());
        }
        let what = "the published entries do not have the tree that the pruned records had";
        Err(corrupt("tile/entries", 0, what))
    }

    /// The roots in the first `count` entries of a bundle, whichever width it was published in last.
    fn published_roots(&self, bundle: u64, count: u64) -> Result<Vec<Hash>, WalkError> {
        let full = Tile::of_tree(TileKind::Entries, bundle, (bundle + 1) * TILE_WIDTH);
        let widths = usize::try_from(count).unwrap_or(usize::MAX)..;
        let tiles = full.into_iter().flat_map(|full| {
            widths
                .clone()
                .take_while(move |width| *width <= full.width())
                .map(move |width| full.narrowed(width))
        });
        let file = tiles.map(|tile| tile.to_string()).find(|file| self.files.contains(file));
        let missing = || WalkError::Missing { file: named(&format!("tile/entries/{bundle}")) };
        let file = file.ok_or_else(missing)?;
        let bytes = self.read(&file)?;
        let entries = bytes.chunks(ENTRY_BYTES).take(usize::try_from(count).unwrap_or_default());
        let roots = entries.enumerate().map(|(position, published)| {
            let root = published.last_chunk::<32>().map(|root| Hash::from(*root));
            let offset = u64::try_from(position * ENTRY_BYTES).unwrap_or(u64::MAX);
            let altered = || corrupt(&file, offset, "not the entry of a record");
            root.filter(|root| entry(&leaf(root)) == *published).ok_or_else(altered)
        });
        let roots: Vec<Hash> = roots.collect::<Result<_, _>>()?;
        let is_whole = u64::try_from(roots.len()) == Ok(count);
        is_whole.then_some(roots).ok_or_else(|| corrupt(&file, 0, "the file was cut"))
    }

    /// Takes the records of the next frame.
    pub(super) fn frame(&mut self, frame: &Frame) {
        for item in &frame.items {
            self.append(&item.root);
        }
        for head in self.heads.iter_mut().filter(|head| head.tree.size == frame.end_index()) {
            head.is_rooted = head.tree.root == frame.tree_root;
        }
    }

    fn append(&mut self, root: &Hash) {
        let leaf = leaf(root);
        self.entries.extend_from_slice(&entry(&leaf));
        let mut full = Vec::new();
        self.edge
            .append(leaf_hash(&leaf), |tile, hashes| full.push((tile, to_tile_bytes(&hashes))));
        for (tile, bytes) in full {
            self.compare(tile, &bytes);
        }
        if self.edge.size().is_multiple_of(TILE_WIDTH) {
            let entries = std::mem::take(&mut self.entries);
            let bundle = self.edge.size() / TILE_WIDTH - 1;
            if let Some(tile) = Tile::of_tree(TileKind::Entries, bundle, self.edge.size()) {
                self.compare(tile, &entries);
            }
        }
    }

    /// Compares a tile that is whole, and the partial ones that were published before it was.
    fn compare(&mut self, tile: Tile, bytes: &[u8]) {
        let unit = bytes.len() / tile.width().max(1);
        for width in 1..=tile.width() {
            let wanted = bytes.get(..width * unit).unwrap_or_default();
            self.compare_one(tile.narrowed(width), wanted);
        }
    }

    fn compare_one(&mut self, tile: Tile, wanted: &[u8]) {
        let file = tile.to_string();
        if !self.files.remove(&file) {
            return;
        }
        match self.read(&file).and_then(|found| differs(&file, &found, wanted)) {
            // A partial tile may be removed meanwhile; what the checkpoint needs is looked for at the end.
            Err(WalkError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => drop(self.finding.get_or_insert(error)),
            Ok(()) => {}
        }
    }

    /// How many records the checkpoint covers.
    pub(super) fn size(&self) -> u64 {
        self.heads.iter().map(|head| head.tree.size).max().unwrap_or_default()
    }

    /// What does not hold, once every frame was taken.
    pub(super) fn end(mut self) -> Result<(), WalkError> {
        let partials: Vec<_> =
            self.edge.partials().map(|(tile, hashes)| (tile, to_tile_bytes(hashes))).collect();
        let bundle = self.edge.size() / TILE_WIDTH;
        let bundle = Tile::of_tree(TileKind::Entries, bundle, self.edge.size());
        let entries = std::mem::take(&mut self.entries);
        for (tile, bytes) in partials.into_iter().chain(bundle.map(|bundle| (bundle, entries))) {
            self.compare(tile, &bytes);
        }
        if let Some(finding) = self.finding {
            return Err(finding);
        }
        if let Some(head) = self.heads.iter().find(|head| !head.is_rooted) {
            return Err(corrupt(head.file, 0, "the log does not have the tree that was signed"));
        }
        self.files.retain(|file| !file.ends_with(UNFINISHED));
        match self.files.pop_first() {
            Some(file) => Err(WalkError::Unexpected { file: named(&file) }),
            None => self.complete(),
        }
    }

    /// Every tile that the checkpoint needs must be there.
    fn complete(&self) -> Result<(), WalkError> {
        let size = self.heads.first().map_or(0, |head| head.tree.size);
        let levels = (0_u8..).take_while(|level| size >> (8 * u32::from(*level)) > 0);
        let kinds = levels.map(|level| (TileKind::Hashes(level), size >> (8 * u32::from(level))));
        for (kind, hashes) in kinds.chain([(TileKind::Entries, size)]) {
            for index in 0..hashes.div_ceil(TILE_WIDTH) {
                let Some(tile) = Tile::of_tree(kind, index, size) else { continue };
                let is_there = |tile: Tile| self.directory.join(tile.to_string()).exists();
                if !is_there(tile) && !is_there(tile.full()) {
                    return Err(WalkError::Missing { file: named(&tile.to_string()) });
                }
            }
        }
        Ok(())
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, WalkError> {
        read_bounded(&self.directory.join(file), FILE_BYTES_MAX)
            .map_err(|source| WalkError::Unreadable { file: named(file), source })
    }
}

/// Reads a file; of one that is longer than `most`, one byte more.
pub(super) fn read_bounded(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Every file below a directory, by its path from the topmost one. None, if there is no such directory.
fn list(root: &Path, path: &str, into: &mut BTreeSet<String>) -> Result<(), WalkError> {
    let unreadable = |source| WalkError::Unreadable { file: named(path), source };
    let entries = match fs::read_dir(root.join(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(unreadable)?,
    };
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = if path.is_empty() { name } else { format!("{path}/{name}") };
        if entry.file_type().map_err(unreadable)?.is_dir() {
            list(root, &file, into)?;
        } else {
            into.insert(file);
        }
    }
    Ok(())
}

fn differs(file: &str, found: &[u8], wanted: &[u8]) -> Result<(), WalkError> {
    if found == wanted {
        return Ok(());
    }
    let same = found.iter().zip(wanted).take_while(|(one, other)| one == other).count();
    let offset = u64::try_from(same).unwrap_or(u64::MAX);
    Err(corrupt(file, offset, "not what belongs there"))
}

fn corrupt(file: &str, offset: u64, what: &'static str) -> WalkError {
    WalkError::Corrupt { file: named(file), offset, what }
}

/// As it is told apart from the files of the audit directory.
fn named(file: &str) -> String {
    format!("{LOG_DIRECTORY}/{file}")
}
