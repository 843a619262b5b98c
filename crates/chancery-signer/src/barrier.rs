//! The barrier of a reduction: nothing that was decided before it leaves after it is answered.
//!
//! A result that joined a batch before the reduction may still wait: as an item of an answer whose other
//! items are not done, or in the queue of a full socket. The reduction's own answer is held until all such
//! answers were handed to their sockets. Neither a slow item nor who does not read holds up a revocation for
//! long: after [`PATIENCE`] the answer leaves without its missing items, or the socket is given up; those
//! operations are Unknown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_core::id::TenantId;
use chancery_core::sequencer::Released;

use crate::aside::PutAside;
use crate::commands::Asker;
use crate::outlet::{Answer, Assembly, Outlet, StreamEnd};

/// How long a reduction's answer waits for answers before it: 2 s.
const PATIENCE: Duration = Duration::from_secs(2);

/// The answers that are not whole yet, the sockets that have not taken theirs, and the reductions that wait
/// for them.
#[derive(Default)]
pub(crate) struct Barrier {
    open: Vec<(TenantId, Arc<Assembly>)>,
    behind: Vec<Arc<Outlet>>,
    waiting: Vec<Waiting>,
}

/// A reduction's answer, held.
pub(crate) enum Held {
    /// Of one that is on record.
    Recorded(Box<Recorded>),
    /// Of one that is in the journal.
    Aside(Box<PutAside>),
}

/// A recorded reduction's answer.
pub(crate) struct Recorded {
    pub(crate) asker: Asker,
    pub(crate) answer: Released<Answer>,
    pub(crate) index: u64,
}

struct Waiting {
    before: Vec<Arc<Assembly>>,
    queues: Vec<(Arc<Outlet>, StreamEnd)>,
    since: Instant,
    held: Held,
}

impl Barrier {
    /// An item was released into an answer that is not whole yet.
    pub(crate) fn note(&mut self, tenant: TenantId, assembly: &Arc<Assembly>) {
        let is_known = self.open.iter().any(|(_, known)| Arc::ptr_eq(known, assembly));
        if !is_known && !assembly.is_complete() {
            self.open.push((tenant, Arc::clone(assembly)));
        }
    }

    /// A socket was offered what it is to take; it may have left some.
    pub(crate) fn flushed(&mut self, outlet: &Arc<Outlet>) {
        let is_known = self.behind.iter().any(|known| Arc::ptr_eq(known, outlet));
        if !is_known && outlet.is_waiting() {
            self.behind.push(Arc::clone(outlet));
        }
    }

    /// Holds a reduction's answer until what came before it is out, also what `outlets` have yet to be offered.
    pub(crate) fn hold(&mut self, tenant: TenantId, held: Held, outlets: &[Arc<Outlet>]) {
        let before = self.open.iter().filter(|(of, _)| *of == tenant);
        let outlets = outlets.iter().chain(&self.behind);
        self.waiting.push(Waiting {
            before: before.map(|(_, assembly)| Arc::clone(assembly)).collect(),
            queues: outlets.map(|outlet| (Arc::clone(outlet), outlet.end())).collect(),
            since: Instant::now(),
            held,
        });
    }

    /// Answers the reductions that nothing holds up any more.
    pub(crate) fn settle(&mut self) {
        self.open.retain(|(_, assembly)| !assembly.is_complete());
        self.behind.retain(|outlet| outlet.is_waiting());
        for mut waiting in std::mem::take(&mut self.waiting) {
            waiting.advance();
            if waiting.since.elapsed() >= PATIENCE {
                waiting.give_up();
                waiting.advance();
            }
            if waiting.is_passed() {
                waiting.held.answer();
            } else {
                self.waiting.push(waiting);
            }
        }
    }

    /// Whether something waits.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Held {
    fn answer(self) {
        match self {
            Self::Recorded(recorded) => {
                let Recorded { asker, answer, index } = *recorded;
                asker.outlet.answer(asker.tag, answer, index);
                asker.outlet.flush();
            }
            Self::Aside(aside) => aside.answer(),
        }
    }
}

impl Waiting {
    /// An answer that became whole is in the queue of its socket.
    fn advance(&mut self) {
        for assembly in self.before.extract_if(.., |assembly| assembly.is_complete()) {
            let outlet = assembly.outlet();
            self.queues.push((Arc::clone(outlet), outlet.end()));
        }
    }

    fn is_passed(&self) -> bool {
        self.before.iter().all(|assembly| assembly.outlet().is_closed())
            && self.queues.iter().all(|(outlet, end)| outlet.has_passed(*end))
    }

    fn give_up(&self) {
        for assembly in &self.before {
            assembly.abandon();
        }
        for (outlet, end) in &self.queues {
            if !outlet.has_passed(*end) {
                outlet.give_up();
            }
        }
    }
}
