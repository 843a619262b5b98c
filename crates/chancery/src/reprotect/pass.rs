//! One way through a place: what is not under the version that protects is encrypted again.

use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use anyhow::{Result, bail};

use super::asked::{Answered, Control, Rewrapper};
use super::directory::Left;
use super::failures::Failures;
use super::item::{Batch, Item, Lies, Of, Todo};
use super::{Place, directory, lines};
use crate::exit::Failure;

/// So many batches wait in each queue at most: 4, some 2 MiB.
const QUEUE: usize = 4;

/// So many batches are on their way between the queues at most: 16, some 8 MiB. One that is not answered holds up those
/// behind it where order matters, and not for ever more of them.
const WINDOW: usize = 16;

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
    /// So many of those only since somebody else changed them meanwhile.
    pub(super) changed: u64,
}

/// A batch with what became of its ciphertexts.
type Answers = (Batch, Vec<Option<Answered>>);

/// What those who ask take their work from: batches, and the leave to take one more.
struct Work {
    batches: Receiver<Batch>,
    leaves: Receiver<()>,
}

impl Work {
    /// The next batch, once one more may be on its way. When all are to end nobody waits for that: the batches are taken
    /// all the same, or the thread that reads would wait for room.
    fn next(&self, control: &Control) -> Option<Batch> {
        while !control.stops()
            && self.leaves.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout)
        {}
        self.batches.recv().ok()
    }
}

/// How a way through a place ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All was read.
    Whole,
    /// Not all was: the next one goes on there.
    CutShort,
    /// Answers were not what was asked for: what waits is not put in place, and the next one begins anew.
    Deceived,
}

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
        let (leave, leaves) = channel();
        for _ in 0..WINDOW {
            // The other end is just below.
            let _ = leave.send(());
        }
        let work = Mutex::new(Work { batches, leaves });
        let came = std::thread::scope(|scope| {
            scope.spawn(|| self.read(from, to_rewrap));
            for rewrapper in rewrappers {
                let (to_write, work) = (to_write.clone(), &work);
                scope.spawn(move || ask(&rewrapper, work, &to_write));
            }
            drop(to_write);
            let came = self.write(writer, (&answers, &leave), tell);
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

    /// Writes what comes: files at once, lines in the order of reading.
    fn write(
        &self,
        mut writer: Writer<'_>,
        (answers, leave): (&Receiver<Answers>, &Sender<()>),
        tell: &mut dyn FnMut(Came),
    ) -> Result<Came> {
        let mut order = Order::of(self.place);
        loop {
            match answers.recv_timeout(PATIENCE) {
                Ok(_) if self.control.is_deceived() => {}
                Ok(answered) => order.early.push(answered),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Some((batch, answers)) = order.next() {
                writer.take(batch, answers)?;
                // If nobody asks any more, nobody needs it.
                let _ = leave.send(());
            }
            tell(writer.came);
        }
        let end = self.end();
        if end == End::Whole && !order.early.is_empty() {
            bail!("a part of what was read did not come back; resume the campaign");
        }
        let came = writer.finish(end)?;
        tell(came);
        Ok(came)
    }

    fn end(&self) -> End {
        match (self.control.is_deceived(), self.control.stops()) {
            (true, _) => End::Deceived,
            (false, true) => End::CutShort,
            (false, false) => End::Whole,
        }
    }
}

/// In which order batches are written.
struct Order {
    /// The number of the next one; nothing where any may be next.
    next: Option<u64>,
    /// Those that were answered before it: fewer than [`WINDOW`].
    early: Vec<Answers>,
}

impl Order {
    fn of(place: &Place) -> Self {
        let next = match place {
            Place::Directory(_) => None,
            Place::Lines(_) => Some(0),
        };
        Self { next, early: Vec::new() }
    }

    /// The next one, if it is there.
    fn next(&mut self) -> Option<Answers> {
        let Some(next) = &mut self.next else { return self.early.pop() };
        let at = self.early.iter().position(|(batch, _)| batch.number == *next)?;
        *next += 1;
        Some(self.early.swap_remove(at))
    }
}

/// Has batches encrypted again, until there are no more.
fn ask(rewrapper: &Rewrapper<'_>, work: &Mutex<Work>, to_write: &SyncSender<Answers>) {
    let locked = || work.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    while let Some(batch) = { locked().next(rewrapper.control) } {
        if let Some(answers) = rewrapper.rewrap(&batch) {
            // If nobody writes any more, all are to end.
            let _ = to_write.send((batch, answers));
        }
    }
}

/// Puts new ciphertexts in their places, and lists what is left.
struct Writer<'p> {
    pass: &'p Pass<'p>,
    to: To,
    failures: Failures,
    came: Came,
}

/// Where they go.
enum To {
    Files(directory::Writer),
    Lines(lines::Writer),
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
                (To::Lines(writer), reached)
            }
        };
        let failures = Failures::begin(pass.state, reached.failures)?;
        let done = if let To::Files(_) = to { pass.done } else { reached.done };
        let came = Came { done, failed: failures.count(), ..Came::default() };
        Ok(Self { pass, to, failures, came })
    }

    fn reached(&self) -> lines::Reached {
        match &self.to {
            To::Files(_) => lines::Reached::default(),
            To::Lines(writer) => writer.reached(),
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
            To::Lines(writer) => {
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
            (To::Files(writer), Lies::File(path, was)) => {
                if let Some(why) = writer.put(path.clone(), was, new)? {
                    return self.list(&Lies::File(path, was), ("not-rewrapped", &why));
                }
            }
            (To::Lines(writer), Lies::Line(number, line)) => {
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
        if let (To::Lines(writer), Lies::Line(_, line)) = (&mut self.to, lies) {
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

    /// Puts what waits in its places. What could not be is listed, but what is gone, and counts for nothing.
    fn settle(&mut self) -> Result<()> {
        let To::Files(writer) = &mut self.to else { return Ok(()) };
        for (path, was, left) in writer.settle()? {
            self.came.rewrapped = self.came.rewrapped.saturating_sub(1);
            self.came.done = self.came.done.saturating_sub(1);
            let lies = Lies::File(path, was);
            match left {
                Left::Gone => {}
                Left::Changed => {
                    self.came.changed += 1;
                    let why = "somebody else changed it while it was encrypted again; it is as they left it";
                    self.list(&lies, ("changed", why))?;
                }
                Left::Failed(why) => self.list(&lies, ("not-rewrapped", &why))?,
            }
        }
        Ok(())
    }

    /// Ends: with a file of lines that takes the old one's place, if all of it was read.
    fn finish(mut self, end: End) -> Result<Came> {
        if end != End::Deceived {
            self.settle()?;
        }
        let bytes = self.failures.settle()?;
        if let To::Lines(mut writer) = self.to {
            match end {
                End::Whole => writer.finish()?,
                End::CutShort => {
                    writer.reach_failures((bytes, self.failures.count()));
                    writer.note()?;
                }
                End::Deceived => writer.discard()?,
            }
        }
        Ok(self.came)
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::Directory;
    use super::super::lines::Lines;
    use super::*;

    /// The numbers of batches that are written when these come, one after the other.
    fn written(place: &Place, come: &[u64]) -> Vec<u64> {
        let (mut order, mut written) = (Order::of(place), Vec::new());
        for number in come {
            order.early.push((Batch::numbered(*number), Vec::new()));
            while let Some((batch, _)) = order.next() {
                written.push(batch.number);
            }
        }
        written
    }

    #[test]
    fn lines_are_written_in_their_order_and_files_as_they_come() {
        let path = Path::new("place");
        let (lines, files) = (Place::Lines(Lines::at(path)), Place::Directory(Directory::at(path)));
        assert_eq!(written(&lines, &[2, 1, 3, 0, 5, 4]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(written(&lines, &[1, 2]), [0; 0]);
        assert_eq!(written(&files, &[2, 1, 3]), [2, 1, 3]);
    }

    /// One batch that stays unanswered holds up so many others and no more; and nobody waits for it when all are to end.
    #[test]
    fn each_batch_that_is_taken_takes_leave_until_all_are_to_end() {
        let (to_rewrap, batches) = sync_channel(8);
        let (leave, leaves) = channel();
        for number in 0..4 {
            to_rewrap.send(Batch::numbered(number)).unwrap();
        }
        for _ in 0..3 {
            leave.send(()).unwrap();
        }
        let (work, control) = (Work { batches, leaves }, Control::default());
        let next = || work.next(&control).map(|batch| batch.number);
        assert_eq!([next(), next()], [Some(0), Some(1)]);
        assert_eq!([work.leaves.try_recv().is_ok(), work.leaves.try_recv().is_ok()], [true, false]);
        control.stop();
        drop(to_rewrap);
        assert_eq!([next(), next(), next()], [Some(2), Some(3), None]);
    }
}
