//! The way out: answers to one front's socket.
//!
//! The sequencer writes each socket once per batch and never waits: what a full socket does not take stays
//! in a bounded queue that its lane drains. A queue that is full closes the socket; the operations whose
//! answers it held become Unknown, and can be resolved by their ids.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chancery_api::frame::{self, FrameError, Kind};
use chancery_api::message::{CommandReply, UseReply, UseResult};
use chancery_core::reason::Reason;
use chancery_core::sequencer::Released;
use rustix::net::{SendFlags, send};

use crate::counters::lock;

/// The most bytes that wait for a socket: 16 MiB, a lane's worth of the largest answers.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A socket's sending half.
pub(crate) struct Outlet {
    stream: UnixStream,
    wake: OwnedFd,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// How many of these the socket took.
    taken: usize,
    /// How many bytes were ever queued, and how many of them the socket took.
    queued: u64,
    sent: u64,
    closed: bool,
}

impl Queue {
    /// What the socket did not take yet.
    fn left(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Makes room where something is queued: what a socket takes bit by bit is not moved for each of them.
    fn forget_taken(&mut self) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
    }
}

/// A place in an outlet's stream of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamEnd(u64);

impl Outlet {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let wake = rustix::event::eventfd(0, flags)?;
        Ok(Self { stream, wake, queue: Mutex::default() })
    }

    /// What the lane waits on besides its socket: bytes are waiting.
    pub(crate) fn wake(&self) -> impl AsFd + '_ {
        &self.wake
    }

    /// Answers a command whose record is durable.
    pub(crate) fn answer(&self, tag: u64, answer: Released<Answer>, at: u64) {
        let reply = match answer.into_inner() {
            Answer::Command(CommandReply::Committed { answer, .. }) => {
                CommandReply::Committed { answer, index: Some(at) }
            }
            Answer::Command(other) => other,
            Answer::Use(_) | Answer::None => return,
        };
        self.push(Kind::CommandReply, tag, &reply);
    }

    /// Says what needs no record: metadata read, health, a refusal before anybody was known.
    pub(crate) fn say<T: minicbor::Encode<()>>(&self, kind: Kind, tag: u64, body: &T) {
        self.push(kind, tag, body);
        self.flush();
    }

    /// Appends a frame; nothing is sent yet.
    fn push<T: minicbor::Encode<()>>(&self, kind: Kind, tag: u64, body: &T) {
        if self.try_push(kind, tag, body).is_err() {
            self.close(&mut lock(&self.queue));
        }
    }

    /// Appends a frame, if one can hold the body.
    fn try_push<T: minicbor::Encode<()>>(
        &self,
        kind: Kind,
        tag: u64,
        body: &T,
    ) -> Result<(), FrameError> {
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Ok(());
        }
        queue.forget_taken();
        let before = queue.bytes.len();
        frame::write(&mut queue.bytes, kind, tag, body)?;
        queue.queued += u64::try_from(queue.bytes.len() - before).unwrap_or_default();
        if queue.bytes.len() > QUEUE_BYTES_MAX {
            self.close(&mut queue);
        }
        Ok(())
    }

    /// Appends the answer to a request. One that no frame can hold was carried out and cannot be read: that is
    /// said instead, and the socket's other callers are not troubled.
    fn push_uses(&self, tag: u64, results: Vec<UseResult>) {
        let reply = UseReply { results };
        if self.try_push(Kind::UseReply, tag, &reply).is_ok() {
            return;
        }
        let unreadable = |result: UseResult| match result {
            UseResult::Committed { id, .. } => {
                UseResult::Refused { id: Some(id), reason: Reason::AnswerUnreadable }
            }
            refused @ UseResult::Refused { .. } => refused,
        };
        let results = reply.results.into_iter().map(unreadable).collect();
        self.push(Kind::UseReply, tag, &UseReply { results });
    }

    /// Sends what the socket takes now.
    pub(crate) fn flush(&self) {
        let mut queue = lock(&self.queue);
        while !queue.left().is_empty() && !queue.closed {
            match send(&self.stream, queue.left(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    queue.taken += sent;
                    queue.sent += u64::try_from(sent).unwrap_or_default();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    // The lane takes over: it waits until the socket is writable.
                    let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
                    return;
                }
                Err(_) => self.close(&mut queue),
            }
        }
    }

    /// What has been queued up to now.
    pub(crate) fn end(&self) -> StreamEnd {
        StreamEnd(lock(&self.queue).queued)
    }

    /// Whether everything up to there was handed to the socket, or will never be.
    pub(crate) fn has_passed(&self, end: StreamEnd) -> bool {
        let queue = lock(&self.queue);
        queue.closed || queue.sent >= end.0
    }

    /// Gives the socket up: what waits for it is discarded.
    pub(crate) fn give_up(&self) {
        self.close(&mut lock(&self.queue));
    }

    /// Whether it was given up.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.queue).closed
    }

    /// Whether bytes are waiting.
    pub(crate) fn is_waiting(&self) -> bool {
        !lock(&self.queue).left().is_empty()
    }

    /// Forgets a wake-up.
    pub(crate) fn acknowledge(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
    }

    fn close(&self, queue: &mut Queue) {
        queue.closed = true;
        (queue.bytes, queue.taken) = (Vec::new(), 0);
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// What a durable record lets go.
#[derive(Debug)]
pub(crate) enum Answer {
    /// An item of an answer.
    Use(UseResult),
    /// The answer to a command.
    Command(CommandReply),
    /// Nothing.
    None,
}

/// Where a record came to stand, and the receipt for it if one is wanted.
pub(crate) struct Recorded {
    pub(crate) index: u64,
    pub(crate) receipt: Vec<u8>,
}

/// One answer of several items, sent when its last item is there.
pub(crate) struct Assembly {
    outlet: Arc<Outlet>,
    tag: u64,
    parts: Mutex<Parts>,
    outstanding: Arc<AtomicUsize>,
}

struct Parts {
    results: Vec<Option<UseResult>>,
    missing: usize,
}

impl Assembly {
    pub(crate) fn new(
        outlet: Arc<Outlet>,
        tag: u64,
        items: usize,
        outstanding: Arc<AtomicUsize>,
    ) -> Arc<Self> {
        outstanding.fetch_add(items, Ordering::Relaxed);
        let parts = Mutex::new(Parts { results: vec![None; items], missing: items });
        Arc::new(Self { outlet, tag, parts, outstanding })
    }

    /// Whether the answer was queued as a whole.
    pub(crate) fn is_complete(&self) -> bool {
        lock(&self.parts).missing == 0
    }

    /// The outlet it goes to.
    pub(crate) fn outlet(&self) -> &Arc<Outlet> {
        &self.outlet
    }

    /// Puts a released result in its place; queues the answer if it was the last.
    pub(crate) fn put(&self, position: usize, answer: Released<Answer>, recorded: Recorded) {
        if let Some(result) = recorded_result(answer, recorded) {
            self.fill(position, result);
        }
    }

    /// Puts an answer in its place that was read back from the log, where its record is durable already.
    pub(crate) fn repeat(&self, position: usize, recalled: UseResult) {
        self.fill(position, recalled);
    }

    /// Answers with what is there; what is missing is carried out perhaps, and cannot be read.
    pub(crate) fn abandon(&self) {
        let missing: Vec<usize> = {
            let parts = lock(&self.parts);
            let missing = parts.results.iter().enumerate().filter(|(_, result)| result.is_none());
            missing.map(|(position, _)| position).collect()
        };
        for position in missing {
            self.fill(position, UseResult::Refused { id: None, reason: Reason::AnswerUnreadable });
        }
        self.outlet.flush();
    }

    /// Puts a refusal in its place that needs no record: nothing was done, and nobody was known yet.
    pub(crate) fn refuse_early(&self, position: usize, reason: Reason) {
        self.fill(position, UseResult::Refused { id: None, reason });
    }

    fn fill(&self, position: usize, result: UseResult) {
        let mut parts = lock(&self.parts);
        let place = parts.results.get_mut(position).filter(|place| place.is_none());
        // What comes after the answer was given up is dropped: a tag is answered once.
        let Some(place) = place else { return };
        *place = Some(result);
        parts.missing -= 1;
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
        if parts.missing == 0 {
            let results: Option<Vec<_>> = std::mem::take(&mut parts.results).into_iter().collect();
            if let Some(results) = results {
                self.outlet.push_uses(self.tag, results);
            }
        }
    }
}

/// The result of a use, with where its record stands.
pub(crate) fn recorded_result(answer: Released<Answer>, recorded: Recorded) -> Option<UseResult> {
    let Answer::Use(result) = answer.into_inner() else { return None };
    Some(match result {
        UseResult::Committed { id, output, version, .. } => {
            let Recorded { index, receipt } = recorded;
            UseResult::Committed { id, output, version, index, receipt }
        }
        refused @ UseResult::Refused { .. } => refused,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use chancery_api::frame::Decoder;
    use chancery_core::cbor;

    use super::*;

    fn refused(reason: Reason) -> UseResult {
        UseResult::Refused { id: None, reason }
    }

    #[test]
    fn an_answer_that_was_given_up_leaves_once_and_what_comes_later_is_dropped() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outlet = Arc::new(Outlet::new(ours).unwrap());
        let outstanding = Arc::new(AtomicUsize::new(0));
        let assembly = Assembly::new(Arc::clone(&outlet), 7, 2, Arc::clone(&outstanding));
        assembly.repeat(0, refused(Reason::NotAuthorized));
        assert!(!assembly.is_complete());
        assembly.abandon();
        assembly.repeat(1, refused(Reason::KeyUnusable));
        assembly.abandon();
        outlet.flush();
        assert_eq!(outstanding.load(Ordering::Relaxed), 0);
        let mut bytes = [0; 1_024];
        let read = theirs.read(&mut bytes).unwrap();
        let mut decoder = Decoder::default();
        decoder.push(&bytes[..read]);
        let (header, body) = decoder.next_frame().unwrap().unwrap();
        assert_eq!((header.kind, header.tag), (Kind::UseReply, 7));
        let reply: UseReply = cbor::decode(body, "reply").unwrap();
        let expected = [refused(Reason::NotAuthorized), refused(Reason::AnswerUnreadable)];
        assert_eq!(reply.results, expected);
        assert!(decoder.next_frame().unwrap().is_none(), "a second answer");
    }
}
