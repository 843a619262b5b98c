//! Taking archived segments out of the data directory, as an operator's command asks.
//!
//! It is refused rather than done wherever something here may still need them: they are younger than what is kept,
//! which is declared at a start; they are not all dense, or not all under a published checkpoint; the index does not
//! cover them; no resume file lies behind them. Whether they are archived is for the operator to have checked; the
//! command says where, and is on record before the first of them goes.
//!
//! **Invariant:** record, copy of the resume file and signed note are durable, in this order, before a segment is removed.

use std::io;

use chancery_audit::dense::{self, Dense};
use chancery_audit::disk::Disk;
use chancery_audit::frame::Head;
use chancery_audit::pruned::Pruned;
use chancery_audit::resume::{RESUME_FILE, Resume, from_file};
use chancery_audit::segments::{Segments, header};
use chancery_core::authority::Refusal;
use chancery_core::clock::{Quality, Reading};
use chancery_core::command::{AuditQuery, PruneAudit};
use chancery_core::reason::Reason;
use chancery_log::TreeHead;

use crate::config::SignerError;
use crate::counters::lock;
use crate::service::Shared;
use crate::vault::{FileName, Vault};

/// A prune that may be done, once it is on record.
#[derive(Debug)]
pub(crate) struct Permitted(Pruned);

/// Decides whether segments may go: nothing if they are gone already, or none was named.
pub(crate) fn permit(
    shared: &Shared,
    prune: &PruneAudit,
    now: Reading,
) -> Result<Option<Permitted>, Refusal> {
    let pruned = lock(&shared.pruned).clone();
    if prune.segments <= pruned.as_ref().map_or(0, |pruned| pruned.segments) {
        // What a crash has left of them goes.
        return Ok(pruned.filter(|_| prune.segments > 0).map(Permitted));
    }
    let Some(kept_ms) = shared.retention_ms else {
        return Err(refused("what is kept is not declared: start the service with `--retention`"));
    };
    if now.quality != Quality::Plausible {
        return Err(refused("the clock is suspect, and nobody knows how old the segments are"));
    }
    let (last, latest_ms) =
        last_frame(shared, prune.segments).map_err(|error| unreadable(&error))?;
    if latest_ms.saturating_add(kept_ms) > now.unix_ms {
        return Err(refused("some of the segments are younger than what is kept; name fewer"));
    }
    let next = header(&*shared.disk, prune.segments).map_err(|error| unreadable(&error))?;
    let tree = TreeHead { size: next.frontier.size(), root: next.frontier.root() };
    check_needed(shared, prune.segments, &tree)?;
    Ok(Some(Permitted(Pruned {
        segments: prune.segments,
        tree,
        head: last,
        hash: next.previous_hash,
        latest_ms,
        entry: prune.entry,
        at_ms: now.unix_ms,
        location: prune.location.clone(),
    })))
}

/// Whether anything here still reads them.
fn check_needed(shared: &Shared, segments: u64, tree: &TreeHead) -> Result<(), Refusal> {
    if lock(&shared.checkpoints).published_size() < tree.size {
        return Err(refused("no checkpoint of this start covers the segments yet; try again soon"));
    }
    if shared.index.first_gap(first_index(lock(&shared.pruned).as_ref())).first_index < tree.size {
        return Err(refused("the index does not cover the segments yet; try again soon"));
    }
    let resume =
        read_resume(&*shared.disk, &lock(&shared.vault), &shared.origin.log_id, RESUME_FILE);
    if resume.is_none_or(|resume| resume.tail.next_segment < segments) {
        return Err(refused("the resume file does not lie behind the segments yet; name fewer"));
    }
    Ok(())
}

/// The head of the last frame of the first so many segments, and the time of it. All of them must be dense.
fn last_frame(shared: &Shared, segments: u64) -> io::Result<(Head, u64)> {
    let disk = &*shared.disk;
    let there = Segments::list(disk)?;
    if there.padded.range(..segments).next().is_some() {
        return Err(io::Error::other("a segment is not dense yet"));
    }
    for number in (0..segments).rev() {
        let dense = Dense::open(disk.open(&dense::file_name(number))?).map_err(io::Error::other)?;
        // A start that was cut short leaves a segment without a frame.
        let Some(last) = dense.head().frames.checked_sub(1) else { continue };
        let row = dense.row(last).map_err(io::Error::other)?;
        let facts = row.facts().map_err(io::Error::other)?;
        return Ok((facts.head(shared.origin.log_id), facts.unix_ms));
    }
    Err(io::Error::other("there is no frame in them"))
}

impl Permitted {
    /// Removes the segments; the command is on record.
    pub(crate) fn carry_out(self, shared: &Shared) -> Result<(), SignerError> {
        let Self(pruned) = self;
        let failed = SignerError::disk("archived segments cannot be removed");
        carry_out(shared, &pruned).map_err(failed)
    }
}

fn carry_out(shared: &Shared, pruned: &Pruned) -> io::Result<()> {
    let disk = &*shared.disk;
    let is_noted = lock(&shared.pruned).as_ref() == Some(pruned);
    if !is_noted {
        pruned.begin(disk, &shared.receipt_key)?;
        *lock(&shared.pruned) = Some(pruned.clone());
    }
    pruned.remove(disk)
}

/// A resume file, if it is there, whole, and of this log.
pub(crate) fn read_resume(
    disk: &dyn Disk,
    vault: &Vault,
    log_id: &[u8; 32],
    file: &str,
) -> Option<Resume> {
    let bytes = disk.read_whole(file).ok()?;
    Resume::parse(&vault.open_file(&FileName::resume(log_id), from_file(&bytes)?)?)
}

/// Why a query cannot be answered in full: it asks for records that are gone, and an answer would leave them out. What
/// asks for whatever there is gets that.
pub(crate) fn withheld(pruned: &Pruned, query: &AuditQuery) -> Option<String> {
    let first = pruned.first_index();
    let reaches_back = query.after.is_some_and(|after| after.saturating_add(1) < first)
        || query.before.is_some_and(|before| before <= first);
    let is_asked_for = match query.since_ms {
        Some(since) => since <= pruned.latest_ms && query.after.is_none_or(|_| reaches_back),
        None => reaches_back,
    };
    is_asked_for.then(|| pruned.told())
}

/// The index of the first record that is there.
pub(crate) fn first_index(pruned: Option<&Pruned>) -> u64 {
    pruned.map_or(0, Pruned::first_index)
}

fn refused(detail: &str) -> Refusal {
    Refusal { reason: Reason::IllegalTransition, detail: detail.to_owned() }
}

fn unreadable(error: &dyn std::error::Error) -> Refusal {
    let detail = format!("the segments cannot be pruned: {error}");
    Refusal { reason: Reason::IllegalTransition, detail }
}
