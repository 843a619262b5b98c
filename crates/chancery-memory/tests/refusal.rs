//! That an arena beyond the limit on locked memory is refused with advice.
//!
//! In a file, and so a process, of its own, since it lowers the process's limit.

use chancery_memory::{Arena, ArenaError, ArenaKind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Less than the default arena wants.
const LIMIT: u64 = 1 << 20;

#[test]
fn a_refused_lock_says_what_to_raise() {
    let maximum = getrlimit(Resource::Memlock).maximum;
    setrlimit(Resource::Memlock, Rlimit { current: Some(LIMIT), maximum }).unwrap();
    // A process with this capability is above the limit.
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, sets).unwrap();

    let refused = Arena::with_kind(ArenaKind::Locked, 4 << 20).unwrap_err();
    assert!(matches!(refused, ArenaError::LockRefused { wanted: 4_194_304, limit: LIMIT, .. }));
    assert!(refused.to_string().contains("ulimit -l"));
    let refused = Arena::new().unwrap_err();
    assert!(matches!(refused, ArenaError::LockRefused { limit: LIMIT, .. }));
    assert!(Arena::with_capacity(1 << 16).is_ok());
}
