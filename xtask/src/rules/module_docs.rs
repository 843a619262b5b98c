//! Every module file opens with what it is.
//!
//! At most one SPDX line may stand before it. What the doc must say is for a reader
//! to judge.

use crate::workspace::{File, Finding, Workspace};

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let silent = workspace.rust_files().filter(|file| !opens_with_doc(file));
    silent
        .map(|file| {
            let advice = "open the file with a `//!` doc: what it is, and what it keeps";
            Finding::new((&file.path, 1), advice)
        })
        .collect()
}

fn opens_with_doc(file: &File) -> bool {
    let mut lines = file.text.lines().skip_while(|line| line.starts_with("// SPDX-"));
    lines.next().and_then(|line| line.strip_prefix("//!")).is_some_and(|doc| !doc.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::{files, places};

    #[test]
    fn a_file_opens_with_its_doc() {
        let workspace = files([
            ("a.rs", "//! What it is.\n"),
            ("b.rs", "// SPDX-License-Identifier: Apache-2.0\n//! What it is.\n"),
            ("c.rs", "use std::fmt;\n//! Too late.\n"),
            ("d.rs", ""),
            ("e.rs", "//!\n//! An empty first line.\n"),
            ("f.md", "no doc needed\n"),
        ]);
        assert_eq!(places(&check(&workspace)), ["c.rs:1", "d.rs:1", "e.rs:1"]);
    }
}
