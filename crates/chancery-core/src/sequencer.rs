//! The order of results, the indices they are given, and the moment they may leave.
//!
//! Results join a batch in the order in which they come. A batch becomes durable as a whole; then, and
//! only then, its answers leave, in order. A change that takes effect moves its tenant's [`Mark`]; a
//! result decided under an older mark does not join any more but is decided again. So an answer to a
//! reduction, which itself joins behind its own mark, is never overtaken by an operation that was decided
//! before it.
//!
//! **Invariant:** only [`Sequencer::synced`] makes a [`Durable`], only a `Durable` opens a [`Sealed`]
//! answer into a [`Released`] one, and the shell can send nothing but a `Released`. Log indices and use
//! indices have no gap and never repeat.

use std::collections::BTreeMap;

use crate::handle::LinkId;
use crate::id::{KeyId, TenantId};

/// How many changes of a tenant's authority had taken effect when something was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Mark {
    /// Of what stands whatever authority does meanwhile: a refusal, a command, the service's own records.
    pub const STANDING: Self = Self(u64::MAX);

    /// The mark after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A position in the log: the number of a record, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogIndex(pub u64);

/// All records before this position are certainly on disk. Made by the sequencer alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    end: u64,
}

/// A result that may not leave yet.
#[derive(Debug)]
#[must_use]
pub struct Sealed<T> {
    result: T,
    position: LogIndex,
}

/// A result whose record is durable. There is no other way to make one.
#[derive(Debug)]
#[must_use]
pub struct Released<T>(T);

impl<T> Sealed<T> {
    /// Opens the result once its record is durable.
    ///
    /// # Errors
    ///
    /// Gives `self` back while its record is not.
    pub fn release(self, durable: Durable) -> Result<Released<T>, Self> {
        if self.position.0 < durable.end { Ok(Released(self.result)) } else { Err(self) }
    }
}

impl<T> Released<T> {
    /// The result, on its way out.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// What has its uses counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// A version of a key.
    Version(KeyId, u32),
    /// A link of a handle.
    Link(LinkId),
}

/// What a result has to do with a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Nothing.
    Nothing,
    /// It is the next use of this.
    Use(Counted),
    /// It says how many uses of this there are before it.
    SoFar(Counted),
}

/// What a result brings with it to be given its place.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Whose authority it was decided under.
    pub tenant: TenantId,
    /// And as of which mark.
    pub decided: Mark,
    /// What it is a use of, or states the uses of.
    pub counting: Counting,
}

/// The place that a result was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its record's position in the log.
    pub index: LogIndex,
    /// The number of this use of what is counted, from 0, without gaps; or how many there are before it.
    pub use_index: Option<u64>,
}

/// The result was decided under authority that has moved since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorityMoved;

/// A closed batch, to be written and synced.
#[derive(Debug)]
#[must_use]
pub struct Batch {
    /// The frame's number.
    pub frame: u64,
    /// The position of its first record.
    pub first: LogIndex,
    /// The position after its last.
    pub end: u64,
}

/// Gives results their places.
#[derive(Debug, Default)]
pub struct Sequencer {
    next_index: u64,
    batch_start: u64,
    next_frame: u64,
    synced_end: u64,
    marks: BTreeMap<TenantId, Mark>,
    uses: BTreeMap<Counted, u64>,
}

/// Where a log stood when it was read at start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The number of records.
    pub size: u64,
    /// The number of the frame that comes next.
    pub next_frame: u64,
    /// The use index that comes next, by what is counted.
    pub uses: BTreeMap<Counted, u64>,
}

impl Sequencer {
    /// Goes on from what is on disk.
    #[must_use]
    pub fn resume(recovered: Recovered) -> Self {
        Self {
            next_index: recovered.size,
            batch_start: recovered.size,
            next_frame: recovered.next_frame,
            synced_end: recovered.size,
            marks: BTreeMap::new(),
            uses: recovered.uses,
        }
    }

    /// A change took effect: what was decided under an older mark does not join any more.
    pub fn authority_moved(&mut self, tenant: TenantId, mark: Mark) {
        let current = self.marks.entry(tenant).or_default();
        *current = mark.max(*current);
    }

    /// Whether a result with this claim would join.
    ///
    /// # Errors
    ///
    /// [`AuthorityMoved`] if it has to be decided again.
    pub fn admit(&self, claim: &Claim) -> Result<(), AuthorityMoved> {
        let current = self.marks.get(&claim.tenant).copied().unwrap_or_default();
        if claim.decided < current { Err(AuthorityMoved) } else { Ok(()) }
    }

    /// Gives a result the next place in the open batch.
    ///
    /// # Errors
    ///
    /// [`AuthorityMoved`] if it has to be decided again; no index is spent.
    pub fn join(&mut self, claim: &Claim) -> Result<Seat, AuthorityMoved> {
        self.admit(claim)?;
        let index = LogIndex(self.next_index);
        self.next_index += 1;
        let use_index = match claim.counting {
            Counting::Nothing => None,
            Counting::Use(counted) => {
                let next = self.uses.entry(counted).or_default();
                let this = *next;
                *next += 1;
                Some(this)
            }
            Counting::SoFar(counted) => Some(self.uses.get(&counted).copied().unwrap_or_default()),
        };
        Ok(Seat { index, use_index })
    }

    /// Seals an answer to the place its record was given.
    pub fn seal<T>(&self, result: T, seat: &Seat) -> Sealed<T> {
        Sealed { result, position: seat.index }
    }

    /// How many records stand in the open batch.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.next_index - self.batch_start
    }

    /// Closes the open batch, if anything joined it.
    pub fn close(&mut self) -> Option<Batch> {
        if self.open() == 0 {
            return None;
        }
        let batch = Batch {
            frame: self.next_frame,
            first: LogIndex(self.batch_start),
            end: self.next_index,
        };
        self.next_frame += 1;
        self.batch_start = self.next_index;
        Some(batch)
    }

    /// The disk has the batch, for certain.
    ///
    /// # Panics
    ///
    /// If batches are said to be synced out of order: then nothing is known about what is durable.
    pub fn synced(&mut self, batch: &Batch) -> Durable {
        assert_eq!(batch.first.0, self.synced_end, "batches become durable in order");
        self.synced_end = batch.end;
        Durable { end: batch.end }
    }

    /// The use indices that come next, for the resume file.
    #[must_use]
    pub fn uses(&self) -> &BTreeMap<Counted, u64> {
        &self.uses
    }

    /// Forgets the links that are not remembered any more.
    pub fn forget_links(&mut self, is_remembered: impl Fn(LinkId) -> bool) {
        self.uses.retain(|counted, _| match counted {
            Counted::Version(..) => true,
            Counted::Link(link) => is_remembered(*link),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: Counted = Counted::Version(KeyId::from_bytes([7; 16]), 1);

    fn claim(decided: Mark) -> Claim {
        let tenant = TenantId::from_bytes([1; 16]);
        Claim { tenant, decided, counting: Counting::Use(VERSION) }
    }

    #[test]
    fn no_answer_leaves_before_its_batch_is_synced() {
        let mut sequencer = Sequencer::default();
        let seat = sequencer.join(&claim(Mark::default())).unwrap();
        let first = sequencer.seal("first", &seat);
        let one = sequencer.close().unwrap();
        let seat = sequencer.join(&claim(Mark::default())).unwrap();
        let second = sequencer.seal("second", &seat);
        let durable = sequencer.synced(&one);
        assert_eq!(first.release(durable).unwrap().into_inner(), "first");
        assert!(second.release(durable).is_err());
    }

    #[test]
    fn a_result_decided_before_a_reduction_does_not_join_after_it() {
        let mut sequencer = Sequencer::default();
        let tenant = TenantId::from_bytes([1; 16]);
        sequencer.authority_moved(tenant, Mark::default().next());
        assert_eq!(sequencer.join(&claim(Mark::default())), Err(AuthorityMoved));
        let seat = sequencer.join(&claim(Mark::default().next())).unwrap();
        assert_eq!(seat, Seat { index: LogIndex(0), use_index: Some(0) });
    }

    #[test]
    fn another_tenants_reduction_holds_nobody_up() {
        let mut sequencer = Sequencer::default();
        sequencer.authority_moved(TenantId::from_bytes([2; 16]), Mark::default().next());
        assert!(sequencer.join(&claim(Mark::default())).is_ok());
    }

    #[test]
    fn indices_go_on_after_a_restart_without_gap_or_repeat() {
        let mut sequencer = Sequencer::default();
        for expected in 0..3 {
            assert_eq!(sequencer.join(&claim(Mark::default())).unwrap().use_index, Some(expected));
        }
        let uses = sequencer.uses().clone();
        let mut resumed = Sequencer::resume(Recovered { size: 3, next_frame: 1, uses });
        let seat = resumed.join(&claim(Mark::default())).unwrap();
        assert_eq!(seat, Seat { index: LogIndex(3), use_index: Some(3) });
        assert_eq!(resumed.close().unwrap().frame, 1);
    }

    #[test]
    #[should_panic(expected = "batches become durable in order")]
    fn a_batch_synced_out_of_order_stops_the_service() {
        let mut sequencer = Sequencer::default();
        sequencer.join(&claim(Mark::default())).unwrap();
        let _first = sequencer.close().unwrap();
        sequencer.join(&claim(Mark::default())).unwrap();
        let second = sequencer.close().unwrap();
        let _ = sequencer.synced(&second);
    }

    #[test]
    fn a_statement_of_a_count_is_no_use() {
        let mut sequencer = Sequencer::default();
        let states = Claim { counting: Counting::SoFar(VERSION), ..claim(Mark::default()) };
        let mut joins = |claim: &Claim| sequencer.join(claim).unwrap().use_index;
        assert_eq!(joins(&states), Some(0));
        assert_eq!(joins(&claim(Mark::default())), Some(0));
        assert_eq!(joins(&states), Some(1));
        assert_eq!(joins(&states), Some(1));
        assert_eq!(joins(&claim(Mark::default())), Some(1));
    }
}
