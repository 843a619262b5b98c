//! Bytes that may be held in memory: by a runtime, or, as a part of that, by one of its connections.
//!
//! There is one for bodies that are being read, and one for answers that are not sent yet.

use std::cell::Cell;
use std::rc::Rc;

use crate::limits::CONNECTIONS_TO_FILL_A_ROOM;

/// The bytes that may be held, and those that are.
#[derive(Debug)]
pub(crate) struct Room {
    taken: Cell<usize>,
    most: usize,
    within: Option<Rc<Room>>,
}

/// Bytes that are held; gives them back when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    bytes: usize,
    room: Rc<Room>,
}

impl Room {
    /// A runtime's.
    pub(crate) fn of_runtime(most: usize) -> Rc<Self> {
        Rc::new(Self { taken: Cell::new(0), most, within: None })
    }

    /// A connection's share: nobody fills all of it over one connection.
    pub(crate) fn of_connection(runtime: &Rc<Self>) -> Rc<Self> {
        let most = runtime.most / CONNECTIONS_TO_FILL_A_ROOM;
        Rc::new(Self { taken: Cell::new(0), most, within: Some(Rc::clone(runtime)) })
    }

    /// Nothing, to which bytes can be added.
    pub(crate) fn nothing(self: &Rc<Self>) -> Taken {
        Taken { bytes: 0, room: Rc::clone(self) }
    }

    /// Whether there is room for so many bytes.
    pub(crate) fn has(&self, bytes: usize) -> bool {
        self.taken.get() + bytes <= self.most
            && self.within.as_ref().is_none_or(|within| within.has(bytes))
    }

    /// Takes room for so many bytes, if there is as much.
    pub(crate) fn take(self: &Rc<Self>, bytes: usize) -> Option<Taken> {
        let mut taken = self.nothing();
        taken.add(bytes).then_some(taken)
    }

    fn change(&self, by: impl Fn(usize) -> usize + Copy) {
        self.taken.set(by(self.taken.get()));
        if let Some(within) = &self.within {
            within.change(by);
        }
    }
}

impl Taken {
    /// Takes so many bytes more, if there is room for them.
    #[must_use]
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        let has = self.room.has(bytes);
        if has {
            self.bytes += bytes;
            self.room.change(|taken| taken + bytes);
        }
        has
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let bytes = self.bytes;
        self.room.change(|taken| taken.saturating_sub(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let room = Room::of_runtime(10);
        let mut taken = room.nothing();
        assert!(taken.add(3) && taken.add(7) && !taken.add(1));
        assert!(room.take(1).is_none());
        drop(taken);
        assert!(room.take(10).is_some());
        assert_eq!(room.taken.get(), 0);
    }

    #[test]
    fn one_connection_leaves_room_for_others() {
        const SHARE: usize = 5;
        let runtime = Room::of_runtime(SHARE * CONNECTIONS_TO_FILL_A_ROOM);
        let (one, other) = (Room::of_connection(&runtime), Room::of_connection(&runtime));
        let held = one.take(SHARE).unwrap();
        assert!(!one.has(1) && other.has(1));
        let rest = runtime.take(SHARE * (CONNECTIONS_TO_FILL_A_ROOM - 1)).unwrap();
        assert!(!other.has(1));
        drop(held);
        assert!(other.has(1) && one.has(1));
        drop(rest);
        assert_eq!(runtime.taken.get(), 0);
    }
}
