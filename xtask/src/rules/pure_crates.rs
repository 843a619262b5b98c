//! What the pure crates may bring in from outside, and what they may not do.
//!
//! Pure is what takes neither time, threads nor the system's randomness but is handed them: clippy holds that
//! wherever a `lib.rs` denies `disallowed_methods`, which is seen to here.
//!
//! `chancery-core` and `chancery-log` hold the decisions and the proofs; what they
//! are compiled from is part of what a reader must trust. A new dependency there is
//! a decision record first. Dev dependencies are free.

use crate::workspace::{Finding, Kind, Workspace};

const ALLOWED: [(&str, &[&str]); 2] = [
    ("chancery-core", &["minicbor", "thiserror"]),
    ("chancery-log", &["base64", "minicbor", "sha2", "thiserror"]),
];

/// The crates that take nothing from the system by themselves; `chancery-crypto` draws random bytes through its
/// provider.
const PURE: [&str; 6] = [
    "chancery-api",
    "chancery-audit",
    "chancery-core",
    "chancery-crypto",
    "chancery-log",
    "chancery-store",
];

/// What turns the list in `clippy.toml` on for a crate.
const DENIED: &str = "#![deny(clippy::disallowed_methods)]";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings: Vec<_> = PURE.iter().filter_map(|pure| undenied(workspace, pure)).collect();
    for package in &workspace.packages {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            continue;
        };
        for dependency in package.dependencies.iter().filter(|it| it.kind != Kind::Dev) {
            if !allowed.contains(&dependency.name.as_str()) {
                let place = workspace.place(&package.manifest, &dependency.name);
                let (pure, name) = (&package.name, &dependency.name);
                let advice = format!(
                    "`{pure}` is pure and may not depend on `{name}`: write a decision record first"
                );
                findings.push(Finding::new(place, advice));
            }
        }
    }
    findings
}

fn undenied(workspace: &Workspace, package: &str) -> Option<Finding> {
    let path = format!("crates/{package}/src/lib.rs");
    let file = workspace.file(&path)?;
    let is_denied = file.lines().any(|(_, line)| line == DENIED);
    let advice = || format!("`{package}` is pure: write `{DENIED}` behind its doc");
    (!is_denied).then(|| Finding::new((&path, 1), advice()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::{files, package, places};

    #[test]
    fn a_pure_crate_denies_what_takes_from_the_system() {
        let denied = format!("//! Pure.\n\n{DENIED}\n");
        let workspace = files([
            ("crates/chancery-api/src/lib.rs", &denied),
            ("crates/chancery-log/src/lib.rs", "//! Not any more.\n"),
            ("crates/chancery-signer/src/lib.rs", "//! A shell.\n"),
        ]);
        assert_eq!(places(&check(&workspace)), ["crates/chancery-log/src/lib.rs:1"]);
    }

    #[test]
    fn a_pure_crate_keeps_to_its_list_outside_tests() {
        let packages = vec![
            package("chancery-core", &[("minicbor", Kind::Normal), ("proptest", Kind::Dev)]),
            package("chancery-log", &[("rand", Kind::Normal), ("sha2", Kind::Normal)]),
            package("chancery-store", &[("redb", Kind::Normal)]),
        ];
        let findings = check(&Workspace { packages, ..Workspace::default() });
        assert_eq!(places(&findings), ["crates/chancery-log/Cargo.toml:1"]);
    }
}
