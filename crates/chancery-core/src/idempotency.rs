//! The same operation id applies once and answers the same.
//!
//! An id is reserved when the operation is decided and completed when its record is durable. The index is
//! keyed by a keyed hash of tenant, principal and id, so it holds no id in clear, and it is bounded: a
//! full index refuses new ids and never forgets an old one early.
//!
//! **Invariant:** an entry leaves exactly when `id time + retention < high-water mark`, the comparison by
//! which an id is refused as stale. So an id is at every moment either remembered or refused. Where the log was begun anew
//! in the place of one that was retired, what that one had carried out is not remembered: every id that it can have taken
//! is refused as stale.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::millis;
use crate::limits::{CLOCK_DRIFT_MAX, IDEMPOTENCY_ENTRIES_MAX, OPERATION_RETENTION};
use crate::reason::Reason;

/// A keyed hash of (tenant, principal, operation id).
pub type EntryName = [u8; 32];

/// A hash of the request, under the same key.
pub type RequestDigest = [u8; 32];

/// Where a completed operation's answer stands in the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the frame stands, as the audit counts.
    pub address: u64,
    /// The item in the frame.
    pub item: u32,
}

/// What reserving an id found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// The id is new and now reserved.
    New,
    /// The operation was carried out; its answer stands there.
    Done(Place),
}

/// What became of an earlier attempt under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was carried out.
    Done,
    /// It is being carried out.
    InFlight,
}

/// How much of the index an id may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// All but what is kept for commands.
    Use,
    /// All of it.
    Command,
    /// More than there is: nobody is kept from taking authority away, and what is stored is not forgotten.
    Reduction,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    digest: RequestDigest,
    id_ms: u64,
    place: Option<Place>,
}

/// The index of operation ids.
#[derive(Debug)]
pub struct Index {
    entries: BTreeMap<EntryName, Entry>,
    by_time: BTreeSet<(u64, EntryName)>,
    entries_max: usize,
    uses_max: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self::with_room_for(IDEMPOTENCY_ENTRIES_MAX)
    }
}

impl Index {
    /// An index of at most `entries_max` ids.
    #[must_use]
    pub fn with_room_for(entries_max: usize) -> Self {
        // A part in sixteen is for commands, whatever holders of handles do.
        let uses_max = entries_max - entries_max / 16;
        Self { entries: BTreeMap::new(), by_time: BTreeSet::new(), entries_max, uses_max }
    }

    /// Reserves an id dated `id_ms` at the time `now_ms`.
    ///
    /// # Errors
    ///
    /// The [`Reason`] if the id is stale, dated ahead, in flight, taken by another request, or the index
    /// is full.
    pub fn reserve(
        &mut self,
        name: EntryName,
        digest: RequestDigest,
        dated: Dated,
        room: Room,
    ) -> Result<Reservation, Reason> {
        dated.check()?;
        self.expire(dated.now_ms);
        match self.entries.get(&name) {
            Some(entry) if entry.digest != digest => Err(Reason::OperationIdReused),
            Some(Entry { place: Some(place), .. }) => Ok(Reservation::Done(*place)),
            Some(_) => Err(Reason::OperationInFlight),
            None if self.entries.len() >= self.most(room) => Err(Reason::Overloaded),
            None => {
                self.entries.insert(name, Entry { digest, id_ms: dated.id_ms, place: None });
                self.by_time.insert((dated.id_ms, name));
                Ok(Reservation::New)
            }
        }
    }

    fn most(&self, room: Room) -> usize {
        match room {
            Room::Use => self.uses_max,
            Room::Command => self.entries_max,
            Room::Reduction => usize::MAX,
        }
    }

    /// The operation's record is durable.
    pub fn complete(&mut self, name: &EntryName, place: Place) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.place = Some(place);
        }
    }

    /// What became of an earlier attempt at this very request, if there was one.
    #[must_use]
    pub fn attempt(&self, name: &EntryName, digest: &RequestDigest) -> Option<Attempt> {
        let entry = self.entries.get(name).filter(|entry| entry.digest == *digest)?;
        Some(if entry.place.is_some() { Attempt::Done } else { Attempt::InFlight })
    }

    /// Where the answer to an id stands, if it was carried out; `None` inside while it is in flight.
    #[must_use]
    pub fn look_up(&self, name: &EntryName) -> Option<Option<Place>> {
        self.entries.get(name).map(|entry| entry.place)
    }

    /// The operation had no effect: its id is free again, unless an earlier one was carried out under it.
    pub fn release_unfinished(&mut self, name: &EntryName, id_ms: u64) {
        if self.entries.get(name).is_some_and(|entry| entry.place.is_none()) {
            self.entries.remove(name);
            self.by_time.remove(&(id_ms, *name));
        }
    }

    /// Puts an entry back that was read from the audit at start.
    pub fn restore(&mut self, name: EntryName, digest: RequestDigest, id_ms: u64, place: Place) {
        self.entries.insert(name, Entry { digest, id_ms, place: Some(place) });
        self.by_time.insert((id_ms, name));
    }

    /// The ids of operations that were carried out: name, digest, time in the id, place.
    pub fn finished(&self) -> impl Iterator<Item = (EntryName, RequestDigest, u64, Place)> {
        let entries = self.entries.iter();
        entries.filter_map(|(name, entry)| Some((*name, entry.digest, entry.id_ms, entry.place?)))
    }

    /// How many ids are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no id is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn expire(&mut self, now_ms: u64) {
        while let Some(&(id_ms, name)) = self.by_time.first() {
            // One that grew stale in flight goes too: a repeat of it is refused as stale.
            if !is_stale(id_ms, now_ms) {
                break;
            }
            self.by_time.pop_first();
            self.entries.remove(&name);
        }
    }
}

/// An id's own time beside ours.
#[derive(Clone, Copy, Debug)]
pub struct Dated {
    /// The time in the id, in milliseconds since 1970.
    pub id_ms: u64,
    /// The high-water mark.
    pub now_ms: u64,
    /// The latest that it can be; the mark, while the clock is believed.
    pub latest_ms: u64,
    /// The latest date that an id can bear of which this log cannot know, since it was carried out under a log that was
    /// retired; 0 where there was none.
    pub unknown_to_ms: u64,
}

impl Dated {
    fn check(self) -> Result<(), Reason> {
        let is_ahead = self.id_ms > self.latest_ms.saturating_add(millis(CLOCK_DRIFT_MAX));
        let is_unknown = self.id_ms <= self.unknown_to_ms && self.unknown_to_ms > 0;
        if is_ahead || is_unknown || is_stale(self.id_ms, self.now_ms) {
            return Err(Reason::OperationIdStale);
        }
        Ok(())
    }
}

fn is_stale(id_ms: u64, now_ms: u64) -> bool {
    id_ms.saturating_add(millis(OPERATION_RETENTION)) < now_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { address: 3, item: 1 };

    fn at(id_ms: u64, now_ms: u64) -> Dated {
        Dated { id_ms, now_ms, latest_ms: now_ms, unknown_to_ms: 0 }
    }

    #[test]
    fn an_id_applies_once_and_answers_the_same() {
        let mut index = Index::default();
        let mut reserve = |digest| index.reserve([1; 32], [digest; 32], at(10, 10), Room::Use);
        assert_eq!(reserve(1), Ok(Reservation::New));
        assert_eq!(reserve(1), Err(Reason::OperationInFlight));
        index.complete(&[1; 32], PLACE);
        let mut reserve = |digest| index.reserve([1; 32], [digest; 32], at(10, 10), Room::Use);
        assert_eq!(reserve(1), Ok(Reservation::Done(PLACE)));
        assert_eq!(reserve(2), Err(Reason::OperationIdReused));
    }

    #[test]
    fn an_id_is_at_every_moment_remembered_or_refused() {
        let retention = millis(OPERATION_RETENTION);
        let mut index = Index::default();
        index.reserve([1; 32], [1; 32], at(10, 10), Room::Use).unwrap();
        index.complete(&[1; 32], PLACE);
        let last = 10 + retention;
        assert_eq!(
            index.reserve([1; 32], [1; 32], at(10, last), Room::Use),
            Ok(Reservation::Done(PLACE))
        );
        assert_eq!(
            index.reserve([1; 32], [1; 32], at(10, last + 1), Room::Use),
            Err(Reason::OperationIdStale)
        );
        index.reserve([2; 32], [1; 32], at(last, last + 1), Room::Use).unwrap();
        assert_eq!(index.len(), 1);
    }

    #[test]
    fn an_id_that_a_retired_log_can_have_taken_is_refused() {
        let mut index = Index::default();
        let mut reserve = |n: u8, id_ms| {
            let dated = Dated { unknown_to_ms: 50, ..at(id_ms, 40) };
            index.reserve([n; 32], [1; 32], dated, Room::Command)
        };
        assert_eq!(reserve(1, 30), Err(Reason::OperationIdStale));
        assert_eq!(reserve(1, 50), Err(Reason::OperationIdStale));
        assert_eq!(reserve(2, 51), Ok(Reservation::New));
    }

    #[test]
    fn an_id_dated_ahead_is_refused() {
        let drift = millis(CLOCK_DRIFT_MAX);
        let mut index = Index::default();
        assert_eq!(
            index.reserve([1; 32], [1; 32], at(10 + drift, 10), Room::Use),
            Ok(Reservation::New)
        );
        assert_eq!(
            index.reserve([2; 32], [1; 32], at(11 + drift, 10), Room::Use),
            Err(Reason::OperationIdStale)
        );
    }

    #[test]
    fn uses_leave_room_for_commands_and_a_reduction_always_has_some() {
        let mut index = Index::with_room_for(16);
        let mut reserve = |n: u8, room| index.reserve([n; 32], [1; 32], at(10, 10), room);
        for n in 1..=15 {
            assert_eq!(reserve(n, Room::Use), Ok(Reservation::New));
        }
        assert_eq!(reserve(16, Room::Use), Err(Reason::Overloaded));
        assert_eq!(reserve(16, Room::Command), Ok(Reservation::New));
        assert_eq!(reserve(17, Room::Command), Err(Reason::Overloaded));
        assert_eq!(reserve(17, Room::Reduction), Ok(Reservation::New));
    }

    #[test]
    fn a_full_index_refuses_and_evicts_nothing() {
        let mut index = Index::with_room_for(1);
        index.reserve([1; 32], [1; 32], at(10, 10), Room::Use).unwrap();
        assert_eq!(index.reserve([2; 32], [1; 32], at(10, 10), Room::Use), Err(Reason::Overloaded));
        index.release_unfinished(&[1; 32], 10);
        assert_eq!(index.reserve([2; 32], [1; 32], at(10, 10), Room::Use), Ok(Reservation::New));
    }
}
