//! The slow pool: RSA and ML-DSA, new keys, answers that are read back, uses that are decided again, reads.
//!
//! Its queue is bounded, and so is what one principal has in it, be it by handles or by commands; what does not
//! fit, and what has waited for too long, is refused as `overloaded`. What was carried out before is answered
//! however long it waited. One thread less than there are cores, and at least one, so that quick work always
//! finds a core where there are two; and the threads run at a lower priority than lanes do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use chancery_core::id::PrincipalId;
use chancery_core::idempotency::Place;

use crate::commands::{self, CommandJob};
use crate::counters::lock;
use crate::service::Shared;
use crate::uses::{Job, Redo, Worker};

/// The most jobs that wait: 1 024, some seconds of RSA-4096 on one core.
const JOBS_MAX: usize = 1_024;

/// The most of them that are of one principal: a half, so that nobody keeps all others out.
const JOBS_OF_ONE_PRINCIPAL_MAX: usize = JOBS_MAX / 2;

/// The longest that anything waits: 30 s, as long as a front waits for its answer.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How much the scheduler prefers others, as `nice` counts.
pub(crate) const NICENESS: i32 = 10;

enum Work {
    Job(Job, Instant),
    Redo(Redo),
    Repeat(Job, Place),
    Command(Box<CommandJob>, Instant),
}

/// What waits, and how much of it is whose.
struct Queue<W> {
    work: VecDeque<(Option<PrincipalId>, W)>,
    by_principal: BTreeMap<PrincipalId, usize>,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { work: VecDeque::new(), by_principal: BTreeMap::new() }
    }
}

impl<W> Queue<W> {
    fn has_room_for(&self, principal: PrincipalId) -> bool {
        let of_the_principal = self.by_principal.get(&principal).copied().unwrap_or_default();
        self.work.len() < JOBS_MAX && of_the_principal < JOBS_OF_ONE_PRINCIPAL_MAX
    }

    /// Puts work at the end.
    fn push(&mut self, principal: PrincipalId, work: W) {
        *self.by_principal.entry(principal).or_default() += 1;
        self.work.push_back((Some(principal), work));
    }

    /// Puts work at the front, whatever room there is.
    fn push_front(&mut self, work: W) {
        self.work.push_front((None, work));
    }

    fn pop(&mut self) -> Option<W> {
        let (principal, work) = self.work.pop_front()?;
        if let Some(principal) = principal {
            let count = self.by_principal.entry(principal).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_principal.remove(&principal);
            }
        }
        Some(work)
    }
}

/// The pool's queue.
#[derive(Default)]
pub(crate) struct Pool {
    queue: Mutex<Queue<Work>>,
    arrived: Condvar,
}

impl Pool {
    /// Starts the threads.
    pub(crate) fn start(shared: &Arc<Shared>) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores.saturating_sub(1).max(1) {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || {
                // A kernel that refuses leaves the threads at the common priority, which is slower, not wrong.
                let _ = rustix::process::nice(NICENESS);
                let mut worker = Worker::new(Arc::clone(&shared));
                loop {
                    match shared.pool.next() {
                        Work::Job(job, since) if since.elapsed() > WAIT_MAX => {
                            worker.turn_away(&job);
                        }
                        Work::Job(job, _) => worker.finish(job),
                        Work::Redo(redo) => worker.redo(redo),
                        Work::Repeat(job, place) => worker.repeat(job, place),
                        Work::Command(job, since) if since.elapsed() > WAIT_MAX => {
                            commands::turn_away(&shared, &job);
                        }
                        Work::Command(job, _) => commands::from_the_pool(&shared, job),
                    }
                    worker.hand_over();
                }
            });
        }
    }

    /// Takes a job, or gives it back if there is no room for it.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Box<Job>> {
        let subject = job.request.handle.root().subject;
        let Some(mut queue) = self.with_room_for(subject) else { return Err(Box::new(job)) };
        queue.push(subject, Work::Job(job, Instant::now()));
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes a use whose answer is read back, or gives it back if there is no room for it.
    pub(crate) fn repeat(&self, job: Job, place: Place) -> Result<(), Box<Job>> {
        let subject = job.request.handle.root().subject;
        let Some(mut queue) = self.with_room_for(subject) else { return Err(Box::new(job)) };
        queue.push(subject, Work::Repeat(job, place));
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes a use to decide again. Always: they are no more than what lanes have outstanding.
    pub(crate) fn redo(&self, redo: Redo) {
        lock(&self.queue).push_front(Work::Redo(redo));
        self.arrived.notify_one();
    }

    /// Takes a read or a new key, or gives it back if there is no room for it.
    pub(crate) fn command(&self, job: Box<CommandJob>) -> Result<(), Box<CommandJob>> {
        let principal = job.verified.principal.id;
        let Some(mut queue) = self.with_room_for(principal) else { return Err(job) };
        queue.push(principal, Work::Command(job, Instant::now()));
        self.arrived.notify_one();
        Ok(())
    }

    fn with_room_for(&self, principal: PrincipalId) -> Option<MutexGuard<'_, Queue<Work>>> {
        Some(lock(&self.queue)).filter(|queue| queue.has_room_for(principal))
    }

    fn next(&self) -> Work {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(work) = queue.pop() {
                return work;
            }
            queue = self.arrived.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_takes_so_many_and_so_many_of_one_principal() {
        let [one, other, third] = [1, 2, 3].map(|byte| PrincipalId::from_bytes([byte; 16]));
        let mut queue = Queue::default();
        for _ in 0..JOBS_OF_ONE_PRINCIPAL_MAX {
            assert!(queue.has_room_for(one));
            queue.push(one, 0);
        }
        assert!(!queue.has_room_for(one));
        for _ in 0..JOBS_MAX - JOBS_OF_ONE_PRINCIPAL_MAX {
            assert!(queue.has_room_for(other));
            queue.push(other, 0);
        }
        assert!(!queue.has_room_for(third));
        queue.push_front(1);
        assert_eq!(queue.pop(), Some(1));
        assert!(!queue.has_room_for(third));
        assert_eq!(queue.pop(), Some(0));
        assert!(queue.has_room_for(third) && queue.has_room_for(one));
        while queue.pop().is_some() {}
        assert!(queue.by_principal.is_empty());
    }
}
