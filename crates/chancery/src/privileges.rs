//! What a child gives up of what its supervisor may: its user, and every capability.
//!
//! Follows credentials(7) and capabilities(7).
//!
//! **Invariant:** after [`become_user`] every id of the process is that user's, it is in no group but the
//! user's own, and neither can be undone. After it, as after [`drop_capabilities`], no capability is permitted,
//! effective, inheritable or ambient; after [`drop_capabilities_but_for_locking`] at most `CAP_IPC_LOCK` is.
//!
//! The kernel keeps all of this for each thread, so that a process with more than one is refused. Giving up
//! the user also clears the signal of the parent's death and makes the process dumpable again: both are set
//! afterwards.
//!
//! What it does not do: say which files and system calls are left ([`crate::sandbox`]).

use std::fs;

use anyhow::{Context as _, Result, ensure};
use chancery_memory::ARENA_BYTES;
use rustix::process::{
    Gid, Resource, Rlimit, Uid, getegid, geteuid, getgid, getgroups, getrlimit, getuid, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_ambient_set,
    capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

/// A user other than root, with its own group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Its number.
    pub(crate) uid: Uid,
    /// Its group's number.
    pub(crate) gid: Gid,
}

/// What root needs to run a child as another user, each with what it is needed for.
const TO_RUN_ANOTHER: [(CapabilitySet, &str); 4] = [
    (CapabilitySet::SETUID, "CAP_SETUID, for its user"),
    (CapabilitySet::SETGID, "CAP_SETGID, for its group"),
    (CapabilitySet::CHOWN, "CAP_CHOWN, for the signer's socket"),
    (CapabilitySet::KILL, "CAP_KILL, to stop it, and to have it end with its supervisor"),
];

/// The arena, and as much again for libraries that lock memory of their own: 8 MiB, the usual limit.
const LOCKED_BYTES: u64 = 2 * ARENA_BYTES as u64;

/// Checks that this process may run a child as another user.
///
/// # Errors
///
/// What it lacks. Root of a container may have been left little.
pub(crate) fn may_run_another_user() -> Result<()> {
    let held = held()?.effective;
    for (capability, what) in TO_RUN_ANOTHER {
        ensure!(
            held.contains(capability),
            "the front has a user of its own, and root lacks {what}"
        );
    }
    Ok(())
}

/// Becomes another user for good, without a capability.
///
/// # Errors
///
/// What the kernel refused; the process must not go on.
pub(crate) fn become_user(user: User) -> Result<()> {
    let before = (getuid(), getgid());
    alone()?;
    empty_bounding_set()?;
    set_thread_groups(&[]).context("cannot leave the groups")?;
    set_thread_res_gid(user.gid, user.gid, user.gid).context("cannot change the group")?;
    set_thread_res_uid(user.uid, user.uid, user.uid).context("cannot change the user")?;
    reduce_to(CapabilitySet::empty())?;
    ensure!(is(user), "the user was changed, and is not the one that was asked for");
    ensure!(!can_return(before), "the user was changed, and can be changed back");
    Ok(())
}

/// Keeps the user and gives every capability up. Root owns its files without one.
///
/// # Errors
///
/// What the kernel refused; the process must not go on.
pub(crate) fn drop_capabilities() -> Result<()> {
    keep(CapabilitySet::empty())
}

/// As [`drop_capabilities`], for a process that locks memory. It is given a limit that lets it; where the system
/// sets a lower one and does not let it be raised, `CAP_IPC_LOCK` is kept, which needs no limit.
///
/// # Errors
///
/// What the kernel refused; the process must not go on.
pub(crate) fn drop_capabilities_but_for_locking() -> Result<()> {
    let unlimited = Rlimit { current: None, maximum: None };
    let limit = getrlimit(Resource::Memlock).current;
    let is_enough = limit.is_none_or(|bytes| bytes >= LOCKED_BYTES);
    if is_enough || setrlimit(Resource::Memlock, unlimited).is_ok() {
        return drop_capabilities();
    }
    keep(held()?.permitted & CapabilitySet::IPC_LOCK)
}

fn keep(kept: CapabilitySet) -> Result<()> {
    alone()?;
    empty_bounding_set()?;
    reduce_to(kept)
}

fn held() -> Result<CapabilitySets> {
    capabilities(None).context("cannot read this process's capabilities")
}

fn alone() -> Result<()> {
    let threads = fs::read_dir("/proc/self/task").context("cannot count this process's threads")?;
    ensure!(threads.count() == 1, "privileges are given up by one thread alone");
    Ok(())
}

fn is(user: User) -> bool {
    let no_groups = getgroups().is_ok_and(|groups| groups.is_empty());
    no_groups && [getuid(), geteuid()] == [user.uid; 2] && [getgid(), getegid()] == [user.gid; 2]
}

/// Whether an id is still at hand, as a saved one would be; what comes back is as good as lost.
fn can_return((uid, gid): (Uid, Gid)) -> bool {
    let back = [
        set_thread_res_gid(None, gid, None).is_ok(),
        set_thread_res_uid(None, uid, None).is_ok(),
        set_thread_res_uid(None, Uid::ROOT, None).is_ok(),
        set_thread_groups(&[gid]).is_ok(),
    ];
    back.contains(&true)
}

/// Takes away what an executable could give back. Whoever has no `CAP_SETPCAP` keeps the set, which is of no
/// use to a process that may start no program and gains nothing by one.
fn empty_bounding_set() -> Result<()> {
    let held = held()?.effective;
    if !held.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    for capability in every_capability() {
        // The first number that the kernel does not know is past its last one.
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)
                .context("cannot empty the bounding set of capabilities")?,
            Ok(false) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

fn reduce_to(kept: CapabilitySet) -> Result<()> {
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    clear_ambient_capability_set().context("cannot give up ambient capabilities")?;
    set_capabilities(None, sets).context("cannot give up capabilities")?;
    let is_ambient = |capability| capability_is_in_ambient_set(capability).unwrap_or(false);
    ensure!(held()? == sets && !every_capability().any(is_ambient), "a capability is left");
    Ok(())
}

/// One for each number that there can be.
fn every_capability() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_more_than_one_thread_gives_nothing_up() {
        let user = User { uid: Uid::from_raw(7), gid: Gid::from_raw(7) };
        let before = held().unwrap();
        // The thread of this test is not the only one.
        for refused in [become_user(user), drop_capabilities(), drop_capabilities_but_for_locking()]
        {
            assert!(refused.unwrap_err().to_string().contains("one thread alone"));
        }
        assert_eq!(held().unwrap(), before);
    }
}
