//! A second thread that takes its part of what a large frame costs.
//!
//! Whoever composes frames is one thread, and nearly all it does is hashing. For a frame of many records it hands a part
//! of that, and the write, to a partner, and does the rest meanwhile. The thread is handed in; where there is none, or it
//! has other work, all is done here. What comes out is the same, whoever did it.
//!
//! It is not for small frames: a hand-over costs as much as some ten records.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use chancery_log::Hash;

use crate::frame::Item;
use crate::sealer::Prepared;

/// Frames of so many records have a partner's help: 256, some 400 µs of hashing, which outweighs three hand-overs.
pub const PARTNER_RECORDS_MIN: usize = 256;

/// What a partner is given to do.
pub type Job = Box<dyn FnOnce() + Send>;

/// What a job came to: a panic of it is the caller's.
type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// The way to the partner, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Partner(Option<SyncSender<Job>>);

impl Partner {
    /// A partner, and what its thread is to do, one after the other, until nothing more comes.
    #[must_use]
    pub fn new() -> (Self, Receiver<Job>) {
        let (jobs, received) = sync_channel(1);
        (Self(Some(jobs)), received)
    }

    /// Nobody.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Whether it helps with a frame of so many records.
    #[must_use]
    pub fn helps_with(&self, records: usize) -> bool {
        self.0.is_some() && records >= PARTNER_RECORDS_MIN
    }

    /// Has `theirs` done by the partner, and does `ours` meanwhile.
    pub fn both<T: Send + 'static, O>(
        &self,
        theirs: impl FnOnce() -> T + Send + 'static,
        ours: impl FnOnce() -> O,
    ) -> (T, O) {
        let Some(jobs) = &self.0 else { return (theirs(), ours()) };
        let (done, outcome) = sync_channel::<Outcome<T>>(1);
        let job = Box::new(move || {
            // Whoever asked waits for it, or has ended.
            let _ = done.send(catch_unwind(AssertUnwindSafe(theirs)));
        });
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = jobs.try_send(job) {
            job();
        }
        let ours = ours();
        match outcome.recv() {
            Ok(Ok(theirs)) => (theirs, ours),
            Ok(Err(panic)) => resume_unwind(panic),
            // It was dropped undone, which only a thread does that ended badly.
            Err(error) => resume_unwind(Box::new(error)),
        }
    }

    /// Has something dropped by the partner, if it has nothing else to do.
    pub fn discard<T: Send + 'static>(&self, what: T) {
        if let Some(jobs) = &self.0 {
            // What is not taken is dropped here.
            let _ = jobs.try_send(Box::new(move || drop(what)));
        }
    }
}

/// A record that has its place, and is not hashed yet.
#[derive(Debug)]
pub struct Placed {
    prepared: Prepared,
    use_index: Option<u64>,
    command: u64,
}

impl Placed {
    /// A record with its use index and the number of its command, 0 for a use.
    #[must_use]
    pub fn new(prepared: Prepared, use_index: Option<u64>, command: u64) -> Self {
        Self { prepared, use_index, command }
    }

    /// The bytes it will take in a frame.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.prepared.encoded_bytes()
    }

    fn finish(self) -> (Item, Hash) {
        self.prepared.finish(self.use_index, self.command)
    }
}

/// Completes the records of a frame, and hashes their leaves.
#[must_use]
pub fn finish(mut records: Vec<Placed>, partner: &Partner) -> Vec<(Item, Hash)> {
    let all = |records: Vec<Placed>| records.into_iter().map(Placed::finish).collect::<Vec<_>>();
    if !partner.helps_with(records.len()) {
        return all(records);
    }
    let behind = records.split_off(records.len() / 2);
    let (behind, mut finished) = partner.both(move || all(behind), || all(records));
    finished.extend(behind);
    finished
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partner that ends when this is dropped.
    fn started() -> Partner {
        let (partner, jobs) = Partner::new();
        #[expect(clippy::disallowed_methods, reason = "a test may start a thread")]
        std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        partner
    }

    #[test]
    fn both_are_done_with_a_partner_without_one_and_with_one_that_has_gone() {
        let (gone, jobs) = Partner::new();
        drop(jobs);
        for partner in [started(), Partner::none(), gone] {
            for number in 0..1_000 {
                assert_eq!(partner.both(move || number + 1, || number), (number + 1, number));
                partner.discard(vec![number]);
            }
        }
    }

    #[test]
    fn one_that_is_busy_is_not_waited_for() {
        // Nobody takes the jobs, of which one has room.
        let (partner, jobs) = Partner::new();
        partner.discard(());
        assert_eq!(partner.both(|| 1, || 2), (1, 2));
        drop(jobs);
    }

    #[test]
    #[should_panic(expected = "theirs")]
    fn a_panic_of_the_partner_is_the_callers() {
        let theirs = || assert_eq!(1, 2, "theirs");
        started().both(theirs, || ());
    }
}
