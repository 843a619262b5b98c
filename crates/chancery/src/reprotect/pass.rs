//! One way through a place: what is not under the version that protects is encrypted again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Result;

use super::asked::{Answered, Control, Rewrapper};
use super::failures::Failures;
use super::item::{Batch, Item, Lies, Of, Todo};
use super::{Place, directory, lines};
use crate::exit::Failure;

/// So many batches wait in each queue at most: 4, some 2 MiB.
const QUEUE: usize = 4;

/// How long the writer waits before it says how far it is: 200 ms.
const PATIENCE: Duration = Duration::from_millis(200);

/// What one way through a place came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Came {
    /// So many were encrypted again, under whichever version.
    pub(super) rewrapped: u64,
    /// So many are under the version that was meant.
    pub(super) done: u64,
    /// So many could not be.
    pub(super) failed: u64,
}

/// A batch with what became of its ciphertexts.
type Answers = (Batch, Vec<Option<Answered>>);

/// What a pass is over.
pub(super) struct Pass<'p> {
    pub(super) place: &'p Place,
    pub(super) of: &'p Of,
    pub(super) target: u32,
    /// How many were under it before.
    pub(super) done: u64,
    pub(super) state: &'p Path,
    pub(super) control: &'p Control,
}

impl Pass<'_> {
    /// Goes through the place, with one thread for each of `rewrappers`. `tell` is told several times a second how far it
    /// is.
    pub(super) fn run(
        &self,
        rewrappers: Vec<Rewrapper<'_>>,
        tell: &mut dyn FnMut(Came),
    ) -> Result<Came, Failure> {
        let writer = Writer::begin(self)?;
        let from = writer.reached();
        let (to_rewrap, batches) = sync_channel::<Batch>(QUEUE);
        let (to_write, answers) = sync_channel::<Answers>(QUEUE);
        let batches = Mutex::new(batches);
        let came = std::thread::scope(|scope| {
            scope.spawn(|| self.read(from, to_rewrap));
            for rewrapper in rewrappers {
                let (to_write, batches) = (to_write.clone(), &batches);
                scope.spawn(move || ask(&rewrapper, batches, &to_write));
            }
            drop(to_write);
            let came = self.write(writer, &answers, tell);
            if came.is_err() {
                self.control.stop();
            }
            // Whoever waits to hand something over finds nobody there.
            drop(answers);
            came
        });
        // What went wrong first says more than what came of it.
        match self.control.failure() {
            Some(failure) => Err(failure),
            None => Ok(came?),
        }
    }

    fn read(&self, from: lines::Reached, to_rewrap: SyncSender<Batch>) {
        let mut give = |batch| !self.control.stops() && to_rewrap.send(batch).is_ok();
        let read = match self.place {
            Place::Directory(directory) => directory.read((self.of, self.target), &mut give),
            Place::Lines(lines) => lines.read((self.of, self.target), from, &mut give),
        };
        if let Err(error) = read {
            self.control.fail(Failure::Failed(error));
        }
        // There is no more.
        drop(to_rewrap);
    }

    /// Writes what comes, in the order of reading.
    fn write(
        &self,
        mut writer: Writer<'_>,
        answers: &Receiver<Answers>,
        tell: &mut dyn FnMut(Came),
    ) -> Result<Came> {
        let (mut next, mut early) = (0, BTreeMap::new());
        loop {
            match answers.recv_timeout(PATIENCE) {
                Ok((batch, answers)) => {
                    early.insert(batch.number, (batch, answers));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // As many wait here as there are threads that ask, and what their queue holds.
            while let Some((batch, answers)) = early.remove(&next) {
                writer.take(batch, answers)?;
                next += 1;
            }
            tell(writer.came);
        }
        let came = writer.finish(self.control.stops())?;
        tell(came);
        Ok(came)
    }
}

/// Has batches encrypted again, until there are no more. When all are to end it goes on taking them, or the thread that
/// reads would wait for room.
fn ask(
    rewrapper: &Rewrapper<'_>,
    batches: &Mutex<Receiver<Batch>>,
    to_write: &SyncSender<Answers>,
) {
    let next = || batches.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
    while let Ok(batch) = next() {
        if let Some(answers) = rewrapper.rewrap(&batch) {
            // If nobody writes any more, all are to end.
            let _ = to_write.send((batch, answers));
        }
    }
}

/// Puts new ciphertexts in their places, and lists what is left.
struct Writer<'p> {
    pass: &'p Pass<'p>,
    to: To<'p>,
    failures: Failures,
    came: Came,
}

/// Where they go.
enum To<'p> {
    Files(directory::Writer),
    Lines(lines::Writer, &'p lines::Lines),
}

impl<'p> Writer<'p> {
    fn begin(pass: &'p Pass<'p>) -> Result<Self> {
        let (to, reached) = match pass.place {
            Place::Directory(_) => {
                (To::Files(directory::Writer::begin(pass.state)?), lines::Reached::default())
            }
            Place::Lines(lines) => {
                let writer = lines::Writer::begin(lines, pass.state, pass.target)?;
                let reached = writer.reached();
                (To::Lines(writer, lines), reached)
            }
        };
        let failures = Failures::begin(pass.state, reached.failures)?;
        let done = if let To::Files(_) = to { pass.done } else { reached.done };
        let came = Came { rewrapped: 0, done, failed: failures.count() };
        Ok(Self { pass, to, failures, came })
    }

    fn reached(&self) -> lines::Reached {
        match &self.to {
            To::Files(_) => lines::Reached::default(),
            To::Lines(writer, _) => writer.reached(),
        }
    }

    fn take(&mut self, batch: Batch, answers: Vec<Option<Answered>>) -> Result<()> {
        let behind = batch.behind;
        for (item, answer) in batch.items.into_iter().zip(answers) {
            self.take_one(item, answer)?;
        }
        match &mut self.to {
            To::Files(writer) if writer.is_full() => self.settle(),
            To::Files(_) => Ok(()),
            To::Lines(writer, _) => {
                let failures = &mut self.failures;
                writer.behind(behind, &mut || Ok((failures.settle()?, failures.count())))
            }
        }
    }

    fn take_one(&mut self, Item { lies, todo }: Item, answer: Option<Answered>) -> Result<()> {
        match (todo, answer) {
            (Todo::Rewrap(old, _), Some(Answered::New(new, version))) => {
                self.put(lies, (&old, &new), version)
            }
            (Todo::Rewrap(..), Some(Answered::Refused { code, why })) => {
                self.leave(&lies, (code, &why))
            }
            (Todo::Leave(why), _) => self.leave(&lies, ("not-rewrapped", why)),
            (Todo::Keep { is_done }, _) => self.keep(&lies, is_done),
            // It was not answered: it stays, and the next way through finds it.
            (Todo::Rewrap(..), None) => self.keep(&lies, false),
        }
    }

    fn put(&mut self, lies: Lies, (old, new): (&[u8], &[u8]), version: u32) -> Result<()> {
        let is_done = version == self.pass.target;
        match (&mut self.to, lies) {
            (To::Files(writer), Lies::File(path, was)) => writer.put(path, was, new)?,
            (To::Lines(writer, _), Lies::Line(number, line)) => {
                if !writer.put(&line, (old, new), is_done)? {
                    let why = "its ciphertext stands in the line in another spelling, or twice";
                    let lies = Lies::Line(number, Vec::new());
                    return self.list(&lies, ("not-rewrapped", why));
                }
            }
            // A place gives what lies in it.
            _ => return Ok(()),
        }
        self.came.rewrapped += 1;
        self.came.done += u64::from(is_done);
        Ok(())
    }

    fn keep(&mut self, lies: &Lies, is_done: bool) -> Result<()> {
        if let (To::Lines(writer, _), Lies::Line(_, line)) = (&mut self.to, lies) {
            writer.keep(line, is_done)?;
            self.came.done += u64::from(is_done);
        }
        Ok(())
    }

    fn leave(&mut self, lies: &Lies, why: (&str, &str)) -> Result<()> {
        self.keep(lies, false)?;
        self.list(lies, why)
    }

    fn list(&mut self, lies: &Lies, (code, why): (&str, &str)) -> Result<()> {
        self.came.failed += 1;
        self.failures.add(lies, code, why)
    }

    /// Puts what waits in its places. What somebody else changed meanwhile is listed, and counts for nothing.
    fn settle(&mut self) -> Result<()> {
        let To::Files(writer) = &mut self.to else { return Ok(()) };
        for path in writer.settle()? {
            self.came.rewrapped = self.came.rewrapped.saturating_sub(1);
            self.came.done = self.came.done.saturating_sub(1);
            eprintln!(
                "chancery: `{}` was changed while it was encrypted again, and stays as it is now",
                path.display()
            );
        }
        Ok(())
    }

    /// Ends: with a file of lines that takes the old one's place, unless not all of it was read.
    fn finish(mut self, is_cut_short: bool) -> Result<Came> {
        self.settle()?;
        let bytes = self.failures.settle()?;
        if let To::Lines(mut writer, lines) = self.to {
            if is_cut_short {
                writer.reach_failures((bytes, self.failures.count()));
                writer.note()?;
            } else {
                writer.finish(lines)?;
            }
        }
        Ok(self.came)
    }
}
