//! What the machine must have before anything is built or tested.
//!
//! As root on a Debian system, what is missing is installed; anywhere else it is
//! named. The need for each stands in [`NEEDS`]. What comes from the Python package
//! index instead stands in [`wheels`].

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::ci::{Report, Verdict, answers, status};
use crate::wheels;

/// A command that must succeed, and the Debian package that makes it.
struct Need {
    probe: &'static [&'static str],
    package: &'static str,
    why: &'static str,
}

const NEEDS: [Need; 10] = [
    Need { probe: &["cc", "--version"], package: "gcc", why: "builds aws-lc" },
    Need { probe: &["make", "--version"], package: "make", why: "builds C libraries" },
    Need { probe: &["git", "--version"], package: "git", why: "lists the files tidy reads" },
    Need { probe: &["strace", "--version"], package: "strace", why: "tests count system calls" },
    Need {
        probe: &["ssh", "-V"],
        package: "openssh-client",
        why: "tests verify signatures with ssh-keygen",
    },
    Need {
        probe: &["python3", "--version"],
        package: "python3",
        why: "runs independent verifiers",
    },
    Need {
        probe: &["python3", "-c", "import cryptography"],
        package: "python3-cryptography",
        why: "tests verify signatures with a second library",
    },
    Need {
        probe: &["python3", "-c", "import ensurepip, venv"],
        package: "python3-venv",
        why: "installs what tests need of the package index",
    },
    // Where a user's PATH does not lead.
    Need {
        probe: &["/usr/sbin/rsyslogd", "-v"],
        package: "rsyslog",
        why: "tests export the audit to it",
    },
    Need {
        probe: &["sh", "-c", "test -e /usr/lib/*/rsyslog/lmnsd_gtls.so"],
        package: "rsyslog-gnutls",
        why: "tests export the audit to it over TLS",
    },
];

/// The toolchain components that no distribution package brings.
const COMPONENTS: [&str; 2] = ["fmt", "clippy"];

/// Checks for all of them, and installs what it can.
///
/// # Errors
///
/// If the package manager cannot be started.
pub(crate) fn check(root: &Path) -> Result<Report> {
    if !missing().is_empty() && can_install() {
        install(&missing())?;
    }
    let mut lines: Vec<String> = missing().into_iter().map(advice).collect();
    for component in COMPONENTS {
        if !answers(crate::workspace::cargo(root).args([component, "--version"])) {
            lines.push(format!("missing `cargo {component}`: rustup component add {component}"));
        }
    }
    if lines.is_empty() {
        lines.extend(wheels::prepare(root)?);
    }
    for line in &lines {
        println!("{line}");
    }
    Ok(match lines.len() {
        0 => Report::new(Verdict::Passed, ""),
        count => Report::new(Verdict::Failed, format!("{count} missing")),
    })
}

fn missing() -> Vec<&'static Need> {
    const ALL: &[Need] = &NEEDS;
    ALL.iter().filter(|need| !present(need.probe)).collect()
}

fn present(probe: &[&str]) -> bool {
    let [program, arguments @ ..] = probe else { return false };
    answers(Command::new(program).args(arguments))
}

fn advice(need: &Need) -> String {
    let Need { probe, package, why } = need;
    format!("missing `{}` ({why}): install the Debian package {package}", probe.join(" "))
}

fn can_install() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    root && present(&["apt-get", "--version"])
}

fn install(needs: &[&Need]) -> Result<()> {
    let packages = needs.iter().map(|need| need.package);
    println!("installing {}", packages.clone().collect::<Vec<_>>().join(", "));
    let quiet = ("DEBIAN_FRONTEND", "noninteractive");
    // Whether it worked is seen by looking again, not by what the installer says.
    status(Command::new("apt-get").env(quiet.0, quiet.1).args(["update", "--quiet"]))?;
    let mut command = Command::new("apt-get");
    command.env(quiet.0, quiet.1).args(["install", "--quiet", "--yes", "--no-install-recommends"]);
    status(command.args(packages))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let need = Need { probe: &["strace", "--version"], package: "strace", why: "x" };
        assert_eq!(
            advice(&need),
            "missing `strace --version` (x): install the Debian package strace"
        );
    }

    #[test]
    fn a_probe_is_present_if_it_succeeds() {
        assert!(present(&["sh", "-c", "exit 0"]));
        assert!(!present(&["sh", "-c", "exit 1"]));
        assert!(!present(&["chancery-no-such-command"]));
        assert!(!present(&[]));
    }
}
