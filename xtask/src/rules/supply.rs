//! What is compiled comes from one registry, under known licences, in one version,
//! and without a second crypto stack.
//!
//! The lists stand in `deny.toml`, which cargo-deny reads too; this rule holds the
//! tree to them on a machine that lacks it. Read are `licenses.allow`, `bans.deny`
//! and `bans.skip`. Advisories need a data base and are cargo-deny's alone.

use std::collections::BTreeSet;

use super::licences::is_met;
use crate::workspace::{Activated, Finding, Workspace};

const DOCUMENT: &str = "deny.toml";
const LOCK: &str = "Cargo.lock";

/// How the source of every package in the lock file ends: the public registry.
const REGISTRY: &str = "rust-lang/crates.io-index\"";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let Some(document) = workspace.file(DOCUMENT) else {
        return vec![Finding::new((DOCUMENT, 1), "is missing: what is allowed is written there")];
    };
    let packages = &workspace.activated;
    let mut findings = sources(workspace);
    findings.extend(licences(packages, &list(&document.text, "licenses", "allow")));
    findings.extend(bans(packages, &list(&document.text, "bans", "deny")));
    findings.extend(duplicates(packages, &list(&document.text, "bans", "skip")));
    findings
}

fn sources(workspace: &Workspace) -> Vec<Finding> {
    let Some(lock) = workspace.file(LOCK) else {
        return vec![Finding::new((LOCK, 1), "is missing: commit it")];
    };
    let foreign = lock.lines().filter(|(_, line)| {
        line.strip_prefix("source = ").is_some_and(|source| !source.ends_with(REGISTRY))
    });
    let advice = "comes from elsewhere: take it from the public registry";
    foreign.map(|(line, _)| Finding::new((LOCK, line), advice)).collect()
}

fn licences(packages: &[Activated], allowed: &[&str]) -> Vec<Finding> {
    let refused = packages.iter().filter(|package| !is_met(&package.licence, allowed));
    refused
        .map(|Activated { name, licence, .. }| {
            at(format!(
                "`{name}` is under `{licence}`, which `licenses.allow` does not meet: \
                 do without it, or allow it"
            ))
        })
        .collect()
}

fn bans(packages: &[Activated], banned: &[&str]) -> Vec<Finding> {
    let found = packages.iter().filter(|package| banned.contains(&package.name.as_str()));
    found
        .map(|Activated { name, .. }| {
            at(format!("`{name}` is banned: find who pulls it with `cargo tree --invert {name}`"))
        })
        .collect()
}

/// Names in more than one version, but for versions that `skipped` lists.
fn duplicates(packages: &[Activated], skipped: &[&str]) -> Vec<Finding> {
    let kept: BTreeSet<(&str, &str)> = packages
        .iter()
        .filter(|package| !skipped.iter().any(|skip| matches(skip, package)))
        .map(|package| (package.name.as_str(), package.version.as_str()))
        .collect();
    let names: BTreeSet<&str> = kept.iter().map(|(name, _)| *name).collect();
    let versions = |name: &str| -> Vec<&str> {
        kept.iter().filter(|(other, _)| *other == name).map(|(_, version)| *version).collect()
    };
    names
        .into_iter()
        .map(|name| (name, versions(name)))
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| {
            let versions = versions.join(" and ");
            at(format!(
                "`{name}` is compiled as {versions}: \
                 move to one, or add a `bans.skip` with its reason"
            ))
        })
        .collect()
}

/// Whether `name@version` is this package; the version may stop after any number.
fn matches(skip: &str, package: &Activated) -> bool {
    let (name, version) = skip.split_once('@').unwrap_or((skip, ""));
    let rest = package.version.strip_prefix(version);
    name == package.name
        && rest.is_some_and(|rest| version.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

fn at(advice: String) -> Finding {
    Finding::new((DOCUMENT, 1), advice)
}

/// The entries of one list in `deny.toml`, which stand one to a line: the first
/// quoted text of each line.
fn list<'a>(document: &'a str, section: &str, key: &str) -> Vec<&'a str> {
    let (header, opening) = (format!("[{section}]"), format!("{key} = ["));
    document
        .lines()
        .skip_while(|line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .skip_while(|line| *line != opening)
        .skip(1)
        .take_while(|line| *line != "]")
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split('"').nth(1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::files;

    const LISTS: &str = r#"
[licenses]
allow = [
    # Permissive.
    "MIT",
    "ISC",
]

[bans]
deny = [
    { crate = "ring", reason = "a second crypto provider, not \"ours\"" },
]
skip = [
    { crate = "syn@2.0", reason = "derive macros" },
]
"#;

    fn package(name: &str, version: &str) -> Activated {
        Activated { name: name.into(), version: version.into(), licence: "MIT".into() }
    }

    fn advice(activated: Vec<Activated>) -> Vec<String> {
        let lock = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        let mut workspace = files([(DOCUMENT, LISTS), (LOCK, lock)]);
        workspace.activated = activated;
        check(&workspace).into_iter().map(|finding| finding.advice).collect()
    }

    #[test]
    fn lists_are_read_entry_by_entry() {
        assert_eq!(list(LISTS, "licenses", "allow"), ["MIT", "ISC"]);
        assert_eq!(list(LISTS, "bans", "deny"), ["ring"]);
        assert_eq!(list(LISTS, "bans", "allow"), [""; 0]);
    }

    #[test]
    fn a_tree_within_the_lists_passes() {
        let tree =
            vec![package("syn", "2.0.119"), package("syn", "3.0.10"), package("log", "0.4.1")];
        assert_eq!(advice(tree), [""; 0]);
    }

    #[test]
    fn a_banned_crate_a_second_version_and_a_strange_licence_fail() {
        assert!(advice(vec![package("ring", "0.17.14")])[0].contains("banned"));
        let twice = vec![package("log", "0.3.0"), package("log", "0.4.1")];
        assert!(advice(twice)[0].contains("0.3.0 and 0.4.1"));
        let strange = Activated { licence: "GPL-3.0-only".into(), ..package("log", "0.4.1") };
        assert!(advice(vec![strange])[0].contains("GPL-3.0-only"));
    }

    #[test]
    fn a_skip_covers_its_version_alone() {
        assert!(matches("syn@2.0", &package("syn", "2.0.119")));
        assert!(matches("syn@2", &package("syn", "2.0.119")));
        assert!(!matches("syn@2", &package("syn", "20.1.0")));
        assert!(!matches("syn@2", &package("syn-mid", "2.0.0")));
    }

    #[test]
    fn a_package_from_elsewhere_fails() {
        let lock = "[[package]]\nname = \"a\"\nsource = \"git+https://example.org/a#1\"\n";
        let findings = check(&files([(DOCUMENT, LISTS), (LOCK, lock)]));
        assert_eq!(findings[0].to_string().split_once(": ").map(|it| it.0), Some("Cargo.lock:3"));
    }
}
