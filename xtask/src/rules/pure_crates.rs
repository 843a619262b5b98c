//! What the pure crates may bring in from outside.
//!
//! `chancery-core` and `chancery-log` hold the decisions and the proofs; what they
//! are compiled from is part of what a reader must trust. A new dependency there is
//! a decision record first. Dev dependencies are free.

use crate::workspace::{Finding, Kind, Workspace};

const ALLOWED: [(&str, &[&str]); 2] = [
    ("chancery-core", &["minicbor", "thiserror"]),
    ("chancery-log", &["base64", "minicbor", "sha2", "thiserror"]),
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::{package, places};

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
