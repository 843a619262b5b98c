//! Every crate takes the workspace's lints.
//!
//! `chancery-memory` alone has a table of its own, because it alone holds unsafe code.

use crate::workspace::{File, Finding, Workspace};

const OWN_TABLE: &str = "crates/chancery-memory/Cargo.toml";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let manifests = workspace.files.iter().filter(|file| is_manifest(&file.path));
    manifests.filter(|file| !has_lints(file)).map(finding).collect()
}

fn is_manifest(path: &str) -> bool {
    path == "xtask/Cargo.toml"
        || (path.starts_with("crates/")
            && path.ends_with("/Cargo.toml")
            && path.split('/').count() == 3)
}

fn has_lints(file: &File) -> bool {
    let mut lines = file.text.lines().map(str::trim).skip_while(|line| !line.starts_with("[lints"));
    match lines.next() {
        None => false,
        Some("[lints]") => {
            lines.take_while(|line| !line.starts_with('[')).any(|line| line == "workspace = true")
        }
        Some(_) => file.path == OWN_TABLE,
    }
}

fn finding(file: &File) -> Finding {
    Finding::new((&file.path, 1), "add `[lints]` with `workspace = true`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::{files, places};

    const TAKES: &str = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n";
    const OWN: &str = "[package]\nname = \"a\"\n\n[lints.rust]\nunsafe_code = \"deny\"\n";

    #[test]
    fn a_manifest_takes_the_lints_of_the_workspace() {
        let workspace = files([
            ("crates/a/Cargo.toml", TAKES),
            ("crates/b/Cargo.toml", "[package]\nname = \"b\"\n"),
            ("crates/c/Cargo.toml", OWN),
            ("crates/d/Cargo.toml", "[lints]\n\n[features]\nworkspace = true\n"),
            ("crates/a/tests/data/Cargo.toml", ""),
            ("Cargo.toml", "[workspace]\n"),
        ]);
        let found = places(&check(&workspace));
        assert_eq!(
            found,
            ["crates/b/Cargo.toml:1", "crates/c/Cargo.toml:1", "crates/d/Cargo.toml:1"]
        );
    }

    #[test]
    fn the_arena_has_its_own_table() {
        assert_eq!(check(&files([(OWN_TABLE, OWN)])), []);
    }
}
