//! What a process that holds secrets refuses to the rest of the machine.
//!
//! Invariant: after [`harden`] no core of the process is written, no other process of
//! the same user can trace it or read its memory, and `exec` gains no privilege.
//!
//! Seccomp filters and Landlock rules depend on what a process does and are not set
//! here.

use std::io;

pub use rustix::process::Signal;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getppid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::set_no_new_privs;

/// The process could not be hardened; it must not go on to hold secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HardenError {
    /// The size of core dumps could not be set to 0.
    #[error("core dumps could not be switched off")]
    CoreLimit {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The process could not be made non-dumpable.
    #[error("the process could not be made non-dumpable")]
    Dumpable {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// New privileges could not be given up.
    #[error("new privileges could not be given up")]
    NewPrivileges {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The process could not be tied to its parent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParentError {
    /// The parent is already gone.
    #[error("the parent should be process {expected}, found {found}")]
    Gone {
        /// The parent that was named.
        expected: u32,
        /// The parent there is; 0 if it cannot be seen from here.
        found: u32,
    },
    /// The signal could not be set.
    #[error("the signal for the parent's death could not be set")]
    Signal {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Switches off core dumps, tracing by the same user, and gaining privileges.
///
/// `PR_SET_DUMPABLE` also hands the process's own `/proc` directory to root, so that a
/// process of an ordinary user may no longer read its own `maps`. `RLIMIT_CORE` is set
/// hard: it cannot be raised again. `PR_SET_NO_NEW_PRIVS` binds the calling thread and
/// those it starts later; call this before starting any.
///
/// # Errors
///
/// [`HardenError`] for the first of these that the kernel refuses.
pub fn harden() -> Result<(), HardenError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| HardenError::Dumpable { source: error.into() })?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(|error| HardenError::CoreLimit { source: error.into() })?;
    set_no_new_privs(true).map_err(|error| HardenError::NewPrivileges { source: error.into() })
}

/// Has the kernel send `signal` to this process when `parent` dies.
///
/// `parent` is the process id that the parent itself handed down. It is compared after
/// the signal is set, since a parent that died before that sends none. The kernel
/// means the parent's *thread* that started this process, not all of the parent.
///
/// # Errors
///
/// [`ParentError::Gone`] if the parent is another one by now; the process should end.
pub fn die_with_parent(signal: Signal, parent: u32) -> Result<(), ParentError> {
    set_parent_process_death_signal(Some(signal))
        .map_err(|error| ParentError::Signal { source: error.into() })?;
    let found = getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
    if found != parent {
        return Err(ParentError::Gone { expected: parent, found });
    }
    Ok(())
}
