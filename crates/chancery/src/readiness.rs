//! A child's word that it serves: said once by the child, heard by the supervisor.
//!
//! It is [`WORD`], on a pipe that is the child's standard output. A signer says it when its start is on record
//! and lanes are taken, a front when it has its certificate and listens. The process that only takes reductions
//! never says it.
//!
//! **Invariant:** a child is ready if the first bytes on its pipe are the word, and never otherwise. The
//! supervisor does not wait for them, reads no byte behind them, and reads nothing that is not as expected to
//! its end.
//!
//! What it does not do: say that a child still serves. That is asked of the service, over `/readyz`.

use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::{Errno, ioctl_fionbio, read, write};
use rustix::stdio::dup2_stdout;

/// The word; far shorter than what a pipe takes in one piece.
const WORD: &[u8; 6] = b"ready\n";

/// The word as a child has it before it says it. Dropped, it is never said.
pub(crate) struct Word(OwnedFd);

impl Word {
    /// Takes the pipe. What is written to standard output from here on goes where messages go.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub(crate) fn take() -> io::Result<Self> {
        let pipe = io::stdout().as_fd().try_clone_to_owned()?;
        dup2_stdout(io::stderr())?;
        Ok(Self(pipe))
    }

    /// Says it and closes the pipe. A supervisor that does not listen is no reason not to serve: the runtime
    /// ignores `SIGPIPE`.
    pub(crate) fn say(self) {
        let _ = write(&self.0, WORD);
    }
}

/// What the supervisor has heard of a child.
#[derive(Debug)]
pub(crate) enum Readiness {
    /// Not yet the whole word.
    Awaits {
        /// Where it will come.
        pipe: PipeReader,
        /// How many of its bytes have come.
        heard: usize,
    },
    /// The word.
    Ready,
    /// Something else, or the end.
    Silent,
}

impl Readiness {
    /// An ear, and what the child is to have as its standard output.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub(crate) fn pipe() -> io::Result<(Self, PipeWriter)> {
        let (pipe, word) = pipe()?;
        ioctl_fionbio(&pipe, true)?;
        Ok((Self::Awaits { pipe, heard: 0 }, word))
    }

    /// Whether the word was heard.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }

    /// What becomes readable when there is something to hear.
    pub(crate) fn source(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Awaits { pipe, .. } => Some(pipe.as_fd()),
            Self::Ready | Self::Silent => None,
        }
    }

    /// Hears what there is, without waiting.
    pub(crate) fn hear(&mut self) {
        if let Self::Awaits { pipe, heard } = self {
            let expected = WORD.get(*heard..).unwrap_or_default();
            let mut bytes = [0; WORD.len()];
            let room = bytes.get_mut(*heard..).unwrap_or_default();
            match read(pipe, &mut *room) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Ok(count) if count > 0 && room.get(..count) == expected.get(..count) => {
                    *heard += count;
                    if count == expected.len() {
                        *self = Self::Ready;
                    }
                }
                Ok(_) | Err(_) => *self = Self::Silent,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// What is heard when these have come, one after the other, and then the end.
    fn check(parts: &[&[u8]], expected: [&str; 2]) {
        let (mut readiness, mut child) = Readiness::pipe().unwrap();
        let name = |readiness: &Readiness| match readiness {
            Readiness::Awaits { .. } => "awaits",
            Readiness::Ready => "ready",
            Readiness::Silent => "silent",
        };
        for part in parts {
            // Who has heard enough has closed the pipe.
            let _ = child.write_all(part);
            readiness.hear();
        }
        let before = name(&readiness);
        drop(child);
        readiness.hear();
        assert_eq!([before, name(&readiness)], expected, "{parts:?}");
        assert!(readiness.source().is_none(), "{parts:?}");
    }

    #[test]
    fn the_word_and_nothing_else_is_heard_as_the_word() {
        check(&[b"ready\n"], ["ready", "ready"]);
        check(&[b"re", b"a", b"dy\n"], ["ready", "ready"]);
        check(&[b"ready\nand more"], ["ready", "ready"]);
        check(&[], ["awaits", "silent"]);
        check(&[b"ready"], ["awaits", "silent"]);
        check(&[b"ready "], ["silent", "silent"]);
        check(&[b"Ready\n"], ["silent", "silent"]);
        check(&[b"\nready\n"], ["silent", "silent"]);
        check(&[b"re", b"ready\n"], ["silent", "silent"]);
        check(&[b"x", b"ready\n"], ["silent", "silent"]);
    }

    #[test]
    fn a_child_that_says_nothing_is_not_waited_for() {
        let (mut readiness, _child) = Readiness::pipe().unwrap();
        readiness.hear();
        assert!(!readiness.is_ready());
        assert!(readiness.source().is_some());
    }
}
