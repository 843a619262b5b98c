//! How much code the sensitive processes pull in.
//!
//! Counted by unique package name over normal dependencies, our own crates included.
//! A ceiling only ever falls: lower it when the count has fallen, and raise it only
//! with the reason in the same commit.

use crate::workspace::{Finding, Tree, Workspace};

/// Where a ceiling is changed.
const HERE: &str = "xtask/src/rules/trees.rs";

/// The most packages each tree may have: what was counted when it was last changed.
///
/// The signer's rose from 42 to 59 with HPKE for imports (rustls) and the front's certificates (rcgen), and to
/// 65 with Argon2id for passphrases and an HMAC that is quick on short messages.
const CEILINGS: [(&str, usize); 2] = [("chancery-signer", 65), ("chancery-server", 67)];

/// Packages that hold no front: Cedar, the embedded database and PKCS#11.
const FRONTS: [&str; 2] = ["chancery-server", "chancery-client"];
const BARRED_FROM_FRONTS: [&str; 3] = ["cedar", "cryptoki", "redb"];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, ceiling) in CEILINGS {
        let place = workspace.place(HERE, package);
        match tree(workspace, package) {
            None => findings
                .push(Finding::new(place, format!("`{package}` has no tree: update the ceilings"))),
            Some(tree) if tree.names.len() > ceiling => {
                let advice = format!(
                    "`{package}` pulls {} packages, over its ceiling of {ceiling}: \
                     drop a dependency or a feature",
                    tree.names.len()
                );
                findings.push(Finding::new(place, advice));
            }
            Some(_) => {}
        }
    }
    findings.extend(FRONTS.iter().filter_map(|front| tree(workspace, front)).flat_map(barred));
    findings
}

/// How many packages each sensitive process pulls in, for people.
pub(crate) fn counts(workspace: &Workspace) -> String {
    let count = |package: &str| {
        tree(workspace, package).map_or("?".to_owned(), |tree| tree.names.len().to_string())
    };
    let [(signer, _), (front, _)] = CEILINGS;
    format!("packages: signer {}, front {}", count(signer), count(front))
}

fn tree<'a>(workspace: &'a Workspace, package: &str) -> Option<&'a Tree> {
    workspace.trees.iter().find(|tree| tree.package == package)
}

fn barred(tree: &Tree) -> Vec<Finding> {
    let manifest = format!("crates/{}/Cargo.toml", tree.package);
    let is_barred = |name: &&String| {
        BARRED_FROM_FRONTS.iter().any(|barred| {
            name.strip_prefix(barred).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    };
    let finding = |name: &String| {
        let advice = format!(
            "`{}` must not pull `{name}`: find the path with `cargo tree --invert {name}`",
            tree.package
        );
        Finding::new((&manifest, 1), advice)
    };
    tree.names.iter().filter(is_barred).map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::places;

    fn counted(package: &str, count: usize) -> Tree {
        Tree {
            package: package.into(),
            names: (0..count).map(|n| format!("dependency-{n}")).collect(),
        }
    }

    fn workspace(trees: Vec<Tree>) -> Workspace {
        Workspace { trees, ..Workspace::default() }
    }

    fn at_ceilings() -> Vec<Tree> {
        CEILINGS.map(|(package, ceiling)| counted(package, ceiling)).into()
    }

    #[test]
    fn trees_at_their_ceilings_pass() {
        assert_eq!(check(&workspace(at_ceilings())), []);
    }

    #[test]
    fn the_counts_are_said() {
        let [(_, signer), (_, front)] = CEILINGS;
        let expected = format!("packages: signer {signer}, front {front}");
        assert_eq!(counts(&workspace(at_ceilings())), expected);
        assert_eq!(counts(&workspace(Vec::new())), "packages: signer ?, front ?");
    }

    /// The document gives the ceilings, which a tree that has shrunk lowers in the same commit.
    #[test]
    fn the_document_of_figures_has_the_counts() {
        let text = include_str!("../../../docs/performance.md");
        let [(_, signer), (_, front)] = CEILINGS;
        for (of, count) in [("signer", signer), ("front", front)] {
            let row =
                text.lines().find(|line| line.starts_with(&format!("| packages of the {of}")));
            assert!(row.unwrap().contains(&format!("| {count};")), "{row:?}");
        }
    }

    #[test]
    fn one_package_more_fails() {
        let mut trees = at_ceilings();
        trees[0].names.insert("one-more".into());
        let findings = check(&workspace(trees));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].advice.contains("over its ceiling"));
    }

    #[test]
    fn a_tree_that_was_not_read_fails() {
        assert_eq!(check(&workspace(Vec::new())).len(), CEILINGS.len());
    }

    #[test]
    fn a_front_that_pulls_the_database_or_cedar_fails() {
        let mut trees = at_ceilings();
        let names = ["redb", "cedar-policy", "cedarwood", "redbird"].map(str::to_owned).into();
        trees.push(Tree { package: "chancery-client".into(), names });
        let findings = check(&workspace(trees));
        assert_eq!(places(&findings), ["crates/chancery-client/Cargo.toml:1"; 2]);
    }
}
