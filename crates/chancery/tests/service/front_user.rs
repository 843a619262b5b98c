//! The front's user: another than the service's where root starts it, and the same one where it cannot be.
//!
//! Each test says what holds in either case. What code in the front could do is done here by a thread that
//! becomes the front's user, without Landlock and without a filter of system calls: what it is refused, it is
//! refused for its user alone. Users, groups and capabilities are each thread's own in the kernel.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{Gid, Pid, Uid, geteuid, test_kill_process};
use rustix::thread::{CapabilitySet, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::frames::FakeFront;
use crate::harness::{Options, Process, Service};

/// A user that no account has, and that is neither the service's nor the front's.
const THIRD: u32 = 54_321;

/// The user and the group of the front of a service that root started with no word about it.
fn usual() -> (u32, u32) {
    let accounts = accounts();
    let of = |name| accounts.iter().find(|(found, ..)| found == name);
    let (_, uid, gid) = of("chancery-front").or_else(|| of("nobody")).unwrap();
    (*uid, *gid)
}

fn accounts() -> Vec<(String, u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.map(|of| (of[0].to_owned(), of[2].parse().unwrap(), of[3].parse().unwrap())).collect()
}

/// A line of a process's status (proc(5)), without its name.
fn status(service: &Service, process: Process, name: &str) -> String {
    let pid = service.pids().get(process).unwrap();
    status_of(&pid.to_string(), name)
}

fn status_of(pid: &str, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim().to_owned()
}

/// A number as it stands in a status four times: real, effective, saved and of files.
fn four(id: u32) -> String {
    [id.to_string().as_str(); 4].join("\t")
}

/// Does something as another user, in no group but one. Only root can.
fn as_user<T: Send>(uid: u32, gid: u32, does: impl FnOnce() -> T + Send) -> T {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(gid, gid, gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            does()
        });
        thread.join().unwrap()
    })
}

/// A handle on a file and the path that leads through it, past the directories above.
fn handle_on(path: &Path) -> (OwnedFd, PathBuf) {
    let opened = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let way = format!("/proc/self/fd/{}", opened.as_raw_fd()).into();
    (opened, way)
}

fn is_denied<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Every file and directory under one, itself included.
fn tree(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let inner = entries.flat_map(|path| if path.is_dir() { tree(&path) } else { vec![path] });
    [directory.to_owned()].into_iter().chain(inner).collect()
}

#[test]
fn each_child_has_its_user_and_no_group_or_capability_besides() {
    let service = Service::start();
    let own = geteuid();
    let groups = status_of("self", "Groups");
    let bounding = if own.is_root() { "0".repeat(16) } else { status_of("self", "CapBnd") };
    for process in [Process::Front, Process::Signer] {
        let status = |name| status(&service, process, name);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(set), "0".repeat(16), "{process:?}: {set}");
        }
        assert_eq!(status("CapBnd"), bounding, "{process:?}");
        let is_apart = own.is_root() && process == Process::Front;
        if is_apart {
            let (uid, gid) = usual();
            assert_eq!((status("Uid"), status("Gid")), (four(uid), four(gid)));
            assert_eq!(status("Groups"), "");
        } else {
            assert_eq!(status("Uid"), four(own.as_raw()));
            assert_eq!(status("Groups"), groups);
        }
    }
}

#[test]
fn the_signer_locks_memory_under_a_low_limit_and_has_no_capability_but_for_that() {
    let prefix = ["prlimit", "--memlock=65536:65536"].map(String::from).into();
    let mut service = Service::prepare(Options { prefix, ..Options::default() });
    let own = u64::from_str_radix(&status_of("self", "CapEff"), 16).unwrap();
    let [lock, resource] = [CapabilitySet::IPC_LOCK, CapabilitySet::SYS_RESOURCE];
    service.launch();
    if own & (lock | resource).bits() == 0 {
        assert!(!service.wait_for_end().success());
        assert!(service.log().contains("raise it with `ulimit -l`"), "{}", service.log());
        return;
    }
    service.wait_until_up();
    let raised = own & resource.bits() != 0;
    let kept = if raised { CapabilitySet::empty() } else { lock };
    assert_eq!(status(&service, Process::Signer, "CapEff"), format!("{:016x}", kept.bits()));
    assert_eq!(status(&service, Process::Front, "CapEff"), "0".repeat(16));
}

#[test]
fn the_front_is_the_user_that_is_named() {
    let accounts = accounts();
    let other =
        accounts.iter().find(|(_, uid, gid)| ![*uid, *gid].contains(&0) && *uid != usual().0);
    let (name, uid, gid) = other.expect("a system has accounts for its programs").clone();
    for user in [name, uid.to_string()] {
        let more = vec!["--front-user".into(), user];
        let mut service = Service::prepare(Options { more, ..Options::default() });
        service.launch();
        if geteuid().is_root() {
            service.wait_until_up();
            assert_eq!(status(&service, Process::Front, "Uid"), four(uid));
            assert_eq!(status(&service, Process::Front, "Gid"), four(gid));
            assert_eq!(status(&service, Process::Signer, "Uid"), four(0));
        } else {
            assert_eq!(service.wait_for_end().code(), Some(2));
            assert!(service.log().contains("only root"), "{}", service.log());
        }
    }
}

#[test]
fn the_front_holds_nothing_open_of_the_service_but_the_signers_socket_and_the_published_log() {
    let service = Service::start();
    let pid = service.pids().get(Process::Front).unwrap();
    let directory = PathBuf::from(format!("/proc/{pid}"));
    // A process that is not dumpable is looked into by root alone.
    let Ok(descriptors) = fs::read_dir(directory.join("fd")) else {
        return assert!(!geteuid().is_root());
    };
    let open: Vec<_> =
        descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect();
    let of_service: Vec<_> =
        open.iter().filter(|path| path.starts_with(service.directory())).collect();
    let log = service.path("log");
    let expected = [&service.data().join("run/signer.sock"), &service.data().join("log"), &log];
    assert!(of_service.iter().all(|path| expected.contains(path)), "{open:?}");
    assert!(of_service.contains(&expected[0]), "{open:?}");
    assert_eq!(fs::read_link(directory.join("cwd")).unwrap(), Path::new("/"));
}

#[test]
fn the_front_user_opens_no_file_and_signals_no_process_of_the_service() {
    let service = Service::start();
    let files = [service.path("root.key"), service.path("recovery.key")];
    let files: Vec<_> = tree(&service.data()).into_iter().chain(files).collect();
    assert!(files.contains(&service.data().join("store.redb")));
    let (socket, log) = (service.data().join("run/signer.sock"), service.data().join("log"));
    // What is published is for everybody who is handed its directory.
    let is_published = |path: &Path| path.starts_with(&log);
    for path in &files {
        let metadata = fs::metadata(path).unwrap();
        let is_shared = geteuid().is_root() && *path == socket;
        let expected = match (path.is_dir(), is_shared, is_published(path)) {
            (true, _, true) => 0o755,
            (true, _, false) => 0o700,
            (false, true, _) => 0o620,
            (false, false, true) => 0o644,
            (false, false, false) => 0o600,
        };
        assert_eq!(metadata.permissions().mode() & 0o7777, expected, "{}", path.display());
        assert_eq!(metadata.uid(), geteuid().as_raw(), "{}", path.display());
    }
    if !geteuid().is_root() {
        // The same user: it is Landlock that keeps the front from them.
        return;
    }
    let handles: Vec<_> = files.iter().map(|path| handle_on(path)).collect();
    let (uid, gid) = usual();
    as_user(uid, gid, || {
        for (path, (_, way)) in files.iter().zip(&handles) {
            assert!(is_denied(&File::open(path)), "{}", path.display());
            // Also when it is handed the place, past the directories above.
            assert_eq!(File::open(way).is_ok(), is_published(path), "{}", path.display());
            assert!(File::options().write(true).open(way).is_err(), "{}", path.display());
        }
    });
    for process in [Process::Signer, Process::Supervisor] {
        let pid = service.pids().get(process).unwrap();
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        assert_eq!(as_user(uid, gid, || test_kill_process(pid)), Err(Errno::PERM));
    }
}

#[test]
fn the_signer_takes_its_own_user_and_the_front_and_nobody_else() {
    let service = Service::start();
    let socket = service.data().join("run/signer.sock");
    assert!(FakeFront::connect(&service).is_served());
    if !geteuid().is_root() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
        return;
    }
    let (uid, gid) = usual();
    let (_handle, way) = handle_on(&socket);
    let connect = |uid, gid, path: &Path| as_user(uid, gid, || FakeFront::connect_by(path));
    assert!(is_denied(&connect(uid, gid, &socket)), "by its path");
    assert!(connect(uid, gid, &way).unwrap().is_served(), "handed the socket's place");
    assert!(is_denied(&connect(THIRD, THIRD, &socket)), "a third user");
    assert!(is_denied(&connect(THIRD, THIRD, &way)), "a third user, handed the socket's place");
    // The mode lets the front's group in, and the signer does not.
    assert!(!connect(THIRD, gid, &way).unwrap().is_served(), "another of the front's group");
}
