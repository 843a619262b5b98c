//! The rules of `cargo xtask tidy`, one module each.

mod absolute_paths;
mod allow_attributes;
mod arrows;
mod assumptions;
mod evidence;
mod file_size;
mod leftovers;
mod licences;
mod lints_table;
mod module_docs;
mod properties;
mod pure_crates;
mod readme;
mod supply;
pub(crate) mod trees;

use crate::workspace::{Finding, Workspace};

/// One rule: what it is called, and how it is checked.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) check: fn(&Workspace) -> Vec<Finding>,
}

/// Every rule, in the order in which findings are printed.
pub(crate) const ALL: &[Rule] = &[
    Rule { name: "arrows", check: arrows::check },
    Rule { name: "pure crates", check: pure_crates::check },
    Rule { name: "trees", check: trees::check },
    Rule { name: "supply", check: supply::check },
    Rule { name: "lints table", check: lints_table::check },
    Rule { name: "allow attributes", check: allow_attributes::check },
    Rule { name: "module docs", check: module_docs::check },
    Rule { name: "leftovers", check: leftovers::check },
    Rule { name: "file size", check: file_size::check },
    Rule { name: "absolute paths", check: absolute_paths::check },
    Rule { name: "properties", check: properties::check },
    Rule { name: "assumptions", check: assumptions::check },
    Rule { name: "readme", check: readme::check },
];
