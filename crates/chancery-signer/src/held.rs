//! Answers that wait for witnesses: of keys whose uses leave only when a quorum has cosigned their records.
//!
//! The records are durable, so whatever becomes of an answer, the operation was carried out and can be asked for again
//! by its id. The sequencer's thread holds them and lets them go, so that no reduction is answered past one.
//!
//! **Invariant:** an answer leaves once the witnessed log has its record, or as one that cannot be read now. It has taken
//! a [`Room`] before anything was spent on it, and gives it back when it is gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chancery_api::message::UseResult;
use chancery_core::id::PrincipalId;
use chancery_core::reason::Reason;

use crate::counters::lock;
use crate::outlet::{Assembly, Outlet};

/// How long an answer waits: 10 s, some rounds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many may wait at once: 1 024, a quarter of what a lane may have outstanding, so that other keys go on.
const HELD_MAX: usize = 1_024;

/// How many of them may be of one principal: a half, so that nobody keeps all others out.
const HELD_OF_ONE_PRINCIPAL_MAX: usize = HELD_MAX / 2;

/// What the lanes and the one who asks the witnesses see of them.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    rooms: Mutex<Rooms>,
    is_urgent: AtomicBool,
}

/// How many are taken, and by whom.
#[derive(Debug, Default)]
struct Rooms {
    taken: usize,
    by_principal: BTreeMap<PrincipalId, usize>,
}

/// Room for one answer of a principal, until it is dropped. Few uses need one, so that it takes the place of a pointer.
#[derive(Debug)]
pub(crate) struct Room(
    #[expect(dead_code, reason = "it is kept until it is dropped, and says nothing")] Box<Taken>,
);

/// What is given back.
#[derive(Debug)]
struct Taken {
    by: PrincipalId,
    waiting: Arc<Waiting>,
}

impl Waiting {
    /// Takes room for an answer that is going to wait, if there is any for that principal.
    pub(crate) fn take(self: &Arc<Self>, principal: PrincipalId) -> Option<Room> {
        let mut rooms = lock(&self.rooms);
        let of_the_principal = rooms.by_principal.get(&principal).copied().unwrap_or_default();
        if rooms.taken >= HELD_MAX || of_the_principal >= HELD_OF_ONE_PRINCIPAL_MAX {
            return None;
        }
        rooms.taken += 1;
        rooms.by_principal.insert(principal, of_the_principal + 1);
        drop(rooms);
        Some(Room(Box::new(Taken { by: principal, waiting: Arc::clone(self) })))
    }

    /// Whether any wait, or are going to.
    pub(crate) fn is_any(&self) -> bool {
        lock(&self.rooms).taken > 0
    }

    /// Whether some have come to wait since this was asked last.
    pub(crate) fn take_urgency(&self) -> bool {
        self.is_urgent.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut rooms = lock(&self.waiting.rooms);
        rooms.taken = rooms.taken.saturating_sub(1);
        let left = rooms.by_principal.get(&self.by).map_or(0, |taken| taken.saturating_sub(1));
        if left == 0 {
            rooms.by_principal.remove(&self.by);
        } else {
            rooms.by_principal.insert(self.by, left);
        }
    }
}

/// An answer whose record is durable.
pub(crate) struct HeldAnswer {
    pub(crate) room: Room,
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
            let HeldAnswer { assembly, position, result, room: _room } = answer;
            let outlet = assembly.outlet();
            if !outlets.iter().any(|known| Arc::ptr_eq(known, outlet)) {
                outlets.push(Arc::clone(outlet));
            }
            assembly.repeat(
                position,
                if is_witnessed(&result, size) { result } else { withheld(&result) },
            );
        }
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

    const ONE: PrincipalId = PrincipalId::from_bytes([1; 16]);

    fn answer(seen: &Arc<Waiting>, index: u64) -> HeldAnswer {
        let outlet = Outlet::new(UnixStream::pair().unwrap().0).unwrap();
        let assembly = Assembly::new(Arc::new(outlet), 1, 1, Arc::default());
        let id = OperationId::v7(1, [0; 10]);
        let (output, receipt) = (Vec::new(), Vec::new());
        let result = UseResult::Committed { id, output, version: 1, index, receipt };
        HeldAnswer { room: seen.take(ONE).unwrap(), assembly, position: 0, result }
    }

    #[test]
    fn an_answer_leaves_when_its_record_is_witnessed_and_not_before() {
        let seen = Arc::new(Waiting::default());
        let mut held = HeldAnswers::new(Arc::clone(&seen));
        let (first, second) = (answer(&seen, 6), answer(&seen, 7));
        let [one, other] = [&first, &second].map(|answer| Arc::clone(&answer.assembly));
        held.take(first);
        held.take(second);
        assert!(seen.is_any() && seen.take_urgency() && !seen.take_urgency());
        assert!(held.witnessed(6).is_empty() && !one.is_complete());
        assert_eq!(held.witnessed(7).len(), 1);
        assert!(one.is_complete() && !other.is_complete());
        // What was cosigned stays cosigned.
        assert!(held.witnessed(3).is_empty());
        let third = answer(&seen, 6);
        let one = Arc::clone(&third.assembly);
        held.take(third);
        assert!(one.is_complete());
        assert_eq!(held.witnessed(8).len(), 1);
        assert!(other.is_complete() && !seen.is_any());
    }

    #[test]
    fn there_is_room_for_so_many_and_for_so_many_of_one_principal() {
        let seen = Arc::new(Waiting::default());
        let [other, third] = [2, 3].map(|byte| PrincipalId::from_bytes([byte; 16]));
        let take = |principal, count| -> Vec<Room> {
            (0..count).map(|_| seen.take(principal).unwrap()).collect()
        };
        let mut held = HeldAnswers::new(Arc::clone(&seen));
        for _ in 0..HELD_OF_ONE_PRINCIPAL_MAX {
            held.take(answer(&seen, 9));
        }
        assert!(seen.take(ONE).is_none());
        let mut rooms = take(other, HELD_MAX - HELD_OF_ONE_PRINCIPAL_MAX);
        assert!(seen.take(other).is_none() && seen.take(third).is_none());
        rooms.pop();
        assert!(seen.take(ONE).is_none(), "room of others");
        rooms.extend(take(third, 1));
        assert!(seen.take(third).is_none());
        held.witnessed(10);
        assert!(seen.take(ONE).is_some() && seen.is_any());
        drop(rooms);
        assert!(!seen.is_any() && lock(&seen.rooms).by_principal.is_empty());
    }
}
