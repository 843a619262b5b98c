//! The slow pool: RSA and ML-DSA, new keys, answers that are read back, uses that are decided again, reads.
//!
//! Its queue is bounded, and so is what one subject has in it; what does not fit, and what has waited for too
//! long, is refused as `overloaded`. One thread less than there are cores,
//! and at least one, so that quick work always finds a core where there are two; and the threads run at a
//! lower priority than lanes do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use chancery_core::id::PrincipalId;
use chancery_core::idempotency::Place;

use crate::counters::lock;
use crate::service::Shared;
use crate::uses::{Job, Redo, Worker};

/// The most jobs that wait: 1 024, some seconds of RSA-4096 on one core.
const JOBS_MAX: usize = 1_024;

/// The most of them that are of one subject: a half, so that no holder keeps all others out.
const JOBS_OF_ONE_SUBJECT_MAX: usize = JOBS_MAX / 2;

/// The longest that a use waits: 30 s, as long as a front waits for its answer.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How much the scheduler prefers others, as `nice` counts.
const NICENESS: i32 = 10;

/// A read, or whatever else is answered from here.
pub(crate) type Task = Box<dyn FnOnce(&Shared) + Send>;

enum Work {
    Job(Job, Instant),
    Redo(Redo),
    Repeat(Job, Place),
    Task(Task),
}

impl Work {
    /// Whose it is, as far as that is counted.
    fn subject(&self) -> Option<PrincipalId> {
        match self {
            Self::Job(job, _) | Self::Repeat(job, _) => Some(subject_of(job)),
            Self::Redo(_) | Self::Task(_) => None,
        }
    }
}

fn subject_of(job: &Job) -> PrincipalId {
    job.request.handle.root().subject
}

/// What waits, and how much of it is whose.
#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    by_subject: BTreeMap<PrincipalId, usize>,
}

impl Queue {
    fn has_room_for(&self, subject: Option<PrincipalId>) -> bool {
        let of_the_subject = subject.and_then(|subject| self.by_subject.get(&subject));
        self.work.len() < JOBS_MAX
            && of_the_subject.is_none_or(|count| *count < JOBS_OF_ONE_SUBJECT_MAX)
    }

    fn push(&mut self, work: Work) {
        if let Some(subject) = work.subject() {
            *self.by_subject.entry(subject).or_default() += 1;
        }
        self.work.push_back(work);
    }

    fn pop(&mut self) -> Option<Work> {
        let work = self.work.pop_front()?;
        if let Some(subject) = work.subject() {
            let count = self.by_subject.entry(subject).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_subject.remove(&subject);
            }
        }
        Some(work)
    }
}

/// The pool's queue.
#[derive(Default)]
pub(crate) struct Pool {
    queue: Mutex<Queue>,
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
                        Work::Job(job, _) => worker.finish(&job),
                        Work::Redo(redo) => worker.redo(&redo),
                        Work::Repeat(job, place) => worker.repeat(job, place),
                        Work::Task(task) => task(&shared),
                    }
                    worker.hand_over();
                }
            });
        }
    }

    /// Takes a job, or gives it back if there is no room for it.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        let mut queue = lock(&self.queue);
        if !queue.has_room_for(Some(subject_of(&job))) {
            return Err(job);
        }
        queue.push(Work::Job(job, Instant::now()));
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes a use whose answer is read back, or gives it back if there is no room for it.
    pub(crate) fn repeat(&self, job: Job, place: Place) -> Result<(), Job> {
        let mut queue = lock(&self.queue);
        if !queue.has_room_for(Some(subject_of(&job))) {
            return Err(job);
        }
        queue.push(Work::Repeat(job, place));
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes a use to decide again. Always: they are no more than what lanes have outstanding.
    pub(crate) fn redo(&self, redo: Redo) {
        lock(&self.queue).work.push_front(Work::Redo(redo));
        self.arrived.notify_one();
    }

    /// Takes a task, or gives it back if the queue is full.
    pub(crate) fn task(&self, task: Task) -> Result<(), Task> {
        let mut queue = lock(&self.queue);
        if !queue.has_room_for(None) {
            return Err(task);
        }
        queue.push(Work::Task(task));
        self.arrived.notify_one();
        Ok(())
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
    fn the_queue_takes_so_many_and_so_many_of_one_subject() {
        let subject = PrincipalId::from_bytes([1; 16]);
        let mut queue = Queue::default();
        queue.by_subject.insert(subject, JOBS_OF_ONE_SUBJECT_MAX - 1);
        assert!(queue.has_room_for(Some(subject)));
        queue.by_subject.insert(subject, JOBS_OF_ONE_SUBJECT_MAX);
        assert!(!queue.has_room_for(Some(subject)));
        assert!(queue.has_room_for(Some(PrincipalId::from_bytes([2; 16]))));
        for _ in 0..JOBS_MAX {
            assert!(queue.has_room_for(None));
            queue.push(Work::Task(Box::new(|_| ())));
        }
        assert!(!queue.has_room_for(None));
        while queue.pop().is_some() {}
        assert!(queue.has_room_for(None));
    }
}
