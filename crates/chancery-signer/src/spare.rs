//! The next segment, made in the background before it is needed.
//!
//! The mode *audit full* is judged here, by preallocated room and never by free-space figures: while the
//! next segment cannot be had, only reductions are taken, and they go into what is left of the open one.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use chancery_audit::disk::Disk;
use chancery_audit::wal::{WalError, prepare_spare};

use crate::counters::lock;

/// How long to wait before trying again to make room.
const RETRY: Duration = Duration::from_secs(5);

/// How long a full segment waits for the next: 10 s, far longer than making it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nothing waits in the journal.
const NOT_HELD: u8 = 0;
/// Something does, until there is room.
const UNTIL_RESTART: u8 = 1;
/// Something does, and the process is about to end.
const FOR_GOOD: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    NoRoom,
    Ready,
}

/// The next segment.
pub(crate) struct Spare {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether reductions wait in the journal: the mode lasts until a new start has recorded them.
    hold: AtomicU8,
}

impl Spare {
    /// Starts the thread that makes it.
    pub(crate) fn start(disk: Arc<dyn Disk>, segment_bytes: u64) -> Arc<Self> {
        let spare = Arc::new(Self {
            state: Mutex::new(State::Missing),
            changed: Condvar::new(),
            hold: AtomicU8::new(NOT_HELD),
        });
        let made = Arc::clone(&spare);
        std::thread::spawn(move || made.make(&*disk, segment_bytes));
        spare
    }

    /// Whether the mode is *audit full*.
    pub(crate) fn is_full(&self) -> bool {
        self.hold.load(Ordering::Acquire) != NOT_HELD || *lock(&self.state) == State::NoRoom
    }

    /// Keeps the mode until there is room and the process starts anew.
    pub(crate) fn hold_until_restart(&self) {
        self.hold.fetch_max(UNTIL_RESTART, Ordering::AcqRel);
    }

    /// Keeps the mode to the end of the process, which is near.
    pub(crate) fn hold_for_good(&self) {
        self.hold.fetch_max(FOR_GOOD, Ordering::AcqRel);
    }

    /// Whether a new start could record what waits.
    pub(crate) fn wants_restart(&self) -> bool {
        self.hold.load(Ordering::Acquire) == UNTIL_RESTART && self.is_ready()
    }

    /// Whether it is there.
    pub(crate) fn is_ready(&self) -> bool {
        *lock(&self.state) == State::Ready
    }

    /// Waits until it is there.
    ///
    /// # Errors
    ///
    /// [`WalError::NoRoom`] if it is not there after [`PATIENCE`]: what waits to be recorded cannot be, and
    /// so cannot leave.
    pub(crate) fn wait(&self) -> Result<(), WalError> {
        let state = lock(&self.state);
        let is_missing = |state: &mut State| *state != State::Ready;
        let waited = self.changed.wait_timeout_while(state, PATIENCE, is_missing);
        let (state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        if *state == State::Ready {
            return Ok(());
        }
        Err(WalError::NoRoom(std::io::ErrorKind::StorageFull.into()))
    }

    /// It became the open segment; another is wanted.
    pub(crate) fn taken(&self) {
        *lock(&self.state) = State::Missing;
        self.changed.notify_all();
    }

    fn make(&self, disk: &dyn Disk, segment_bytes: u64) {
        loop {
            let mut state = lock(&self.state);
            while *state == State::Ready {
                state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            drop(state);
            let made = prepare_spare(disk, segment_bytes);
            *lock(&self.state) = if made.is_ok() { State::Ready } else { State::NoRoom };
            self.changed.notify_all();
            if let Err(error) = made {
                eprintln!(
                    "chancery signer: {error}; only reductions are taken until there is room"
                );
                std::thread::sleep(RETRY);
            }
        }
    }
}
