//! The slow pool: RSA and ML-DSA, new keys, answers that are read back, uses that are decided again, reads.
//!
//! Its queue is bounded; what does not fit is refused as `overloaded`. One thread less than there are cores,
//! and at least one, so that quick work always finds a core where there are two; and the threads run at a
//! lower priority than lanes do.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use chancery_core::idempotency::Place;

use crate::counters::lock;
use crate::service::Shared;
use crate::uses::{Job, Redo, Worker};

/// The most jobs that wait: 1 024, some seconds of RSA-4096 on one core.
const JOBS_MAX: usize = 1_024;

/// How much the scheduler prefers others, as `nice` counts.
const NICENESS: i32 = 10;

/// A read, or whatever else is answered from here.
pub(crate) type Task = Box<dyn FnOnce(&Shared) + Send>;

enum Work {
    Job(Job),
    Redo(Redo),
    Repeat(Job, Place),
    Task(Task),
}

/// The pool's queue.
#[derive(Default)]
pub(crate) struct Pool {
    queue: Mutex<VecDeque<Work>>,
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
                        Work::Job(job) => worker.finish(&job),
                        Work::Redo(redo) => worker.redo(&redo),
                        Work::Repeat(job, place) => worker.repeat(job, place),
                        Work::Task(task) => task(&shared),
                    }
                    worker.hand_over();
                }
            });
        }
    }

    /// Takes a job, or gives it back if the queue is full.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        let mut queue = lock(&self.queue);
        if queue.len() >= JOBS_MAX {
            return Err(job);
        }
        queue.push_back(Work::Job(job));
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes a use whose answer is read back, or gives it back if the queue is full.
    pub(crate) fn repeat(&self, job: Job, place: Place) -> Result<(), Job> {
        let mut queue = lock(&self.queue);
        if queue.len() >= JOBS_MAX {
            return Err(job);
        }
        queue.push_back(Work::Repeat(job, place));
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes a use to decide again. Always: they are no more than what lanes have outstanding.
    pub(crate) fn redo(&self, redo: Redo) {
        lock(&self.queue).push_front(Work::Redo(redo));
        self.arrived.notify_one();
    }

    /// Takes a task, or gives it back if the queue is full.
    pub(crate) fn task(&self, task: Task) -> Result<(), Task> {
        let mut queue = lock(&self.queue);
        if queue.len() >= JOBS_MAX {
            return Err(task);
        }
        queue.push_back(Work::Task(task));
        self.arrived.notify_one();
        Ok(())
    }

    fn next(&self) -> Work {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(work) = queue.pop_front() {
                return work;
            }
            queue = self.arrived.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}
