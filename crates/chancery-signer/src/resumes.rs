//! What the resume file is made of, kept up as commands are recorded; and the thread that writes it.
//!
//! With a million remembered operation ids the file has 100 MB. So it is sealed and written beside the answers'
//! path (what goes into it is collected under the core's lock: a tenth of a second for so many), and not at
//! every segment's end: at the first of a start, and then when the log has grown by as much as the last one
//! took. What is written for it is so of the order of the log itself, and a start reads one such file, and
//! after a crash of the log about as much.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use chancery_audit::frame::Head;
use chancery_audit::resume::{
    Entry, HeadHash, LinkUses, RESUME_FILE, Resume, SpentBytes, UseIndex, to_file,
};
use chancery_audit::wal::Tail;
use chancery_core::budget::Spent;
use chancery_core::clock::Reading;
use chancery_core::id::TenantId;
use chancery_core::sequencer::Counted;
use chancery_core::step::Core;

use crate::checkpoints;
use crate::counters::lock;
use crate::inbox::Way;
use crate::service::Shared;
use crate::vault::FileName;

/// What the resume file says besides what others know.
pub(crate) struct Resumes {
    shared: Arc<Shared>,
    pub(crate) head: Option<Head>,
    last_command: u64,
    heads: BTreeMap<TenantId, [u8; 32]>,
    /// How much the log has grown since the file was last made.
    grown: u64,
    writer: Writer,
}

impl Resumes {
    /// Goes on from what the log said at start.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        last_command: u64,
        heads: BTreeMap<TenantId, [u8; 32]>,
    ) -> Self {
        let writer = Writer::start(shared);
        Self { shared: Arc::clone(shared), head: None, last_command, heads, grown: 0, writer }
    }

    /// A record joined the open batch.
    pub(crate) fn note(&mut self, command: u64, way: &Way) {
        self.last_command = self.last_command.max(command);
        if let Way::Command(way) = way
            && let Some(head) = way.head
        {
            self.heads.insert(head.tenant, head.hash);
        }
    }

    /// The log has grown by so many bytes.
    pub(crate) fn note_growth(&mut self, bytes: u64) {
        self.grown = self.grown.saturating_add(bytes);
    }

    /// Whether it is time to make the file again.
    pub(crate) fn is_due(&self) -> bool {
        let bytes = self.writer.bytes.load(Ordering::Acquire);
        bytes != IS_WRITING && self.grown >= bytes
    }

    /// The resume file at `tail`.
    pub(crate) fn resume(
        &self,
        tail: Tail,
        core: &Core,
        now: Reading,
        uses: &BTreeMap<Counted, u64>,
    ) -> Resume {
        let uses = uses.iter().filter_map(|(counted, next)| match counted {
            Counted::Version(key, version) => {
                Some(UseIndex { key: *key, version: *version, next: *next })
            }
            // Held with the counts, and with what bounds their life.
            Counted::Link(_) => None,
        });
        let heads =
            self.heads.iter().map(|(tenant, hash)| HeadHash { tenant: *tenant, hash: *hash });
        let entries = core.operations.finished();
        let spent = core.budget.spent().map(|(tenant, spent)| {
            let Spent { day, bytes } = spent;
            SpentBytes { tenant, day, bytes }
        });
        Resume {
            tail,
            mark_ms: Some(core.clock.mark_ms()),
            served_ms: now.served.as_ms(),
            last_command: self.last_command,
            uses: uses.collect(),
            heads: heads.collect(),
            entries: entries
                .map(|(name, digest, id_ms, place)| Entry::new(name, digest, id_ms, place))
                .collect(),
            links: core.counts.recorded().map(LinkUses::from).collect(),
            spent: spent.collect(),
        }
    }

    /// Has it written in the background.
    pub(crate) fn write_soon(&mut self, resume: Resume) {
        self.writer.submit(resume);
        self.grown = 0;
    }

    /// Makes a checkpoint of all there is.
    pub(crate) fn last_checkpoint(&self) {
        checkpoints::make(&self.shared, &self.shared.checkpoints);
    }

    /// Writes the last one, after what is being written.
    pub(crate) fn write_last(&mut self, resume: &Resume) {
        self.writer.finish();
        write(&self.shared, resume);
    }
}

/// In the place of the last file's size, while the next is being written.
const IS_WRITING: u64 = u64::MAX;

/// The thread that writes the file.
struct Writer {
    sender: Option<SyncSender<Resume>>,
    thread: Option<JoinHandle<()>>,
    /// How many bytes the last one had, or [`IS_WRITING`].
    bytes: Arc<AtomicU64>,
}

impl Writer {
    fn start(shared: &Arc<Shared>) -> Self {
        let (sender, submitted) = sync_channel::<Resume>(1);
        let bytes = Arc::new(AtomicU64::new(0));
        let (shared, written) = (Arc::clone(shared), Arc::clone(&bytes));
        let thread = std::thread::spawn(move || {
            for resume in submitted {
                written.store(write(&shared, &resume), Ordering::Release);
            }
        });
        Self { sender: Some(sender), thread: Some(thread), bytes }
    }

    fn submit(&self, resume: Resume) {
        let Some(sender) = &self.sender else { return };
        self.bytes.store(IS_WRITING, Ordering::Release);
        // One is asked for only when none is being written, so there is room.
        let _ = sender.try_send(resume);
    }

    fn finish(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Seals it and puts it in the place of the old one; says how many bytes it has.
fn write(shared: &Shared, resume: &Resume) -> u64 {
    let (name, bytes) = (FileName::resume(&shared.origin.log_id), resume.to_bytes());
    let sealed = lock(&shared.vault).seal_file(&name, &bytes);
    let file = sealed.map(|sealed| to_file(&sealed)).map_err(io::Error::other);
    let written = file.and_then(|file| shared.disk.write_whole(RESUME_FILE, &file));
    // Without it the next start reads more; with it half written there is the old one.
    if let Err(error) = written {
        eprintln!("chancery signer: the resume file cannot be written: {error}");
    }
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
