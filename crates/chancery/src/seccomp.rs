//! System calls that a child has no use for, taken away for good.
//!
//! What is named here fails with `EPERM`: starting programs and processes, signals to others, looking into
//! other processes, typing into a terminal, sockets of another kind, and the doors into the kernel that attackers like. It is a list
//! of what is refused and not of what is let through, so that a newer C library goes on working; what the
//! front may reach of files and the network is Landlock's to say ([`crate::sandbox`]).
//!
//! The second set of numbers of a kernel that was built for x32 is not refused; hardly any is.
//!
//! On an architecture whose numbers are not known here, nothing is refused, and the child says so.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

/// Refused with whatever arguments.
const REFUSED: [c_long; 56] = [
    // Programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes: signals, memory, descriptors.
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    // Other namespaces, roots and users.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_personality,
    // Doors into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
];

/// Which sockets a child may make. What it was given, it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// None.
    None,
    /// Of this machine, to reach the signer.
    Unix,
    /// Of the network, to reach witnesses.
    Internet,
}

/// Takes the calls away, from this thread and all there are and will be.
pub(crate) fn confine(sockets: Sockets) -> Result<()> {
    let Ok(target) = TargetArch::try_from(std::env::consts::ARCH) else {
        eprintln!("chancery: no filter of system calls is known for this architecture");
        return Ok(());
    };
    apply(refusing(sockets)?, SeccompAction::Errno(errno(libc::EPERM)), target)?;
    // The arguments of `clone3` cannot be looked at; without it the C library takes `clone`.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply(clone3, SeccompAction::Errno(errno(libc::ENOSYS)), target)
}

fn refusing(sockets: Sockets) -> Result<BTreeMap<c_long, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<_, _> = REFUSED.map(|call| (call, Vec::new())).into_iter().collect();
    let own = u64::from(std::process::id());
    // A thread of our own may be signalled: that is how a process aborts.
    rules.insert(libc::SYS_tgkill, vec![rule(0, Is::Ne, own)?]);
    // One's own limits may be read: an arena that is refused its memory says which one to raise.
    let sets = SeccompCondition::new(2, Length::Qword, Is::Ne, 0)?;
    let sets = SeccompRule::new(vec![sets])?;
    rules.insert(libc::SYS_prlimit64, vec![rule(0, Is::Ne, 0)?, sets]);
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    rules.insert(libc::SYS_clone, vec![rule(0, Is::MaskedEq(thread), 0)?]);
    // Typing in the place of whoever sits at the terminal. The kernel looks at the lower half of a number alone.
    let types = [libc::TIOCSTI, libc::TIOCLINUX].map(|request| rule(1, Is::Eq, request));
    rules.insert(libc::SYS_ioctl, types.into_iter().collect::<Result<_>>()?);
    let refused = match sockets {
        Sockets::None => Vec::new(),
        Sockets::Unix => vec![none_of(&[libc::AF_UNIX])?],
        Sockets::Internet => vec![none_of(&[libc::AF_INET, libc::AF_INET6])?],
    };
    rules.insert(libc::SYS_socket, refused);
    #[cfg(target_arch = "x86_64")]
    rules.extend([(libc::SYS_fork, Vec::new()), (libc::SYS_vfork, Vec::new())]);
    Ok(rules)
}

/// Refuses a socket of another family than these.
fn none_of(families: &[i32]) -> Result<SeccompRule> {
    let others = families.iter().map(|family| {
        SeccompCondition::new(0, Length::Dword, Is::Ne, u64::from(family.unsigned_abs()))
    });
    Ok(SeccompRule::new(others.collect::<std::result::Result<_, _>>()?)?)
}

fn rule(argument: u8, operator: Is, value: u64) -> Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, Length::Dword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn apply(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    refusal: SeccompAction,
    target: TargetArch,
) -> Result<()> {
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, target)?;
    let program: BpfProgram = filter.try_into().context("the filter cannot be compiled")?;
    apply_filter_all_threads(&program).context("the kernel does not take the filter")
}

fn errno(number: i32) -> u32 {
    number.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;
    use rustix::net::{AddressFamily, SocketType, socket};
    use rustix::process::{Signal, getpid, getppid, kill_process};

    /// Run in a process of its own, since a filter is for good.
    const INNER: &str = "CHANCERY_TEST_SECCOMP";

    #[test]
    fn a_confined_process_starts_signals_and_reaches_nobody() {
        if std::env::var_os(INNER).is_some() {
            return confined();
        }
        let name = "seccomp::tests::a_confined_process_starts_signals_and_reaches_nobody";
        let inner = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(INNER, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&inner.stdout).into_owned();
        assert!(inner.status.success() && said.contains("1 passed"), "{said}{inner:?}");
    }

    /// What `ioctl` is asked for: a byte to be typed, and what a console offers (`TIOCSTI` and `TIOCLINUX` in the
    /// kernel's `asm-generic/ioctls.h`).
    const TYPING: [u32; 2] = [0x5412, 0x541c];

    /// A file that is no terminal answers another error to who may ask. `perl` asks, by its safe call; to become it
    /// the process keeps the one call that starts programs.
    #[test]
    fn a_confined_process_types_into_no_terminal() {
        let name = "seccomp::tests::a_confined_process_types_into_no_terminal";
        if let Ok(request) = std::env::var(INNER) {
            return becomes_who_asks(&request);
        }
        for request in TYPING {
            let inner = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(INNER, request.to_string())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&inner.stdout).into_owned();
            // `EPERM`.
            assert!(said.contains("error 1;"), "{said}{inner:?}");
        }
    }

    fn becomes_who_asks(request: &str) {
        let mut rules = refusing(Sockets::Unix).unwrap();
        rules.remove(&libc::SYS_execve);
        let target = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        apply(rules, SeccompAction::Errno(errno(libc::EPERM)), target).unwrap();
        let asks = format!("$a = 'x'; ioctl(STDIN, {request}, $a); printf 'error %d;', $!");
        let error = std::process::Command::new("perl").args(["-e", &asks]).exec();
        panic!("`perl` is on this machine: {error}");
    }

    fn confined() {
        confine(Sockets::Unix).unwrap();
        let parent = getppid().unwrap();
        assert_eq!(kill_process(parent, Signal::URG), Err(rustix::io::Errno::PERM));
        assert_eq!(kill_process(getpid(), Signal::URG), Err(rustix::io::Errno::PERM));
        assert!(std::process::Command::new("true").status().is_err());
        let make = |family| socket(family, SocketType::STREAM, None);
        assert!(make(AddressFamily::UNIX).is_ok());
        assert_eq!(make(AddressFamily::INET).unwrap_err(), rustix::io::Errno::PERM);
        assert_eq!(make(AddressFamily::NETLINK).unwrap_err(), rustix::io::Errno::PERM);
        assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        let limits = rustix::process::getrlimit(rustix::process::Resource::Memlock);
        let set = rustix::process::setrlimit(rustix::process::Resource::Memlock, limits);
        assert_eq!(set, Err(rustix::io::Errno::PERM));
        confine(Sockets::None).unwrap();
        assert_eq!(make(AddressFamily::UNIX).unwrap_err(), rustix::io::Errno::PERM);
    }
}
