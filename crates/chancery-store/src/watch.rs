//! Watches: what was committed, in order, to whoever keeps up.
//!
//! A driver owns one [`Feed`], tells it of every committed transaction, and hands out
//! [`Watch`]es. The feed remembers the last transactions in memory (at most
//! [`HISTORY_CHANGES_MAX`] changes and [`HISTORY_BYTES_MAX`] bytes), so that a watch may start a
//! little in the past; nothing of it survives the process.
//!
//! **Invariant:** a watch gives every change after its start, in the order of commits and each
//! once, or an error. An error is final: the watcher reads the rows anew and watches from the
//! revision it read.
//!
//! A transaction's changes come together and in the order of its writes, but one at a time; a
//! watcher that needs whole transactions compares revisions. A transaction whose outcome is
//! unknown is never given.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::row::{Length, Revision, RowName};
use crate::transaction::{TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};

/// The most changes that a feed remembers: four transactions of the largest kind, or some seconds
/// of ordinary administration, which is what a reconnecting watcher misses.
pub const HISTORY_CHANGES_MAX: usize = 512;

/// The most bytes that a feed remembers: 2 MiB.
pub const HISTORY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The most changes that wait for one watcher: a whole history and as much again.
pub const QUEUE_CHANGES_MAX: usize = 2 * HISTORY_CHANGES_MAX;

/// The most bytes that wait for one watcher: 4 MiB.
pub const QUEUE_BYTES_MAX: usize = 2 * HISTORY_BYTES_MAX;

/// The most watches on one store: the signer's caches use a few.
pub const WATCHES_MAX: usize = 16;

// One transaction of the largest kind fits in the history, and a history in a queue.
const _: () = assert!(TRANSACTION_OPERATIONS_MAX <= HISTORY_CHANGES_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX <= HISTORY_BYTES_MAX);
const _: () = assert!(HISTORY_CHANGES_MAX + TRANSACTION_OPERATIONS_MAX <= QUEUE_CHANGES_MAX);
const _: () = assert!(HISTORY_BYTES_MAX + TRANSACTION_BYTES_MAX <= QUEUE_BYTES_MAX);

/// One row's part in a committed transaction.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// The transaction.
    pub revision: Revision,
    /// The row.
    pub name: RowName,
    /// Its new value, or none if it was deleted.
    pub value: Option<Vec<u8>>,
}

impl Change {
    fn bytes(&self) -> usize {
        self.name.as_bytes().len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("revision", &self.revision)
            .field("name", &self.name)
            .field("value", &self.value.as_deref().map(Length))
            .finish()
    }
}

/// A watch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The store no longer holds all changes since the start of the watch. The watcher came too
    /// late and reads anew.
    #[error("the changes since the start of the watch are no longer held")]
    Compacted,
    /// More changes waited than a queue holds. The watcher was too slow and reads anew.
    #[error("the watcher fell too far behind")]
    Lagged,
    /// The store was closed or has failed.
    #[error("the store is unavailable")]
    Unavailable,
}

/// The store has [`WATCHES_MAX`] watches already. The caller is at fault: it drops one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {WATCHES_MAX} watches already")]
pub struct WatchesExhausted;

/// The changes committed after some revision.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<Queue>,
}

impl Watch {
    /// The next change, or none if there is none within `wait`.
    ///
    /// # Errors
    ///
    /// [`WatchError`] once the watch has ended. Changes that waited when the store closed are
    /// given first; those of a watcher that lagged are not.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Change>, WatchError> {
        let waiting = self.queue.waiting();
        let idle = |waiting: &mut Waiting| waiting.changes.is_empty() && waiting.end.is_none();
        let (mut waiting, _) = self
            .queue
            .ready
            .wait_timeout_while(waiting, wait, idle)
            .unwrap_or_else(PoisonError::into_inner);
        match (waiting.changes.pop_front(), waiting.end) {
            (Some(change), _) => {
                waiting.bytes -= change.bytes();
                Ok(Some(change))
            }
            (None, Some(end)) => Err(end),
            (None, None) => Ok(None),
        }
    }
}

#[derive(Debug)]
struct Queue {
    from: Revision,
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    changes: VecDeque<Change>,
    bytes: usize,
    end: Option<WatchError>,
}

impl Queue {
    fn new(from: Revision) -> Self {
        Self { from, waiting: Mutex::default(), ready: Condvar::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, committed: &Committed) {
        if committed.revision <= self.from {
            return;
        }
        let mut waiting = self.waiting();
        if waiting.end.is_some() {
            return;
        }
        if waiting.has_room_for(committed) {
            waiting.bytes += committed.bytes;
            waiting.changes.extend(committed.changes.iter().cloned());
        } else {
            *waiting = Waiting { end: Some(WatchError::Lagged), ..Waiting::default() };
        }
        drop(waiting);
        self.ready.notify_all();
    }

    fn end(&self, end: WatchError) {
        self.waiting().end.get_or_insert(end);
        self.ready.notify_all();
    }
}

impl Waiting {
    fn has_room_for(&self, committed: &Committed) -> bool {
        self.changes.len() + committed.changes.len() <= QUEUE_CHANGES_MAX
            && self.bytes + committed.bytes <= QUEUE_BYTES_MAX
    }
}

#[derive(Debug)]
struct Committed {
    revision: Revision,
    changes: Vec<Change>,
    bytes: usize,
}

/// A driver's side of its watches.
#[derive(Debug)]
pub struct Feed {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Every transaction after this one is in `history`.
    held_after: Revision,
    history: VecDeque<Committed>,
    history_changes: usize,
    history_bytes: usize,
    queues: Vec<Weak<Queue>>,
    closed: bool,
}

impl Feed {
    /// A feed of a store that is at `revision`; it holds nothing earlier.
    #[must_use]
    pub fn new(revision: Revision) -> Self {
        Self {
            state: Mutex::new(State {
                held_after: revision,
                history: VecDeque::new(),
                history_changes: 0,
                history_bytes: 0,
                queues: Vec::new(),
                closed: false,
            }),
        }
    }

    /// Tells of a committed transaction. The driver calls this in the order of revisions.
    pub fn publish(&self, revision: Revision, changes: Vec<Change>) {
        let bytes = changes.iter().map(Change::bytes).sum();
        let committed = Committed { revision, changes, bytes };
        let mut state = self.state();
        state.queues.retain(|queue| match queue.upgrade() {
            Some(queue) => {
                queue.offer(&committed);
                true
            }
            None => false,
        });
        state.remember(committed);
    }

    /// Starts a watch behind `from`.
    ///
    /// # Errors
    ///
    /// [`WatchesExhausted`] if there are [`WATCHES_MAX`] already.
    pub fn subscribe(&self, from: Revision) -> Result<Watch, WatchesExhausted> {
        let mut state = self.state();
        state.queues.retain(|queue| queue.strong_count() > 0);
        if state.queues.len() >= WATCHES_MAX {
            return Err(WatchesExhausted);
        }
        let queue = Arc::new(Queue::new(from));
        if from < state.held_after {
            queue.end(WatchError::Compacted);
        } else {
            state.history.iter().for_each(|committed| queue.offer(committed));
        }
        if state.closed {
            queue.end(WatchError::Unavailable);
        }
        state.queues.push(Arc::downgrade(&queue));
        Ok(Watch { queue })
    }

    /// Ends every watch, once it has given what waits.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for queue in state.queues.drain(..).filter_map(|queue| queue.upgrade()) {
            queue.end(WatchError::Unavailable);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    fn remember(&mut self, committed: Committed) {
        self.history_changes += committed.changes.len();
        self.history_bytes += committed.bytes;
        self.history.push_back(committed);
        while self.is_over_full() {
            let Some(oldest) = self.history.pop_front() else { return };
            self.history_changes -= oldest.changes.len();
            self.history_bytes -= oldest.bytes;
            self.held_after = oldest.revision;
        }
    }

    /// A transaction without a change takes room too.
    fn is_over_full(&self) -> bool {
        self.history_changes > HISTORY_CHANGES_MAX
            || self.history_bytes > HISTORY_BYTES_MAX
            || self.history.len() > HISTORY_CHANGES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64, bytes: usize) -> (Revision, Vec<Change>) {
        let revision = Revision::new(revision);
        let name = RowName::new(*b"n").unwrap();
        (revision, vec![Change { revision, name, value: Some(vec![0; bytes]) }])
    }

    fn publish(feed: &Feed, revision: u64, bytes: usize) {
        let (revision, changes) = change(revision, bytes);
        feed.publish(revision, changes);
    }

    fn next(watch: &mut Watch) -> Result<Option<u64>, WatchError> {
        watch.next(Duration::ZERO).map(|next| next.map(|change| change.revision.get()))
    }

    #[test]
    fn the_history_forgets_by_bytes_too() {
        let feed = Feed::new(Revision::ZERO);
        let half = HISTORY_BYTES_MAX / 2 - 1;
        publish(&feed, 1, half);
        publish(&feed, 2, half);
        assert_eq!(next(&mut feed.subscribe(Revision::ZERO).unwrap()), Ok(Some(1)));
        publish(&feed, 3, 0);
        let mut late = feed.subscribe(Revision::ZERO).unwrap();
        assert_eq!(next(&mut late), Err(WatchError::Compacted));
        assert_eq!(next(&mut feed.subscribe(Revision::new(1)).unwrap()), Ok(Some(2)));
    }

    #[test]
    fn a_queue_lags_by_bytes_too() {
        let feed = Feed::new(Revision::ZERO);
        let mut watch = feed.subscribe(Revision::ZERO).unwrap();
        (1..=4).for_each(|revision| publish(&feed, revision, QUEUE_BYTES_MAX / 4 - 1));
        publish(&feed, 5, 0);
        assert_eq!(next(&mut watch), Err(WatchError::Lagged));
        assert_eq!(next(&mut watch), Err(WatchError::Lagged));
    }

    #[test]
    fn what_was_taken_makes_room() {
        let feed = Feed::new(Revision::ZERO);
        let mut watch = feed.subscribe(Revision::ZERO).unwrap();
        for revision in 1..=10 {
            publish(&feed, revision, QUEUE_BYTES_MAX / 2);
            assert_eq!(next(&mut watch), Ok(Some(revision)));
        }
        assert_eq!(next(&mut watch), Ok(None));
    }

    #[test]
    fn a_transaction_without_changes_moves_the_history() {
        let feed = Feed::new(Revision::ZERO);
        let count = HISTORY_CHANGES_MAX as u64 + 1;
        (1..=count).for_each(|revision| feed.publish(Revision::new(revision), Vec::new()));
        let mut late = feed.subscribe(Revision::ZERO).unwrap();
        assert_eq!(next(&mut late), Err(WatchError::Compacted));
        assert_eq!(next(&mut feed.subscribe(Revision::new(1)).unwrap()), Ok(None));
    }

    #[test]
    fn closing_gives_what_waits_and_then_ends() {
        let feed = Feed::new(Revision::ZERO);
        let mut watch = feed.subscribe(Revision::ZERO).unwrap();
        publish(&feed, 1, 1);
        drop(feed);
        assert_eq!(next(&mut watch), Ok(Some(1)));
        assert_eq!(next(&mut watch), Err(WatchError::Unavailable));
    }

    #[test]
    fn watches_are_counted_while_they_live() {
        let feed = Feed::new(Revision::ZERO);
        let mut watches: Vec<_> =
            (0..WATCHES_MAX).map(|_| feed.subscribe(Revision::ZERO).unwrap()).collect();
        assert_eq!(feed.subscribe(Revision::ZERO).unwrap_err(), WatchesExhausted);
        watches.pop();
        assert!(feed.subscribe(Revision::ZERO).is_ok());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "who waits is woken from another thread")]
    fn a_waiting_watcher_is_woken() {
        let feed = Feed::new(Revision::ZERO);
        let mut watch = feed.subscribe(Revision::ZERO).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(move || watch.next(Duration::from_secs(30)));
            publish(&feed, 1, 1);
            assert!(matches!(waiter.join().unwrap(), Ok(Some(_))));
        });
    }
}
