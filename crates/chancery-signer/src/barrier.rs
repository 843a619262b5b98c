//! The barrier of a reduction: nothing that was decided before it leaves after it is answered.
//!
//! A result that joined a batch before the reduction may still wait: as an item of an answer whose other
//! items are not done, or in the queue of a full socket. The reduction's own answer is held until all such
//! answers were handed to their sockets. Who does not read does not hold up a revocation for long: after
//! [`PATIENCE`] its socket is given up, and its operations are Unknown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_core::id::TenantId;
use chancery_core::sequencer::Released;

use crate::outlet::{Answer, Assembly, Outlet, StreamEnd};

/// How long a reduction's answer waits for answers before it: 2 s.
const PATIENCE: Duration = Duration::from_secs(2);

/// The answers that are not whole yet, and the reductions that wait for them.
#[derive(Default)]
pub(crate) struct Barrier {
    open: Vec<(TenantId, Arc<Assembly>)>,
    held: Vec<Held>,
}

/// A reduction's answer, held.
struct Held {
    before: Vec<Arc<Assembly>>,
    queues: Vec<(Arc<Outlet>, StreamEnd)>,
    since: Instant,
    outlet: Arc<Outlet>,
    tag: u64,
    answer: Released<Answer>,
    index: u64,
}

impl Barrier {
    /// An item was released into an answer that is not whole yet.
    pub(crate) fn note(&mut self, tenant: TenantId, assembly: &Arc<Assembly>) {
        let is_known = self.open.iter().any(|(_, known)| Arc::ptr_eq(known, assembly));
        if !is_known && !assembly.is_complete() {
            self.open.push((tenant, Arc::clone(assembly)));
        }
    }

    /// Holds a reduction's answer until what came before it is out, `outlets` included.
    pub(crate) fn hold(
        &mut self,
        tenant: TenantId,
        (outlet, tag): (Arc<Outlet>, u64),
        (answer, index): (Released<Answer>, u64),
        outlets: &[Arc<Outlet>],
    ) {
        let before = self.open.iter().filter(|(of, _)| *of == tenant);
        let queues = outlets.iter().map(|outlet| (Arc::clone(outlet), outlet.end()));
        self.held.push(Held {
            before: before.map(|(_, assembly)| Arc::clone(assembly)).collect(),
            queues: queues.collect(),
            since: Instant::now(),
            outlet,
            tag,
            answer,
            index,
        });
    }

    /// Answers the reductions that nothing holds up any more.
    pub(crate) fn settle(&mut self) {
        self.open.retain(|(_, assembly)| !assembly.is_complete());
        for held in std::mem::take(&mut self.held) {
            if held.since.elapsed() >= PATIENCE {
                held.give_up();
            }
            if held.is_passed() {
                held.outlet.answer(held.tag, held.answer, held.index);
                held.outlet.flush();
            } else {
                self.held.push(held);
            }
        }
    }

    /// Whether something waits.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }
}

impl Held {
    fn is_passed(&self) -> bool {
        let is_out =
            |assembly: &Arc<Assembly>| assembly.is_complete() || assembly.outlet().is_closed();
        self.before.iter().all(is_out)
            && self.queues.iter().all(|(outlet, end)| outlet.has_passed(*end))
    }

    fn give_up(&self) {
        for assembly in self.before.iter().filter(|assembly| !assembly.is_complete()) {
            assembly.outlet().give_up();
        }
        for (outlet, end) in &self.queues {
            if !outlet.has_passed(*end) {
                outlet.give_up();
            }
        }
    }
}
