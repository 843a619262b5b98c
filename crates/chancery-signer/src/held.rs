//! Answers that wait for witnesses: of keys whose uses leave only when a quorum has cosigned their records.
//!
//! The records are durable, so whatever becomes of an answer, the operation was carried out and can be asked for again
//! by its id. The sequencer's thread holds them and lets them go, so that no reduction is answered past one.
//!
//! **Invariant:** an answer leaves once the witnessed log has its record, or as one that cannot be read now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chancery_api::message::UseResult;
use chancery_core::reason::Reason;

use crate::outlet::{Assembly, Outlet};

/// How long an answer waits: 10 s, some rounds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many may wait at once: 1 024, a quarter of what a lane may have outstanding, so that other keys go on.
const HELD_MAX: usize = 1_024;

/// What the lanes and the one who asks the witnesses see of them.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    count: AtomicUsize,
    is_urgent: AtomicBool,
}

impl Waiting {
    /// Whether there is no room for another.
    pub(crate) fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= HELD_MAX
    }

    /// Whether any wait.
    pub(crate) fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Whether some have come to wait since this was asked last.
    pub(crate) fn take_urgency(&self) -> bool {
        self.is_urgent.swap(false, Ordering::Relaxed)
    }
}

/// An answer whose record is durable.
pub(crate) struct HeldAnswer {
    pub(crate) assembly: Arc<Assembly>,
    pub(crate) position: usize,
    pub(crate) result: UseResult,
}

/// Those that wait, in the order in which they came.
#[derive(Default)]
pub(crate) struct HeldAnswers {
    answers: Vec<(Instant, HeldAnswer)>,
    /// How many records a quorum has cosigned.
    witnessed: u64,
    seen: Arc<Waiting>,
}

impl HeldAnswers {
    pub(crate) fn new(seen: Arc<Waiting>) -> Self {
        Self { seen, ..Self::default() }
    }

    /// Takes an answer, which may be one that need not wait.
    pub(crate) fn take(&mut self, answer: HeldAnswer) {
        if is_witnessed(&answer.result, self.witnessed) {
            return answer.assembly.repeat(answer.position, answer.result);
        }
        self.answers.push((Instant::now(), answer));
        self.seen.count.store(self.answers.len(), Ordering::Relaxed);
        self.seen.is_urgent.store(true, Ordering::Relaxed);
    }

    /// A quorum has cosigned a log of so many records. Lets go what need not wait any longer, and says to which
    /// sockets.
    pub(crate) fn witnessed(&mut self, size: u64) -> Vec<Arc<Outlet>> {
        self.witnessed = self.witnessed.max(size);
        let mut outlets: Vec<Arc<Outlet>> = Vec::new();
        let size = self.witnessed;
        let is_over = |(since, answer): &mut (Instant, HeldAnswer)| {
            is_witnessed(&answer.result, size) || since.elapsed() >= PATIENCE
        };
        for (_, answer) in self.answers.extract_if(.., is_over) {
            let HeldAnswer { assembly, position, result } = answer;
            let outlet = assembly.outlet();
            if !outlets.iter().any(|known| Arc::ptr_eq(known, outlet)) {
                outlets.push(Arc::clone(outlet));
            }
            assembly.repeat(
                position,
                if is_witnessed(&result, size) { result } else { withheld(&result) },
            );
        }
        self.seen.count.store(self.answers.len(), Ordering::Relaxed);
        outlets
    }
}

/// A refusal is none of a key's uses, and waits for nobody.
fn is_witnessed(result: &UseResult, size: u64) -> bool {
    match result {
        UseResult::Committed { index, .. } => *index < size,
        UseResult::Refused { .. } => true,
    }
}

fn withheld(result: &UseResult) -> UseResult {
    let (UseResult::Committed { id, .. } | UseResult::Refused { id: Some(id), .. }) = result else {
        return UseResult::Refused { id: None, reason: Reason::AnswerUnreadable };
    };
    UseResult::Refused { id: Some(*id), reason: Reason::AnswerUnreadable }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use chancery_core::id::OperationId;

    use super::*;

    fn answer(index: u64) -> HeldAnswer {
        let outlet = Outlet::new(UnixStream::pair().unwrap().0).unwrap();
        let assembly = Assembly::new(Arc::new(outlet), 1, 1, Arc::default());
        let id = OperationId::v7(1, [0; 10]);
        let (output, receipt) = (Vec::new(), Vec::new());
        let result = UseResult::Committed { id, output, version: 1, index, receipt };
        HeldAnswer { assembly, position: 0, result }
    }

    #[test]
    fn an_answer_leaves_when_its_record_is_witnessed_and_not_before() {
        let seen = Arc::new(Waiting::default());
        let mut held = HeldAnswers::new(Arc::clone(&seen));
        let (first, second) = (answer(6), answer(7));
        let [one, other] = [&first, &second].map(|answer| Arc::clone(&answer.assembly));
        held.take(first);
        held.take(second);
        assert!(seen.is_any() && seen.take_urgency() && !seen.take_urgency());
        assert!(held.witnessed(6).is_empty() && !one.is_complete());
        assert_eq!(held.witnessed(7).len(), 1);
        assert!(one.is_complete() && !other.is_complete());
        // What was cosigned stays cosigned.
        assert!(held.witnessed(3).is_empty());
        let third = answer(6);
        let one = Arc::clone(&third.assembly);
        held.take(third);
        assert!(one.is_complete());
        assert_eq!(held.witnessed(8).len(), 1);
        assert!(other.is_complete() && !seen.is_any());
    }

    #[test]
    fn there_is_room_for_so_many() {
        let seen = Arc::new(Waiting::default());
        let mut held = HeldAnswers::new(Arc::clone(&seen));
        let one = answer(0).assembly;
        for _ in 0..HELD_MAX {
            assert!(!seen.is_full());
            held.take(HeldAnswer { assembly: Arc::clone(&one), ..answer(9) });
        }
        assert!(seen.is_full());
    }
}
