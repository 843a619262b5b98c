//! Nothing is left for later in the sources.
//!
//! What is not done goes to an issue. Markers count as whole words, in every text
//! file; macros and the ignored test count in Rust. In Markdown a marker between
//! backticks is talked about, not left.

use crate::text::word_positions;
use crate::workspace::{File, Finding, Workspace};

// Split, so that this file does not find itself.
const MARKERS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
const RUST_ONLY: [&str; 3] =
    [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("#[ig", "nore")];

/// Other people's files, kept as they came.
const FOREIGN: &str = "vectors/";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let ours = workspace.files.iter().filter(|file| !file.path.starts_with(FOREIGN));
    ours.flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        if let Some(leftover) = leftover(file, line) {
            let advice =
                format!("`{leftover}` leaves something for later: do it, or open an issue");
            findings.push(Finding::new((&file.path, number), advice));
        }
    }
    findings
}

fn leftover(file: &File, line: &str) -> Option<&'static str> {
    let quoted = |at: usize| line.get(..at).is_some_and(|head| head.ends_with('`'));
    let marker = MARKERS
        .into_iter()
        .find(|marker| word_positions(line, marker).any(|at| file.is_rust() || !quoted(at)));
    let macros = || RUST_ONLY.into_iter().find(|it| file.is_rust() && line.contains(it));
    marker.or_else(macros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::{files, places};

    #[test]
    fn markers_are_found_in_every_text_and_macros_in_rust() {
        let [marker, _] = MARKERS;
        let [makro, _, ignored] = RUST_ONLY;
        let text = format!("// {marker}: later\n{makro}();\n{ignored}]\nfn {marker}_LIST() {{}}\n");
        let prose = format!("{marker}\nWe write no `{marker}` and no {makro}\n");
        let workspace = files([
            ("crates/a/src/lib.rs", &text),
            ("docs/style.md", &prose),
            ("vectors/theirs.txt", marker),
        ]);
        assert_eq!(
            places(&check(&workspace)),
            [
                "crates/a/src/lib.rs:1",
                "crates/a/src/lib.rs:2",
                "crates/a/src/lib.rs:3",
                "docs/style.md:1"
            ]
        );
    }
}
