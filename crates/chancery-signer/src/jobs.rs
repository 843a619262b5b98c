//! What waits for the store thread: what takes authority away first, then all else in the order it came.
//!
//! Both queues are bounded, each by itself, so that nobody who makes keys keeps a responder waiting.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use chancery_core::authority::{DueDestruction, Moving};

use crate::commands::CommandJob;
use crate::counters::lock;
use crate::store_thread::BundleJob;

/// The most jobs that wait in either queue: 256, about a second of the embedded store.
const JOBS_MAX: usize = 256;

/// What the store thread does.
pub(crate) enum Job {
    /// A trust bundle that was made.
    Bundle(Box<BundleJob>),
    /// A principal's command.
    Command(Box<CommandJob>),
    /// A version whose time has come.
    Destroy(DueDestruction),
    /// A rollout that has a step to take.
    Step(Moving),
}

#[derive(Default)]
struct Queues {
    reductions: VecDeque<Job>,
    others: VecDeque<Job>,
}

/// The queues.
#[derive(Default)]
pub(crate) struct Jobs {
    queues: Mutex<Queues>,
    arrived: Condvar,
}

impl Job {
    fn is_reduction(&self) -> bool {
        matches!(self, Self::Command(job) if job.verified.command.is_reduction())
    }
}

impl Jobs {
    /// Takes a job, or gives it back if its queue is full.
    pub(crate) fn send(&self, job: Job) -> Result<(), Job> {
        let mut queues = lock(&self.queues);
        let queue = if job.is_reduction() { &mut queues.reductions } else { &mut queues.others };
        if queue.len() >= JOBS_MAX {
            return Err(job);
        }
        queue.push_back(job);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next job; waits until there is one.
    pub(crate) fn next(&self) -> Job {
        let mut queues = lock(&self.queues);
        loop {
            let first = queues.reductions.pop_front().or_else(|| queues.others.pop_front());
            if let Some(job) = first {
                return job;
            }
            queues = self.arrived.wait(queues).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}
