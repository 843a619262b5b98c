//! A file with one ciphertext on each line.
//!
//! A line is the base64 of a ciphertext, or a JSON object whose field `ciphertext`, or `output` as the API answers, has it;
//! `context` in the object is that of this one ciphertext. Everything else on the line stays as it is. Empty lines stay.
//!
//! The new file is written beside, in the order of the old one, and takes its place when it is whole and durable. A journal
//! says how far it is, so that whoever comes after a crash goes on there; if the old file is another one by then, it
//! begins anew.
//!
//! **Invariant:** a new file that is not made of all of the old one does not take its place.

mod line;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::directory::{Identity, take_after};
use super::exchange::{self, Put};
use super::failures::Failures;
use super::item::{Batch, Item, Lies, Of, Tally, Todo};
use super::opened::{self, Opened};
use line::{counted, replaced, todo};

/// The longest line, in bytes: 256 KiB. The longest ciphertext takes 88 KiB in base64, its context under 4.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// How many bytes are written before the journal says so: 1 MiB, some thousands of ciphertexts, which is what a crash costs
/// at most.
const JOURNAL_EVERY: u64 = 1024 * 1024;

/// A file of ciphertexts.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    path: PathBuf,
}

/// How far the new file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reached {
    /// So many bytes of the old file are read.
    read: u64,
    /// So many lines.
    lines: u64,
    /// So many bytes of the new one are written.
    written: u64,
    /// So many ciphertexts in it are under the version that protects.
    pub(super) done: u64,
    /// So many failures are listed, in so many bytes.
    pub(super) failures: (u64, u64),
}

/// The journal of a new file: which old one it is of, under which version, and how far it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    old: [i64; 7],
    target: u32,
    reached: Reached,
}

impl Lines {
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Counts what lies there.
    pub(super) fn scan(&self, of: &Of, seen: &mut dyn FnMut(u64)) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut reader = self.reader(0)?;
        let (mut number, mut line) = (0, Vec::new());
        while self.next(&mut reader, &mut number, &mut line)? {
            for named in counted(of, &line) {
                tally.count(named);
            }
            seen(tally.total());
        }
        Ok(tally)
    }

    /// Reads all from where an earlier one came to, until `give` wants no more.
    pub(super) fn read(
        &self,
        (of, target): (&Of, u32),
        from: Reached,
        give: &mut dyn FnMut(Batch) -> bool,
    ) -> Result<()> {
        let mut reader = self.reader(from.read)?;
        let (mut read, mut number) = (from.read, from.lines);
        let (mut batch, mut line) = (Batch::numbered(0), Vec::new());
        while self.next(&mut reader, &mut number, &mut line)? {
            let todo = todo((of, target), &line);
            let sent = if let Todo::Rewrap(bytes, _) = &todo { bytes.len() } else { 0 };
            if batch.is_full_for(line.len() + sent) {
                let next = Batch::numbered(batch.number + 1);
                if !give(std::mem::replace(&mut batch, next)) {
                    return Ok(());
                }
            }
            read += u64::try_from(line.len()).unwrap_or_default();
            batch.push(Item { lies: Lies::Line(number, std::mem::take(&mut line)), todo });
            batch.behind = (read, number);
        }
        if !batch.items.is_empty() {
            give(batch);
        }
        Ok(())
    }

    fn reader(&self, from: u64) -> Result<BufReader<File>> {
        let cannot = || format!("cannot read `{}`", self.path.display());
        let mut file = self.file()?;
        file.seek(SeekFrom::Start(from)).with_context(cannot)?;
        Ok(BufReader::with_capacity(LINE_BYTES_MAX, file))
    }

    fn file(&self) -> Result<File> {
        let opened = opened::to_read(&self.path);
        match opened.with_context(|| format!("cannot read `{}`", self.path.display()))? {
            Opened::File(file, _) => Ok(file),
            Opened::NoFile(_) => bail!("`{}` is no regular file any more", self.path.display()),
        }
    }

    /// The next line with its end; `false` behind the last one.
    fn next(
        &self,
        reader: &mut BufReader<File>,
        number: &mut u64,
        line: &mut Vec<u8>,
    ) -> Result<bool> {
        line.clear();
        let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = reader.take(most).read_until(b'\n', line);
        let read = read.with_context(|| format!("cannot read `{}`", self.path.display()))?;
        *number += u64::from(read > 0);
        if read == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            bail!(
                "line {number} of `{}` has more than {LINE_BYTES_MAX} bytes: it is no file of ciphertexts",
                self.path.display()
            );
        }
        Ok(read > 0)
    }

    fn metadata(&self) -> Result<fs::Metadata> {
        let metadata = fs::symlink_metadata(&self.path);
        metadata.with_context(|| format!("cannot look at `{}`", self.path.display()))
    }

    /// Refuses what a new file would not be as the old one was.
    fn check(&self, metadata: &fs::Metadata) -> Result<()> {
        let path = self.path.display();
        if metadata.nlink() > 1 {
            bail!(
                "`{path}` has other names (hard links), which would keep the old ciphertexts; remove them first"
            );
        }
        let list = opened::has_access_list(&self.file()?);
        if list.with_context(|| format!("cannot look at the access control list of `{path}`"))? {
            bail!(
                "`{path}` has an access control list, which the new file would not have; remove it first (`setfacl -b`), and \
                 set it again afterwards"
            );
        }
        Ok(())
    }
}

/// Writes the new file.
pub(super) struct Writer {
    old: PathBuf,
    was: Identity,
    target: u32,
    state: PathBuf,
    new: BufWriter<File>,
    reached: Reached,
    journaled: u64,
}

impl Writer {
    /// Goes on where an earlier one came to, or begins anew.
    pub(super) fn begin(lines: &Lines, state: &Path, target: u32) -> Result<Self> {
        let metadata = lines.metadata()?;
        lines.check(&metadata)?;
        let was = Identity::of(&metadata);
        let reached = journal(state)
            .filter(|journal| journal.old == was.numbers() && journal.target == target)
            .map(|journal| journal.reached)
            .filter(|reached| is_there(&new_file(state), reached.written))
            .filter(|reached| is_there(&Failures::path(state), reached.failures.0))
            .unwrap_or_default();
        let path = new_file(state);
        let cannot = || format!("cannot write `{}`", path.display());
        if reached == Reached::default() {
            // What is there is of an earlier file, or that file itself.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(cannot);
                }
                _ => {}
            }
        }
        let mut file = opened::own(&path).with_context(cannot)?;
        // What is behind was not in the journal, so it may be anything.
        file.set_len(reached.written).with_context(cannot)?;
        file.seek(SeekFrom::Start(reached.written)).with_context(cannot)?;
        Ok(Self {
            old: lines.path.clone(),
            was,
            target,
            state: state.to_owned(),
            new: BufWriter::new(file),
            reached,
            journaled: reached.written,
        })
    }

    /// How far it is.
    pub(super) fn reached(&self) -> Reached {
        self.reached
    }

    /// Takes a line as it was. `is_done` says whether it is a ciphertext under the version that protects.
    pub(super) fn keep(&mut self, line: &[u8], is_done: bool) -> Result<()> {
        self.new.write_all(line).with_context(|| cannot_write(&self.state))?;
        self.reached.written += u64::try_from(line.len()).unwrap_or_default();
        self.reached.done += u64::from(is_done);
        Ok(())
    }

    /// Takes a line with its new ciphertext, which `is_done` says of; `false` if the old one does not stand in it once.
    pub(super) fn put(
        &mut self,
        line: &[u8],
        (old, new): (&[u8], &[u8]),
        is_done: bool,
    ) -> Result<bool> {
        match replaced(line, old, new) {
            Some(line) => self.keep(&line, is_done).map(|()| true),
            None => self.keep(line, false).map(|()| false),
        }
    }

    /// Notes that everything up to there is taken; `failures` says how many are listed, and makes that durable.
    pub(super) fn behind(
        &mut self,
        (read, lines): (u64, u64),
        failures: &mut dyn FnMut() -> Result<(u64, u64)>,
    ) -> Result<()> {
        (self.reached.read, self.reached.lines) = (read, lines);
        if self.reached.written.saturating_sub(self.journaled) >= JOURNAL_EVERY {
            self.reached.failures = failures()?;
            self.note()?;
        }
        Ok(())
    }

    /// So many bytes list so many failures.
    pub(super) fn reach_failures(&mut self, failures: (u64, u64)) {
        self.reached.failures = failures;
    }

    /// Makes durable what there is, and then says so in the journal.
    pub(super) fn note(&mut self) -> Result<()> {
        self.new.flush().with_context(|| cannot_write(&self.state))?;
        self.new.get_ref().sync_data().with_context(|| cannot_write(&self.state))?;
        let journal =
            Journal { old: self.was.numbers(), target: self.target, reached: self.reached };
        let text = serde_json::to_vec(&journal).with_context(|| cannot_write(&self.state))?;
        replace(&self.state.join(JOURNAL), &text).with_context(|| cannot_write(&self.state))?;
        self.journaled = self.reached.written;
        Ok(())
    }

    /// Has what was written begin anew the next time.
    pub(super) fn discard(self) -> Result<()> {
        drop(self.new);
        match fs::remove_file(self.state.join(JOURNAL)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| cannot_write(&self.state))
            }
            _ => Ok(()),
        }
    }

    /// Puts the new file in the place of the old one, if it is made of all of that, and that is as it was read.
    pub(super) fn finish(mut self) -> Result<()> {
        self.note()?;
        let (read, length) = (self.reached.read, self.was.length());
        if read != length {
            bail!(
                "{read} of {length} bytes of `{}` are in the new file, so it does not take its place; resume the campaign",
                self.old.display()
            );
        }
        let cannot = || format!("cannot replace `{}`", self.old.display());
        let metadata = fs::symlink_metadata(&self.old).with_context(cannot)?;
        take_after(self.new.get_ref(), &metadata).with_context(cannot)?;
        self.new.get_ref().sync_all().with_context(cannot)?;
        let new = new_file(&self.state);
        if exchange::put(&new, &self.old, self.was).with_context(cannot)? != Put::InPlace {
            bail!(
                "`{}` was changed while it was read; the campaign goes on with it as it is now once it is resumed",
                self.old.display()
            );
        }
        for directory in [self.old.parent(), Some(&*self.state)].into_iter().flatten() {
            // The parent of a bare name is the directory here.
            let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            File::open(here).and_then(|directory| directory.sync_all()).with_context(cannot)?;
        }
        // The old file, and a journal of it: if they stay, the next start finds that they are of a file that is no more.
        let _ = fs::remove_file(&new);
        let _ = fs::remove_file(self.state.join(JOURNAL));
        Ok(())
    }
}

/// The journal's name in the campaign's directory.
const JOURNAL: &str = "journal.json";

fn new_file(state: &Path) -> PathBuf {
    state.join("new-lines")
}

fn cannot_write(state: &Path) -> String {
    format!("cannot write in `{}`", state.display())
}

/// Whether a file has so many bytes at least.
fn is_there(path: &Path, bytes: u64) -> bool {
    bytes == 0 || fs::symlink_metadata(path).is_ok_and(|metadata| metadata.len() >= bytes)
}

fn journal(state: &Path) -> Option<Journal> {
    serde_json::from_slice(&fs::read(state.join(JOURNAL)).ok()?).ok()
}

/// Writes a file as a whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = opened::own(&new)?;
    file.set_len(0)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use chancery_api::http::fields::Base64;

    use super::super::Place;
    use super::super::item::tests::{envelope, of};
    use super::*;
    use crate::testing::Scratch;

    fn text(bytes: &[u8]) -> String {
        Base64(bytes.to_vec()).to_text()
    }

    /// A file of three old ciphertexts, and the directory of a campaign beside it.
    fn scene(name: &str) -> (Scratch, Lines, PathBuf) {
        let scratch = Scratch::new(name);
        let (path, state) = (scratch.path("cards"), scratch.path("cards.reprotect"));
        let line = format!("{}\n", text(&envelope(2, 1)));
        fs::write(&path, line.repeat(3)).unwrap();
        fs::create_dir(&state).unwrap();
        (scratch, Lines::at(&path), state)
    }

    #[test]
    fn a_file_of_several_names_is_refused_and_a_link_leads_to_the_file_itself() {
        let (scratch, lines, state) = scene("lines-names");
        let link = scratch.path("link");
        std::os::unix::fs::symlink(&lines.path, &link).unwrap();
        let Place::Lines(of_link) = Place::at(&link).unwrap() else { panic!("no file") };
        assert_eq!(of_link.path, fs::canonicalize(&lines.path).unwrap());
        assert!(Writer::begin(&lines, &state, 2).is_ok());
        fs::hard_link(&lines.path, scratch.path("other")).unwrap();
        let refused = Writer::begin(&lines, &state, 2).err().unwrap().to_string();
        assert!(refused.contains("hard links"), "{refused}");
    }

    fn lines_of(lines: &Lines, from: Reached) -> Vec<(u64, Vec<u8>)> {
        let mut all = Vec::new();
        let mut give = |batch: Batch| {
            for item in batch.items {
                let Lies::Line(number, line) = item.lies else { panic!("no line") };
                all.push((number, line));
            }
            true
        };
        lines.read((&of(), 2), from, &mut give).unwrap();
        all
    }

    /// Takes the first `many` lines that are left, and says so in the journal.
    fn taken(writer: &mut Writer, lines: &Lines, many: usize) {
        let (old, new) = (envelope(2, 1), envelope(2, 2));
        for (number, line) in lines_of(lines, writer.reached()).into_iter().take(many) {
            assert!(writer.put(&line, (&old, &new), true).unwrap());
            let read = number * u64::try_from(line.len()).unwrap();
            writer.behind((read, number), &mut || Ok((0, 0))).unwrap();
        }
        writer.note().unwrap();
    }

    #[test]
    fn the_next_worker_goes_on_where_the_journal_says_and_drops_what_is_behind() {
        let (_scratch, lines, state) = scene("lines-journal");
        let mut writer = Writer::begin(&lines, &state, 2).unwrap();
        taken(&mut writer, &lines, 2);
        // Written, and not in the journal: the machine went down here.
        writer.keep(b"torn", false).unwrap();
        drop(writer);
        let mut writer = Writer::begin(&lines, &state, 2).unwrap();
        assert_eq!((writer.reached().done, writer.reached().lines), (2, 2));
        taken(&mut writer, &lines, 3);
        writer.finish().unwrap();
        let line = format!("{}\n", text(&envelope(2, 2)));
        assert_eq!(fs::read_to_string(&lines.path).unwrap(), line.repeat(3));
        assert!(!state.join(JOURNAL).exists() && !new_file(&state).exists());
    }

    #[test]
    fn a_journal_of_another_file_or_version_or_without_its_new_file_is_none() {
        let (_scratch, lines, state) = scene("lines-stale");
        taken(&mut Writer::begin(&lines, &state, 2).unwrap(), &lines, 2);
        let done = |target| Writer::begin(&lines, &state, target).unwrap().reached().done;
        assert_eq!(done(3), 0);
        taken(&mut Writer::begin(&lines, &state, 2).unwrap(), &lines, 2);
        fs::remove_file(new_file(&state)).unwrap();
        assert_eq!(done(2), 0);
        taken(&mut Writer::begin(&lines, &state, 2).unwrap(), &lines, 2);
        assert_eq!(done(2), 2);
        let old = fs::read(&lines.path).unwrap();
        fs::write(&lines.path, [old, b"more\n".to_vec()].concat()).unwrap();
        assert_eq!(done(2), 0);
    }

    #[test]
    fn a_file_that_was_changed_meanwhile_is_not_replaced() {
        let (_scratch, lines, state) = scene("lines-changed");
        let mut writer = Writer::begin(&lines, &state, 2).unwrap();
        taken(&mut writer, &lines, 3);
        fs::write(&lines.path, "by somebody else").unwrap();
        assert!(writer.finish().unwrap_err().to_string().contains("was changed"));
        assert_eq!(fs::read(&lines.path).unwrap(), b"by somebody else");
    }

    /// As if the thread that reads had died: what is left of the file is not cut off.
    #[test]
    fn a_new_file_that_is_not_made_of_all_of_the_old_one_does_not_take_its_place() {
        let (_scratch, lines, state) = scene("lines-part");
        let old = fs::read(&lines.path).unwrap();
        let mut writer = Writer::begin(&lines, &state, 2).unwrap();
        taken(&mut writer, &lines, 2);
        let refused = writer.finish().unwrap_err().to_string();
        assert!(refused.contains("does not take its place"), "{refused}");
        assert_eq!(fs::read(&lines.path).unwrap(), old);
        // It is no loss: the next one goes on there.
        let mut writer = Writer::begin(&lines, &state, 2).unwrap();
        assert_eq!(writer.reached().done, 2);
        taken(&mut writer, &lines, 1);
        writer.finish().unwrap();
    }

    #[test]
    fn a_list_of_failures_that_was_shortened_has_the_file_begin_anew() {
        let (_scratch, lines, state) = scene("lines-list");
        let mut writer = Writer::begin(&lines, &state, 2).unwrap();
        taken(&mut writer, &lines, 2);
        fs::write(Failures::path(&state), "{}\n{}\n").unwrap();
        writer.reach_failures((6, 2));
        writer.note().unwrap();
        let done = || Writer::begin(&lines, &state, 2).unwrap().reached().done;
        assert_eq!(done(), 2);
        fs::write(Failures::path(&state), "{}\n").unwrap();
        assert_eq!(done(), 0);
    }

    #[test]
    fn what_was_discarded_is_not_gone_on_with() {
        let (_scratch, lines, state) = scene("lines-discarded");
        let mut writer = Writer::begin(&lines, &state, 2).unwrap();
        taken(&mut writer, &lines, 2);
        writer.discard().unwrap();
        assert_eq!(Writer::begin(&lines, &state, 2).unwrap().reached(), Reached::default());
    }

    #[test]
    fn a_line_without_end_is_refused_before_anything_is_done() {
        let (_scratch, lines, _) = scene("lines-long");
        fs::write(&lines.path, vec![b'A'; LINE_BYTES_MAX]).unwrap();
        let refused = lines.scan(&of(), &mut |_| {}).unwrap_err().to_string();
        assert!(
            refused.contains("line 1 ") && refused.contains("no file of ciphertexts"),
            "{refused}"
        );
    }
}
