//! Which crate of ours may depend on which.
//!
//! The arrows are those of ARCHITECTURE.md, for normal, build and dev dependencies
//! alike: a test that needs another crate belongs to a crate that may have it.
//! Packages outside `crates/` (fuzz, bench, examples, xtask) may depend on any.

use crate::workspace::{Finding, Package, Workspace};

/// Each crate and all that it may depend on.
const ARROWS: [(&str, &[&str]); 17] = [
    ("chancery-core", &[]),
    ("chancery-log", &[]),
    ("chancery-memory", &[]),
    ("chancery-policy", &["chancery-core"]),
    ("chancery-crypto", &["chancery-core", "chancery-log", "chancery-memory"]),
    ("chancery-store", &["chancery-core"]),
    ("chancery-audit", &["chancery-core", "chancery-crypto", "chancery-log"]),
    ("chancery-api", &["chancery-core"]),
    ("chancery-pkcs11", &["chancery-api", "chancery-core"]),
    (
        "chancery-signer",
        &[
            "chancery-api",
            "chancery-audit",
            "chancery-core",
            "chancery-crypto",
            "chancery-log",
            "chancery-memory",
            "chancery-policy",
            "chancery-store",
        ],
    ),
    ("chancery-server", &["chancery-api"]),
    ("chancery-client", &["chancery-api", "chancery-core", "chancery-crypto", "chancery-log"]),
    ("chancery-export", &["chancery-core"]),
    ("chancery-witness", &["chancery-crypto", "chancery-log", "chancery-store"]),
    ("chancery-archive", &["chancery-audit", "chancery-crypto", "chancery-log"]),
    (
        "chancery",
        &[
            "chancery-api",
            "chancery-archive",
            "chancery-audit",
            "chancery-client",
            "chancery-core",
            "chancery-crypto",
            "chancery-export",
            "chancery-log",
            "chancery-memory",
            "chancery-pkcs11",
            "chancery-policy",
            "chancery-server",
            "chancery-signer",
            "chancery-store",
            "chancery-witness",
        ],
    ),
    (
        "chancery-sim",
        &[
            "chancery-audit",
            "chancery-core",
            "chancery-crypto",
            "chancery-log",
            "chancery-policy",
            "chancery-store",
        ],
    ),
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let bound = workspace.packages.iter().filter(|it| it.manifest.starts_with("crates/"));
    bound.flat_map(|package| check_package(workspace, package)).collect()
}

fn check_package(workspace: &Workspace, package: &Package) -> Vec<Finding> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        let advice =
            format!("`{}` has no arrows: decide them in xtask and ARCHITECTURE.md", package.name);
        return vec![Finding::new((&package.manifest, 1), advice)];
    };
    let ours = |name: &str| workspace.packages.iter().any(|package| package.name == name);
    let refused = package.dependencies.iter().filter(|dependency| {
        ours(&dependency.name) && !allowed.contains(&dependency.name.as_str())
    });
    let finding = |dependency: &crate::workspace::Dependency| {
        let place = workspace.place(&package.manifest, &dependency.name);
        let (from, to, kind) = (&package.name, &dependency.name, dependency.kind);
        let advice = format!(
            "`{from}` may not depend on `{to}` ({kind:?}): \
             move the code, or change the arrow in ARCHITECTURE.md and xtask"
        );
        Finding::new(place, advice)
    };
    refused.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Kind;
    use crate::workspace::sample::{files, package, places};

    fn workspace(packages: Vec<Package>) -> Workspace {
        let manifest = "[dependencies]\nchancery-core.workspace = true\nredb.workspace = true\n";
        let mut workspace = files([("crates/chancery-server/Cargo.toml", manifest)]);
        workspace.packages = packages;
        workspace
    }

    #[test]
    fn an_arrow_of_the_design_passes() {
        let packages = vec![
            package("chancery-core", &[("thiserror", Kind::Normal)]),
            package("chancery-store", &[("chancery-core", Kind::Normal), ("redb", Kind::Normal)]),
        ];
        assert_eq!(check(&workspace(packages)), []);
    }

    #[test]
    fn another_arrow_is_refused_in_every_table() {
        for kind in [Kind::Build, Kind::Dev, Kind::Normal] {
            let packages = vec![
                package("chancery-core", &[]),
                package("chancery-server", &[("chancery-core", kind)]),
            ];
            let findings = check(&workspace(packages));
            assert_eq!(places(&findings), ["crates/chancery-server/Cargo.toml:2"]);
        }
    }

    #[test]
    fn nothing_depends_on_the_simulator() {
        assert!(ARROWS.iter().all(|(_, allowed)| !allowed.contains(&"chancery-sim")));
    }

    #[test]
    fn a_crate_without_arrows_is_refused() {
        let findings = check(&workspace(vec![package("chancery-extra", &[])]));
        assert_eq!(places(&findings), ["crates/chancery-extra/Cargo.toml:1"]);
    }

    #[test]
    fn a_package_outside_crates_may_depend_on_any() {
        let mut xtask = package("xtask", &[("chancery-core", Kind::Normal)]);
        xtask.manifest = "xtask/Cargo.toml".into();
        assert_eq!(check(&workspace(vec![package("chancery-core", &[]), xtask])), []);
    }

    #[test]
    fn the_arrows_make_no_circle() {
        let mut settled: Vec<&str> = Vec::new();
        while settled.len() < ARROWS.len() {
            let next = ARROWS.iter().find(|(name, allowed)| {
                !settled.contains(name) && allowed.iter().all(|to| settled.contains(to))
            });
            settled.push(next.expect("the arrows left make a circle").0);
        }
    }
}
