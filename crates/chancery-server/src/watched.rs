//! What a connection is doing, for its clock.
//!
//! The stream notes when bytes of a new request begin to arrive, and the service when a request begins and
//! ends; [`Activity::is_overdue`] then tells a peer that dawdles over a head from one that rests. An answer
//! counts as [`Unsent`], and keeps the room that it takes, until its last byte was handed to TLS: a peer of HTTP/2
//! that opens no window for it, and asks on, is overdue too.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::FrontLimits;
use crate::room::Taken;

/// What a connection is doing.
#[derive(Debug)]
pub(crate) struct Activity {
    in_flight: Cell<usize>,
    last: Cell<Instant>,
    head_began: Cell<Option<Instant>>,
    /// When each answer that is not sent yet was made, in the order of their numbers.
    unsent: RefCell<BTreeMap<u64, Instant>>,
    answers: Cell<u64>,
}

/// Counts as a request in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Activity>);

/// The bytes of an answer; it counts as not sent until it is dropped.
#[derive(Debug)]
pub(crate) struct Unsent {
    bytes: Bytes,
    // Given back with the bytes.
    _taken: Option<Taken>,
    number: u64,
    activity: Rc<Activity>,
}

impl Activity {
    pub(crate) fn new() -> Rc<Self> {
        let last = Cell::new(Instant::now());
        Rc::new(Self {
            in_flight: Cell::new(0),
            last,
            head_began: Cell::new(None),
            unsent: RefCell::default(),
            answers: Cell::new(0),
        })
    }

    /// A request began: its head is here.
    pub(crate) fn begin(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        self.head_began.set(None);
        InFlight(Rc::clone(self))
    }

    /// An answer was made.
    pub(crate) fn unsent(self: &Rc<Self>, bytes: Bytes, taken: Option<Taken>) -> Unsent {
        let number = self.answers.get();
        self.answers.set(number + 1);
        self.unsent.borrow_mut().insert(number, Instant::now());
        Unsent { bytes, _taken: taken, number, activity: Rc::clone(self) }
    }

    /// Whether a head takes too long, or an answer is not taken.
    pub(crate) fn is_overdue(&self, limits: &FrontLimits) -> bool {
        let oldest = self.unsent.borrow().first_key_value().map(|(_, made)| *made);
        self.head_began.get().is_some_and(|began| began.elapsed() >= limits.head)
            || oldest.is_some_and(|made| made.elapsed() >= limits.idle)
    }

    /// Whether there was no request for too long.
    pub(crate) fn is_idle(&self, limits: &FrontLimits) -> bool {
        self.in_flight.get() == 0 && self.last.get().elapsed() >= limits.idle
    }

    fn bytes_came(&self) {
        if self.in_flight.get() == 0 && self.head_began.get().is_none() {
            self.head_began.set(Some(Instant::now()));
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
        self.0.last.set(Instant::now());
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.activity.unsent.borrow_mut().remove(&self.number);
    }
}

impl Buf for Unsent {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// Whether the bytes that a stream brings are heads of requests while none is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    /// HTTP/1.1: they are.
    Heads,
    /// HTTP/2: they may be frames of the connection.
    Frames,
}

/// A stream that notes when bytes come.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    activity: Rc<Activity>,
    between: Between,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, activity: Rc<Activity>, between: Between) -> Self {
        Self { stream, activity, between }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before && self.between == Between::Heads {
            self.activity.bytes_came();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// Without it, HTTP/1.1 copies an answer as a whole into a buffer of its own, where nothing bounds it.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stream_that_takes_slices_is_given_slices() {
        let (stream, _other) = tokio::io::duplex(1);
        let is_vectored = stream.is_write_vectored();
        let watched = Watched::new(stream, Activity::new(), Between::Heads);
        assert!(is_vectored && watched.is_write_vectored());
    }

    #[test]
    fn an_answer_that_is_not_taken_is_overdue_whatever_else_is_asked() {
        let now = FrontLimits { idle: Duration::ZERO, ..FrontLimits::STANDARD };
        let activity = Activity::new();
        assert!(!activity.is_overdue(&now));
        let (one, other) =
            (activity.unsent("one".into(), None), activity.unsent("other".into(), None));
        drop(activity.begin());
        assert!(activity.is_overdue(&now) && !activity.is_overdue(&FrontLimits::STANDARD));
        drop(one);
        assert!(activity.is_overdue(&now));
        drop(other);
        assert!(!activity.is_overdue(&now));
    }
}
