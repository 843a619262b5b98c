//! No lint is silenced without noticing when it falls silent by itself.
//!
//! Clippy's `allow_attributes` says the same where it runs; this also sees code that
//! a feature or a platform leaves out of the build.

use crate::workspace::{Finding, Workspace};

/// Split, so that this file does not find itself.
const ATTRIBUTES: [&str; 3] =
    [concat!("#[al", "low("), concat!("#![al", "low("), concat!(", al", "low(")];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust_files() {
        for (number, _) in file.lines().filter(|(_, line)| allows(line)) {
            let advice = "use `#[expect(lint, reason = \"...\")]`, or mend what the lint found";
            findings.push(Finding::new((&file.path, number), advice));
        }
    }
    findings
}

fn allows(line: &str) -> bool {
    let line = line.trim_start();
    let [outer, inner, conditional] = ATTRIBUTES;
    line.starts_with(outer)
        || line.starts_with(inner)
        || (line.contains("cfg_attr(") && line.contains(conditional))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::{files, places};

    #[test]
    fn each_form_of_the_attribute_is_found() {
        let [outer, inner, conditional] = ATTRIBUTES;
        let text = format!(
            "{inner}dead_code)]\n// {outer}in a comment)]\n\
             #[expect(dead_code, reason = \"r\")]\n    {outer}unused)]\n\
             #[cfg_attr(test{conditional}unused))]\n"
        );
        let workspace = files([("crates/a/src/lib.rs", &text), ("docs/style.md", outer)]);
        let found = places(&check(&workspace));
        assert_eq!(
            found,
            ["crates/a/src/lib.rs:1", "crates/a/src/lib.rs:4", "crates/a/src/lib.rs:5"]
        );
    }
}
