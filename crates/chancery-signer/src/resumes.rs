//! What the resume file is made of, kept up as commands are recorded.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use chancery_audit::disk::Disk;
use chancery_audit::frame::Head;
use chancery_audit::resume::{Entry, HeadHash, LinkUses, RESUME_FILE, Resume, UseIndex, to_file};
use chancery_audit::wal::Tail;
use chancery_core::clock::Reading;
use chancery_core::id::TenantId;
use chancery_core::sequencer::Counted;
use chancery_core::step::Core;

use crate::counters::lock;
use crate::sequencer::Way;
use crate::service::Shared;

/// What the resume file says besides what others know.
pub(crate) struct Resumes {
    pub(crate) shared: Arc<Shared>,
    pub(crate) head: Option<Head>,
    pub(crate) last_command: u64,
    pub(crate) heads: BTreeMap<TenantId, [u8; 32]>,
}

impl Resumes {
    /// A record joined the open batch.
    pub(crate) fn note(&mut self, command: u64, way: &Way) {
        self.last_command = self.last_command.max(command);
        if let Way::Command(way) = way
            && let Some(head) = way.head
        {
            self.heads.insert(head.tenant, head.hash);
        }
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
        }
    }

    /// Seals it and puts it in the place of the old one.
    pub(crate) fn write(&self, disk: &dyn Disk, resume: &Resume) -> io::Result<()> {
        let log_id = &self.shared.origin.log_id;
        let sealed = lock(&self.shared.vault).seal_resume(log_id, &resume.to_bytes());
        disk.write_whole(RESUME_FILE, &to_file(&sealed.map_err(io::Error::other)?))
    }
}
