//! What waits for the store thread: what takes authority away or holds it back first; then in turn what principals command
//! and what the service does by itself, each in the order it came.
//!
//! The queues are bounded, each by itself, so that nobody who makes keys keeps a responder waiting, nor thousands of
//! rollouts on one day whoever has a command.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use chancery_core::authority::{DueDestruction, Moving};
use chancery_core::command::Command;

use crate::commands::CommandJob;
use crate::counters::lock;
use crate::store_thread::BundleJob;

/// The most jobs that wait in each queue: 256, about a second of the embedded store.
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
    urgent: VecDeque<Job>,
    commands: VecDeque<Job>,
    own: VecDeque<Job>,
    /// Whether the last that was not urgent was a command.
    is_own_turn: bool,
}

impl Queues {
    fn of(&mut self, job: &Job) -> &mut VecDeque<Job> {
        match job {
            job if job.is_urgent() => &mut self.urgent,
            Job::Command(_) => &mut self.commands,
            Job::Bundle(_) | Job::Destroy(_) | Job::Step(_) => &mut self.own,
        }
    }

    fn next(&mut self) -> Option<Job> {
        if let Some(urgent) = self.urgent.pop_front() {
            return Some(urgent);
        }
        let (first, second) = if self.is_own_turn {
            (&mut self.own, &mut self.commands)
        } else {
            (&mut self.commands, &mut self.own)
        };
        let next = first.pop_front().or_else(|| second.pop_front())?;
        self.is_own_turn = matches!(next, Job::Command(_));
        Some(next)
    }

    /// Whether a step of that rollout waits already: it looks at what there is when its turn comes.
    fn holds_step_of(&self, job: &Job) -> bool {
        let Job::Step(moving) = job else { return false };
        self.own.iter().any(|waiting| matches!(waiting, Job::Step(other) if other == moving))
    }
}

/// The queues.
#[derive(Default)]
pub(crate) struct Jobs {
    queues: Mutex<Queues>,
    arrived: Condvar,
}

impl Job {
    fn is_urgent(&self) -> bool {
        let Self::Command(job) = self else { return false };
        match &job.verified.command {
            Command::OrderRollout { order, .. } => order.holds_back(),
            command => command.is_reduction(),
        }
    }
}

impl Jobs {
    /// Takes a job, or gives it back if its queue is full.
    pub(crate) fn send(&self, job: Job) -> Result<(), Job> {
        let mut queues = lock(&self.queues);
        if queues.holds_step_of(&job) {
            return Ok(());
        }
        let queue = queues.of(&job);
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
            if let Some(job) = queues.next() {
                return job;
            }
            queues = self.arrived.wait(queues).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_core::id::{KeyId, RolloutId, TenantId};

    fn step(number: u8) -> Job {
        let (tenant, key) = (TenantId::from_bytes([1; 16]), KeyId::from_bytes([number; 16]));
        Job::Step(Moving { tenant, key, rollout: RolloutId::from_bytes([number; 16]) })
    }

    #[test]
    fn a_rollout_waits_once_and_as_many_wait_as_may() {
        let jobs = Jobs::default();
        for number in [1, 1, 2, 1] {
            assert!(jobs.send(step(number)).is_ok());
        }
        assert_eq!(lock(&jobs.queues).own.len(), 2);
        let key = |job| if let Job::Step(moving) = job { moving.key } else { panic!("no step") };
        let next = [key(jobs.next()), key(jobs.next())];
        assert_eq!(next, [1, 2].map(|number| KeyId::from_bytes([number; 16])));
        for number in 0..=u8::MAX {
            assert!(jobs.send(step(number)).is_ok());
        }
        let destroy = DueDestruction {
            tenant: TenantId::from_bytes([1; 16]),
            key: KeyId::from_bytes([1; 16]),
            version: 1,
        };
        assert!(jobs.send(Job::Destroy(destroy)).is_err());
    }
}
