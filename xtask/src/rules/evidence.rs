//! Whether what a document names is there.
//!
//! A name is what stands between backticks: an item or test by its Rust path, whose
//! last segment must stand in some Rust file; or a file by its path from the root.
//! Anything else between backticks, such as a command, names nothing and proves
//! nothing.

use std::fmt;

use crate::text::{code_spans, has_word, is_identifier};
use crate::workspace::{File, Workspace};

/// These sources talk about the others and are no evidence.
const NOT_EVIDENCE: &str = "xtask/";

/// What one code span refers to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// A file, by its path from the root.
    File(&'a str),
    /// The last segment of a Rust path.
    Item(&'a str),
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) | Self::Item(name) => f.write_str(name),
        }
    }
}

/// The names in one table cell.
pub(super) fn names(cell: &str) -> Vec<Name<'_>> {
    code_spans(cell).filter_map(parse).collect()
}

fn parse(span: &str) -> Option<Name<'_>> {
    if span.contains('/') {
        return (!span.contains(' ')).then_some(Name::File(span));
    }
    // Labels, arguments and generics say more than the name.
    let path = span.split(['{', '(', '<']).next()?;
    let last = path.rsplit("::").next()?;
    // A path through a crate may have dashes: `chancery-core::step`.
    let is_path = path.split("::").all(|segment| is_identifier(&segment.replace('-', "_")));
    (is_path && is_identifier(last)).then_some(Name::Item(last))
}

/// Whether an item or file of that name is in the sources.
pub(super) fn exists(workspace: &Workspace, name: &Name<'_>) -> bool {
    match name {
        Name::File(path) => workspace.file(path).is_some(),
        Name::Item(item) => sources(workspace).any(|file| has_word(&file.text, item)),
    }
}

/// Whether a test function, or a file of tests, of that name is in the sources.
pub(super) fn is_test(workspace: &Workspace, name: &Name<'_>) -> bool {
    match name {
        Name::File(path) => workspace.file(path).is_some(),
        Name::Item(item) => {
            let head = format!("fn {item}(");
            sources(workspace).any(|file| file.text.contains(&head))
        }
    }
}

fn sources(workspace: &Workspace) -> impl Iterator<Item = &File> {
    workspace.rust_files().filter(|file| !file.path.starts_with(NOT_EVIDENCE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::files;

    #[test]
    fn paths_files_and_metrics_are_names_and_commands_are_not() {
        let cell = "`chancery-core::step` `docs/a.md` `violations_total{property}` `cargo test`";
        let expected =
            [Name::Item("step"), Name::File("docs/a.md"), Name::Item("violations_total")];
        assert_eq!(names(cell), expected);
        assert_eq!(names("step, without backticks"), []);
    }

    #[test]
    fn an_item_exists_in_the_sources_and_not_in_the_rules() {
        let workspace = files([
            ("crates/a/src/lib.rs", "//! A.\nstruct Sealed;\n"),
            ("xtask/src/main.rs", "struct Imagined;\n"),
            ("docs/a.md", "Written"),
        ]);
        assert!(exists(&workspace, &Name::Item("Sealed")));
        assert!(!exists(&workspace, &Name::Item("Seal")));
        assert!(!exists(&workspace, &Name::Item("Imagined")));
        assert!(!exists(&workspace, &Name::Item("Written")));
        assert!(exists(&workspace, &Name::File("docs/a.md")));
        assert!(!exists(&workspace, &Name::File("docs/b.md")));
    }

    #[test]
    fn a_test_is_a_function() {
        let workspace = files([("crates/a/src/lib.rs", "fn it_holds() {}\nstruct Sealed;\n")]);
        assert!(is_test(&workspace, &Name::Item("it_holds")));
        assert!(!is_test(&workspace, &Name::Item("Sealed")));
    }
}
