//! What the rules look at: files, packages and dependency trees, read once.
//!
//! Rules take a [`Workspace`] and read nothing themselves, so that each can be
//! tested on a few lines held in memory. Files are what git tracks or would track;
//! packages come from `cargo metadata`, trees from `cargo tree`, both offline.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// The packages whose dependency trees are kept by [`Workspace::load`].
const TREES_OF: [&str; 3] = ["chancery-signer", "chancery-server", "chancery-client"];

/// Everything the rules may look at.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<File>,
    pub(crate) packages: Vec<Package>,
    pub(crate) trees: Vec<Tree>,
    pub(crate) activated: Vec<Activated>,
}

/// One text file, by its path from the root, with `/` between parts.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// One package of this workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its manifest's path from the root.
    pub(crate) manifest: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a package's dependency tables.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// Which of the three tables a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Build,
    Dev,
    Normal,
}

/// The names in one package's tree of normal dependencies, itself included.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) package: String,
    pub(crate) names: BTreeSet<String>,
}

/// A package that some build of the workspace compiles on this platform.
///
/// The lock file names more: optional dependencies that no feature activates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Activated {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: String,
}

/// One breach of one rule, with what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) advice: String,
}

impl Finding {
    pub(crate) fn new(place: (&str, usize), advice: impl Into<String>) -> Self {
        Self { path: place.0.to_owned(), line: place.1, advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.advice)
    }
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// Lines with their numbers, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

impl Workspace {
    /// Reads the checkout at `root`.
    ///
    /// # Errors
    ///
    /// If git or cargo cannot be run there, or say something unexpected.
    pub(crate) fn load(root: PathBuf) -> Result<Self> {
        let trees = TREES_OF.iter().map(|package| tree(&root, package)).collect::<Result<_>>()?;
        Ok(Self {
            files: files(&root)?,
            packages: packages(&root)?,
            trees,
            activated: activated(&root)?,
            root,
        })
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(crate) fn rust_files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// Where `word` first stands in the file at `path`; its first line otherwise.
    pub(crate) fn place<'a>(&self, path: &'a str, word: &str) -> (&'a str, usize) {
        let line = self.file(path).and_then(|file| {
            file.lines().find(|(_, line)| crate::text::has_word(line, word)).map(|(line, _)| line)
        });
        (path, line.unwrap_or(1))
    }
}

fn files(root: &Path) -> Result<Vec<File>> {
    // A checkout that another user owns, as in a container, is still the one meant.
    let trust = format!("safe.directory={}", root.display());
    let list = output(Command::new("git").current_dir(root).args([
        "-c",
        &trust,
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let paths: BTreeSet<&str> = list.split('\0').filter(|path| !path.is_empty()).collect();
    ensure!(!paths.is_empty(), "git lists no file in {}", root.display());
    let mut files = Vec::new();
    for path in paths {
        // Deleted but not yet committed, or a link to a directory: nothing to read.
        if !root.join(path).is_file() {
            continue;
        }
        let bytes = std::fs::read(root.join(path)).with_context(|| format!("reading {path}"))?;
        // Binary files carry no rule.
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let json = output(cargo(root).args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--locked",
        "--offline",
    ]))?;
    let metadata: Value = serde_json::from_str(&json).context("cargo metadata is not JSON")?;
    array(&metadata, "packages")?.iter().map(|package| parse_package(root, package)).collect()
}

fn parse_package(root: &Path, package: &Value) -> Result<Package> {
    let manifest = Path::new(string(package, "manifest_path")?);
    let manifest = manifest.strip_prefix(root).unwrap_or(manifest);
    Ok(Package {
        name: string(package, "name")?.to_owned(),
        manifest: manifest.to_string_lossy().replace('\\', "/"),
        dependencies: array(package, "dependencies")?
            .iter()
            .map(parse_dependency)
            .collect::<Result<_>>()?,
    })
}

fn parse_dependency(dependency: &Value) -> Result<Dependency> {
    let kind = match dependency.get("kind").and_then(Value::as_str) {
        None => Kind::Normal,
        Some("build") => Kind::Build,
        Some("dev") => Kind::Dev,
        Some(other) => bail!("cargo metadata names an unknown dependency kind `{other}`"),
    };
    Ok(Dependency { name: string(dependency, "name")?.to_owned(), kind })
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a [Value]> {
    let array = value.get(key).and_then(Value::as_array);
    Ok(array.with_context(|| format!("cargo metadata has no array `{key}`"))?)
}

fn string<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    let string = value.get(key).and_then(Value::as_str);
    string.with_context(|| format!("cargo metadata has no string `{key}`"))
}

fn tree(root: &Path, package: &str) -> Result<Tree> {
    let list = output(cargo(root).args([
        "tree",
        "--package",
        package,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--locked",
        "--offline",
    ]))
    .context("run `cargo fetch --locked` first if a package is not on this machine yet")?;
    let names = list.lines().filter_map(|line| line.split(' ').next());
    let names = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok(Tree { package: package.to_owned(), names })
}

fn activated(root: &Path) -> Result<Vec<Activated>> {
    let list = output(cargo(root).args([
        "tree",
        "--workspace",
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}|{l}",
        "--locked",
        "--offline",
    ]))?;
    let packages: BTreeSet<Activated> = list.lines().filter_map(parse_activated).collect();
    Ok(packages.into_iter().collect())
}

/// Reads `name v1.2.3 (where)|licence`.
fn parse_activated(line: &str) -> Option<Activated> {
    let (package, licence) = line.rsplit_once('|')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?);
    Some(Activated {
        name: name.to_owned(),
        version: version.strip_prefix('v')?.to_owned(),
        licence: licence.to_owned(),
    })
}

/// Cargo, the same one that runs this program.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} wrote no UTF-8"))
}

#[cfg(test)]
pub(crate) mod sample {
    //! Small workspaces for the tests of the rules.

    use super::*;

    pub(crate) fn files<const N: usize>(files: [(&str, &str); N]) -> Workspace {
        let file = |(path, text): (&str, &str)| File { path: path.into(), text: text.into() };
        Workspace { files: files.map(file).into(), ..Workspace::default() }
    }

    pub(crate) fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
        let dependency =
            |&(name, kind): &(&str, Kind)| Dependency { name: String::from(name), kind };
        Package {
            name: name.into(),
            manifest: format!("crates/{name}/Cargo.toml"),
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    /// Each finding as `path:line`.
    pub(crate) fn places(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_read_from_metadata() {
        let json = serde_json::json!({
            "name": "chancery-log",
            "manifest_path": "/somewhere/crates/chancery-log/Cargo.toml",
            "dependencies": [
                { "name": "sha2", "kind": null },
                { "name": "proptest", "kind": "dev" },
            ],
        });
        let package = parse_package(Path::new("/somewhere"), &json).unwrap();
        assert_eq!(package.manifest, "crates/chancery-log/Cargo.toml");
        let kinds: Vec<Kind> = package.dependencies.iter().map(|found| found.kind).collect();
        assert_eq!(kinds, [Kind::Normal, Kind::Dev]);
    }

    #[test]
    fn a_tree_line_gives_name_version_and_licence() {
        let read = |line| parse_activated(line).map(|it| (it.name, it.version, it.licence));
        assert_eq!(
            read("syn v2.0.119|MIT OR Apache-2.0"),
            Some(("syn".into(), "2.0.119".into(), "MIT OR Apache-2.0".into()))
        );
        assert_eq!(
            read("serde_derive v1.0.228 (proc-macro)|MIT"),
            Some(("serde_derive".into(), "1.0.228".into(), "MIT".into()))
        );
        assert_eq!(read(""), None);
    }

    #[test]
    fn a_finding_is_printed_with_its_place_first() {
        let finding = Finding::new(("src/lib.rs", 7), "do better");
        assert_eq!(finding.to_string(), "src/lib.rs:7: do better");
    }
}
