//! What comes to the sequencer, and the way it comes.
//!
//! A result brings its record, its claim to a place, and where its answer goes once the record is durable.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use chancery_api::message::{Receipt as ReceiptWish, UseResult};
use chancery_audit::resume::HeadHash;
use chancery_audit::sealer::Prepared;
use chancery_core::authority::{Row, UseCounts};
use chancery_core::handle::LinkId;
use chancery_core::id::{KeyId, TenantId};
use chancery_core::idempotency::EntryName;
use chancery_core::sequencer::{Claim, Counted, Mark};

use crate::aside::PutAside;
use crate::commands::Asker;
use crate::counters::lock;
use crate::outlet::{Answer, Assembly};
use crate::uses::Redo;

/// How often the sequencer lets others run before it closes a frame, for as long as each time brings more.
const YIELDS_MAX: u32 = 4;

/// What comes to the sequencer.
pub(crate) enum Submission {
    /// A result with its record.
    Finished(Box<Finished>),
    /// An answer that was read back from the log, where its record is.
    Repeated(Box<Repeated>),
    /// A change took effect.
    Moved(TenantId, Mark),
    /// A reduction is in effect, and durable in the journal.
    Aside(Box<PutAside>),
    /// A quorum of witnesses has cosigned so many records, or answers have waited for long.
    Witnessed(u64),
    /// Somebody asks how often versions were used.
    Asked(Vec<(KeyId, u32)>, SyncSender<UseCounts>),
    /// An orderly stop: what came before is made durable first.
    Stop,
}

/// A result with its record.
pub(crate) struct Finished {
    pub(crate) claim: Claim,
    pub(crate) prepared: Prepared,
    /// What it is counted under besides, each with its record: links of its handle, and the other version of its key
    /// where two were used.
    pub(crate) beside: Vec<(Counted, Prepared)>,
    /// The number of the command in the outbox; 0 for anything else.
    pub(crate) command: u64,
    /// The operation id to complete, if the caller named one.
    pub(crate) entry: Option<EntryName>,
    pub(crate) answer: Answer,
    pub(crate) way: Way,
}

/// An answer given again.
pub(crate) struct Repeated {
    pub(crate) claim: Claim,
    pub(crate) result: UseResult,
    /// Where it goes, and what to do if authority moves before.
    pub(crate) redo: Redo,
}

/// Where an answer goes, and what happens on its way.
pub(crate) enum Way {
    /// Into its place among the items of a request.
    Item(ItemWay),
    /// To who gave a command, after the change took effect.
    Command(CommandWay),
    /// Nowhere.
    Nowhere,
    /// Nowhere: it counts a use of this link.
    LinkUse(LinkId),
}

/// The way of an item.
pub(crate) struct ItemWay {
    pub(crate) assembly: Arc<Assembly>,
    pub(crate) position: usize,
    pub(crate) tenant: TenantId,
    pub(crate) receipt: ReceiptWish,
    /// What to do if authority moves before it joins.
    pub(crate) redo: Option<Redo>,
}

/// The way of a command's answer.
#[derive(Default)]
pub(crate) struct CommandWay {
    pub(crate) asker: Option<Asker>,
    /// Rows that take effect now; a reduction's took effect at its commit.
    pub(crate) rows: Vec<Row>,
    /// The head that the command left.
    pub(crate) head: Option<HeadHash>,
    pub(crate) done: Option<SyncSender<()>>,
    /// Whose reduction it is: then its answer waits for those before it.
    pub(crate) reduces: Option<TenantId>,
}

/// The way to the sequencer. Lanes never wait here.
#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<VecDeque<Submission>>,
    arrived: Condvar,
}

impl Inbox {
    pub(crate) fn send(&self, submission: Submission) {
        let mut queue = lock(&self.queue);
        let was_empty = queue.is_empty();
        queue.push_back(submission);
        drop(queue);
        if was_empty {
            self.arrived.notify_one();
        }
    }

    pub(crate) fn send_all(&self, submissions: &mut Vec<Submission>) {
        if submissions.is_empty() {
            return;
        }
        let mut queue = lock(&self.queue);
        let was_empty = queue.is_empty();
        queue.extend(submissions.drain(..));
        drop(queue);
        if was_empty {
            self.arrived.notify_one();
        }
    }

    pub(crate) fn wait(&self, into: &mut VecDeque<Submission>, patience: Duration) {
        let mut queue = lock(&self.queue);
        if queue.is_empty() && into.is_empty() {
            let waited = self.arrived.wait_timeout(queue, patience);
            queue = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        into.append(&mut queue);
        drop(queue);
        self.gather(into);
    }

    /// Lets whoever is ready to run hand over first, so that their records share the frame and its sync.
    fn gather(&self, into: &mut VecDeque<Submission>) {
        for _ in 0..YIELDS_MAX {
            std::thread::yield_now();
            let mut queue = lock(&self.queue);
            if queue.is_empty() {
                return;
            }
            into.append(&mut queue);
        }
    }
}
