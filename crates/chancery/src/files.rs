//! Inputs, and outputs that are whole or not there.
//!
//! **Invariant:** a file that a command names as its output is either as it was or complete and synced:
//! bytes go to a temporary file beside it, which is renamed at the end and removed on every other way out.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::exit::Misuse;

/// What stands for standard input and standard output.
const STANDARD: &str = "-";

/// Whether an input was standard input.
static STANDARD_INPUT_TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether a path stands for standard input or output.
pub(crate) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == STANDARD
}

/// An input that is read to its end.
pub(crate) struct Input {
    reader: Box<dyn Read>,
    length: Option<u64>,
    name: String,
}

impl Input {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if is_standard(path) {
            if STANDARD_INPUT_TAKEN.swap(true, Ordering::Relaxed) {
                // Its second reader would find nothing, and sign or encrypt that.
                bail!(Misuse("standard input can be only one of the inputs".into()));
            }
            return Ok(Self {
                reader: Box::new(io::stdin()),
                length: None,
                name: "standard input".into(),
            });
        }
        let name = format!("`{}`", path.display());
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        let metadata = file.metadata().with_context(|| format!("cannot look at {name}"))?;
        if metadata.is_dir() {
            bail!("{name} is a directory");
        }
        Ok(Self {
            reader: Box::new(file),
            length: metadata.is_file().then_some(metadata.len()),
            name,
        })
    }

    /// How many bytes there are, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The first `most` bytes, or all if there are fewer.
    pub(crate) fn read_start(&mut self, most: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        let read = (&mut self.reader).take(limit).read_to_end(&mut bytes);
        read.with_context(|| format!("cannot read {}", self.name))?;
        Ok(bytes)
    }

    /// All bytes, of which there are at most `most`.
    pub(crate) fn read_all(&mut self, most: usize) -> Result<Vec<u8>> {
        let bytes = self.read_start(most.saturating_add(1))?;
        if bytes.len() > most {
            bail!("{} has more than {most} bytes", self.name);
        }
        Ok(bytes)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// Reads a small file as text.
pub(crate) fn read_text(path: &Path, most: usize) -> Result<String> {
    let mut input = Input::open(path)?;
    let bytes = input.read_all(most)?;
    String::from_utf8(bytes).with_context(|| format!("{} is not text", input.name()))
}

/// Whether others may read what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// As the umask says.
    Public,
    /// By the owner alone.
    Secret,
}

/// Where a result goes.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// The file that the result is written to, or `-`.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) overwrite: OverwriteArgs,
}

/// Where a result goes, of a command that may be proposed instead and has none then.
#[derive(Args, Debug)]
pub(crate) struct LaterOutputArgs {
    /// The file that the result is written to, or `-`.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "propose",
        conflicts_with = "propose"
    )]
    out: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
}

impl LaterOutputArgs {
    /// Where it goes; nowhere yet, if the command is proposed.
    pub(crate) fn now(&self) -> Option<OutputArgs> {
        let out = self.out.clone()?;
        Some(OutputArgs { out, overwrite: self.overwrite })
    }
}

/// What happens to a file that is there.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OverwriteArgs {
    /// Overwrite files that are there.
    #[arg(long)]
    pub(crate) force: bool,
}

impl OutputArgs {
    /// Opens the output.
    pub(crate) fn create(&self, secrecy: Secrecy) -> Result<Output> {
        Output::create(&self.out, secrecy, self.overwrite)
    }

    /// Writes a whole result.
    pub(crate) fn write(&self, secrecy: Secrecy, bytes: &[u8]) -> Result<()> {
        write(&self.out, secrecy, self.overwrite, bytes)
    }

    /// Refuses an output that could not be written, before anything is done for it.
    pub(crate) fn check(&self) -> Result<()> {
        check(&self.out, self.overwrite)
    }

    /// Whether the result itself goes to standard output, so that nothing else may.
    pub(crate) fn is_standard(&self) -> bool {
        is_standard(&self.out)
    }

    /// Refuses a second result that cannot be written, or would go to the same place as the first.
    pub(crate) fn check_beside(&self, second: &Path) -> Result<()> {
        if second == self.out {
            bail!(Misuse(format!("two results cannot both go to `{}`", second.display())));
        }
        check(second, self.overwrite)
    }
}

/// Writes a whole file.
pub(crate) fn write(
    path: &Path,
    secrecy: Secrecy,
    overwrite: OverwriteArgs,
    bytes: &[u8],
) -> Result<()> {
    let mut output = Output::create(path, secrecy, overwrite)?;
    output.write_all(bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
    output.commit()
}

/// Refuses a target that is there and may not be overwritten.
fn check(path: &Path, overwrite: OverwriteArgs) -> Result<()> {
    if is_standard(path) {
        return Ok(());
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot look at `{}`", path.display())),
        Ok(metadata) if !metadata.is_file() => {
            bail!("`{}` is there and is no file", path.display())
        }
        Ok(_) if !overwrite.force => {
            bail!("`{}` is there; `--force` overwrites it", path.display())
        }
        Ok(_) => Ok(()),
    }
}

/// An output on its way.
pub(crate) enum Output {
    /// A file that is not yet in its place.
    File(Pending),
    /// Standard output.
    Standard(io::Stdout),
}

/// A temporary file beside its target.
pub(crate) struct Pending {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    overwrite: OverwriteArgs,
}

impl Output {
    /// Opens an output; its target is touched by [`Self::commit`] alone.
    pub(crate) fn create(
        target: &Path,
        secrecy: Secrecy,
        overwrite: OverwriteArgs,
    ) -> Result<Self> {
        check(target, overwrite)?;
        if is_standard(target) {
            return Ok(Self::Standard(io::stdout()));
        }
        let temporary = beside(target)?;
        let mode = if secrecy == Secrecy::Secret { 0o600 } else { 0o666 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary);
        let file = file.with_context(|| format!("cannot write beside `{}`", target.display()))?;
        Ok(Self::File(Pending { file, temporary, target: target.into(), overwrite }))
    }

    /// Syncs the file and moves it into its place.
    pub(crate) fn commit(self) -> Result<()> {
        match self {
            Self::Standard(mut out) => out.flush().context("cannot write to standard output"),
            Self::File(pending) => {
                let what = format!("cannot put `{}` into its place", pending.target.display());
                pending.commit().context(what)
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(pending) => pending.file.write(bytes),
            Self::Standard(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(pending) => pending.file.flush(),
            Self::Standard(out) => out.flush(),
        }
    }
}

impl Pending {
    fn commit(&self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.overwrite.force {
            fs::rename(&self.temporary, &self.target)?;
        } else {
            // Refuses a target that has appeared since it was looked for.
            renameat_with(CWD, &self.temporary, CWD, &self.target, RenameFlags::NOREPLACE)?;
        }
        File::open(directory(&self.target))?.sync_all()
    }
}

impl Drop for Pending {
    /// Removes what was not moved into its place.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

fn directory(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `.name.pid.part` in the target's directory.
fn beside(target: &Path) -> Result<PathBuf> {
    let name =
        target.file_name().with_context(|| format!("`{}` names no file", target.display()))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.part", std::process::id()));
    Ok(directory(target).join(temporary))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::testing::Scratch;

    const KEEP: OverwriteArgs = OverwriteArgs { force: false };
    const FORCE: OverwriteArgs = OverwriteArgs { force: true };

    #[test]
    fn a_secret_is_the_owners_alone_and_nothing_else_is_left() {
        let scratch = Scratch::new("files-secret");
        let target = scratch.path("a.handle");
        write(&target, Secrecy::Secret, KEEP, b"secret").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"secret");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(scratch.names(), ["a.handle"]);
    }

    #[test]
    fn a_file_that_is_there_is_kept_unless_forced() {
        let scratch = Scratch::new("files-force");
        let target = scratch.path("out");
        fs::write(&target, "old").unwrap();
        let refusal = write(&target, Secrecy::Public, KEEP, b"new").unwrap_err().to_string();
        assert!(refusal.contains("out") && refusal.contains("--force"), "{refusal}");
        assert_eq!(fs::read(&target).unwrap(), b"old");
        write(&target, Secrecy::Public, FORCE, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_kept_too() {
        let scratch = Scratch::new("files-race");
        let target = scratch.path("out");
        let mut output = Output::create(&target, Secrecy::Public, KEEP).unwrap();
        output.write_all(b"new").unwrap();
        fs::write(&target, "theirs").unwrap();
        assert!(output.commit().is_err());
        assert_eq!(fs::read(&target).unwrap(), b"theirs");
        assert_eq!(scratch.names(), ["out"]);
    }

    #[test]
    fn what_was_not_finished_leaves_nothing() {
        let scratch = Scratch::new("files-drop");
        let mut output = Output::create(&scratch.path("out"), Secrecy::Public, KEEP).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert!(scratch.names().is_empty());
    }

    #[test]
    fn no_device_or_directory_is_replaced_even_by_force() {
        let scratch = Scratch::new("files-device");
        assert!(write(Path::new("/dev/null"), Secrecy::Public, FORCE, b"x").is_err());
        assert!(write(scratch.as_ref(), Secrecy::Public, FORCE, b"x").is_err());
    }

    #[test]
    fn an_input_is_read_to_its_limit_and_no_further() {
        let scratch = Scratch::new("files-input");
        let path = scratch.path("in");
        fs::write(&path, [7; 10]).unwrap();
        assert_eq!(Input::open(&path).unwrap().read_all(10).unwrap(), [7; 10]);
        let refusal = Input::open(&path).unwrap().read_all(9).unwrap_err().to_string();
        assert!(refusal.contains('`') && refusal.contains("more than 9"), "{refusal}");
        let missing = Input::open(&scratch.path("missing")).err().unwrap().to_string();
        assert!(missing.contains("missing"), "{missing}");
    }
}
