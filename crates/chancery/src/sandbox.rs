//! What a child may reach of the file system and the network, by Landlock; and which system calls it keeps.
//!
//! The front reads the published log, opens no other file at all, and makes no connection but to the signer's
//! socket; the signer reaches the
//! data directory, the directories of its two key files, and its own executable, and no network. Code that
//! takes over the front therefore finds neither root key nor administrator's file, also where it runs as the
//! same user; where it does not, the modes of the files keep it from them as well.
//!
//! The courier reads the published log, writes its answers, and connects to the ports that witnesses and peers have.
//!
//! A kernel without Landlock, or with an older one, gives less: what it does not know is not restricted. The
//! child says so once and goes on.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetStatus,
};

use crate::seccomp::{self, Sockets};

/// The newest interface whose restrictions are asked for.
const INTERFACE: ABI = ABI::V5;

/// This executable, wherever it stands: also where this process may not go.
const EXECUTABLE: &str = "/proc/self/exe";

/// What the C library reads to find the address of a name (nsswitch.conf(5), resolver(5), ld.so(8)).
const NAME_SERVICE: [&str; 8] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/ld.so.cache",
    "/lib",
    "/usr/lib",
];

/// Takes every file but those below `published`, and every TCP connection away, from this thread and those it
/// starts.
pub(crate) fn front(published: Option<&OwnedFd>) -> Result<()> {
    let ruleset = ruleset()?;
    enforce(match published {
        Some(directory) => ruleset.add_rule(PathBeneath::new(directory, AccessFs::ReadFile))?,
        None => ruleset,
    })?;
    seccomp::confine(Sockets::Unix)
}

/// Leaves the signer its own directories, its own executable, and the file that holds a passphrase.
pub(crate) fn signer(directories: &[PathBuf], passphrase: Option<&Path>) -> Result<()> {
    let all = AccessFs::from_all(INTERFACE);
    let directories = directories.iter().map(|directory| (directory.as_path(), all));
    let files = [Path::new(EXECUTABLE)].into_iter().chain(passphrase);
    let files = files.map(|file| (file, AccessFs::ReadFile.into()));
    restrict(&directories.chain(files).collect::<Vec<_>>())?;
    seccomp::confine(Sockets::None)
}

/// Leaves the process that only takes reductions the journal and the log's origin. The root key is out of
/// its reach.
pub(crate) fn reduce_only(data: &Path) -> Result<()> {
    let all = AccessFs::from_all(INTERFACE);
    let [reductions, run, audit] = ["reductions", "run", "audit"].map(|name| data.join(name));
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    restrict(&[(&reductions, all), (&run, all), (&audit, read)])?;
    seccomp::confine(Sockets::None)
}

/// Leaves the courier the published log, the wish for a round and the directory of its answers, what a name service
/// reads, and connections to the ports of those that it asks.
pub(crate) fn courier(
    log: &OwnedFd,
    asked: &OwnedFd,
    answers: &OwnedFd,
    ports: &BTreeSet<u16>,
) -> Result<()> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write =
        read | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
    let mut ruleset = ruleset()?
        .add_rule(PathBeneath::new(log, read))?
        .add_rule(PathBeneath::new(asked, read))?
        .add_rule(PathBeneath::new(answers, write))?;
    for path in NAME_SERVICE {
        // What is not there is not asked.
        let Ok(opened) = PathFd::new(path) else { continue };
        let access = if Path::new(path).is_dir() {
            read | AccessFs::Execute
        } else {
            AccessFs::ReadFile.into()
        };
        ruleset = ruleset.add_rule(PathBeneath::new(opened, access))?;
    }
    for port in ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    enforce(ruleset)?;
    seccomp::confine(Sockets::Internet)
}

fn restrict(reachable: &[(&Path, BitFlags<AccessFs>)]) -> Result<()> {
    let mut ruleset = ruleset()?;
    for (path, access) in reachable {
        let opened = PathFd::new(path).with_context(|| {
            format!("cannot open `{}` without a capability, as this process is", path.display())
        })?;
        ruleset = ruleset.add_rule(PathBeneath::new(opened, *access))?;
    }
    enforce(ruleset)
}

fn ruleset() -> Result<RulesetCreated> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(INTERFACE))?
        .handle_access(AccessNet::from_all(INTERFACE))?;
    Ok(ruleset.create()?)
}

fn enforce(ruleset: RulesetCreated) -> Result<()> {
    if ruleset.restrict_self()?.ruleset == RulesetStatus::NotEnforced {
        eprintln!("chancery: this kernel has no Landlock; files and network are not restricted");
    }
    Ok(())
}
