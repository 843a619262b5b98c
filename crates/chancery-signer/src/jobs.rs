//! What waits for the store thread: what takes authority away or holds it back first; then in turn what principals command
//! and what the service does by itself, each in the order it came.
//!
//! The queues are bounded, each by itself, so that nobody who makes keys keeps a responder waiting, nor thousands of
//! rollouts on one day whoever has a command.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use chancery_core::authority::{DueDestruction, DueRotation, Moving, UseCounts};
use chancery_core::command::Command;
use chancery_core::id::{KeyId, TenantId};
use chancery_crypto::key::PrivateKey;

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
    /// What a rule of automatic rotation makes due.
    Rotate(Box<RotateJob>),
}

/// What a rule of automatic rotation makes due for a key.
pub(crate) struct RotateJob {
    pub(crate) due: DueRotation,
    /// The private key that was made for it, if a version is to be made.
    pub(crate) made: Option<PrivateKey>,
    /// How often versions were used when that was found.
    pub(crate) uses: Arc<UseCounts>,
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
            Job::Bundle(_) | Job::Destroy(_) | Job::Step(_) | Job::Rotate(_) => &mut self.own,
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

    /// Whether a step of that rollout, or what is due for that key, waits already: it looks at what there is when its turn
    /// comes.
    fn holds(&self, job: &Job) -> bool {
        match job {
            Job::Step(moving) => {
                let is_it = |job: &Job| matches!(job, Job::Step(other) if other == moving);
                self.own.iter().any(is_it)
            }
            Job::Rotate(job) => self.holds_rotation_of(job.due.key),
            Job::Bundle(_) | Job::Command(_) | Job::Destroy(_) => false,
        }
    }

    fn holds_rotation_of(&self, key: KeyId) -> bool {
        self.own.iter().any(|job| matches!(job, Job::Rotate(other) if other.due.key == key))
    }

    /// The next of what the service does by itself, if it is of that kind.
    fn next_own<T>(&mut self, take: impl FnOnce(Job) -> Result<T, Job>) -> Option<T> {
        match take(self.own.pop_front()?) {
            Ok(taken) => Some(taken),
            Err(job) => {
                self.own.push_front(job);
                None
            }
        }
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
        if queues.holds(&job) {
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

    /// Whether what is due for a key waits already, so that no version need be made for it.
    pub(crate) fn holds_rotation_of(&self, key: KeyId) -> bool {
        lock(&self.queues).holds_rotation_of(key)
    }

    /// Whether there is room for what the service does by itself, with as much left again for what does not come from rules.
    pub(crate) fn has_room(&self) -> bool {
        lock(&self.queues).own.len() < JOBS_MAX / 2
    }

    /// Further steps of a tenant's rollouts, as many as come next and `most` at most.
    pub(crate) fn more_steps(&self, tenant: TenantId, most: usize) -> Vec<Moving> {
        let mut queues = lock(&self.queues);
        let next = || {
            queues.next_own(|job| match job {
                Job::Step(moving) if moving.tenant == tenant => Ok(moving),
                other => Err(other),
            })
        };
        std::iter::from_fn(next).take(most).collect()
    }

    /// Further rotations that are due in a tenant, as many as come next and `most` at most.
    pub(crate) fn more_rotations(&self, tenant: TenantId, most: usize) -> Vec<RotateJob> {
        let mut queues = lock(&self.queues);
        let next = || {
            queues.next_own(|job| match job {
                Job::Rotate(job) if job.due.tenant == tenant => Ok(*job),
                other => Err(other),
            })
        };
        std::iter::from_fn(next).take(most).collect()
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
    use chancery_core::id::RolloutId;

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
        let Job::Step(first) = jobs.next() else { panic!("no step") };
        let more = jobs.more_steps(first.tenant, 7);
        let next = [first.key, more[0].key];
        assert_eq!(next, [1, 2].map(|number| KeyId::from_bytes([number; 16])));
        assert_eq!(more.len(), 1);
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

    #[test]
    fn more_is_taken_as_long_as_it_is_of_one_kind_and_one_tenant() {
        let jobs = Jobs::default();
        let destroy = DueDestruction {
            tenant: TenantId::from_bytes([1; 16]),
            key: KeyId::from_bytes([1; 16]),
            version: 1,
        };
        for number in [1, 2, 3] {
            assert!(jobs.send(step(number)).is_ok());
        }
        assert!(jobs.send(Job::Destroy(destroy)).is_ok() && jobs.send(step(4)).is_ok());
        let tenant = destroy.tenant;
        assert!(jobs.more_steps(TenantId::from_bytes([9; 16]), 7).is_empty());
        assert_eq!((jobs.more_steps(tenant, 2).len(), jobs.more_steps(tenant, 7).len()), (2, 1));
        assert!(jobs.more_rotations(tenant, 7).is_empty());
        assert!(matches!(jobs.next(), Job::Destroy(_)) && matches!(jobs.next(), Job::Step(_)));
    }
}
