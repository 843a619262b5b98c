//! What a connection is doing, for its clock.
//!
//! The stream notes when bytes of a new request begin to arrive, and the service when a request begins and
//! ends; [`Activity::is_overdue`] then tells a peer that dawdles over a head from one that rests.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::FrontLimits;

/// What a connection is doing.
#[derive(Debug)]
pub(crate) struct Activity {
    in_flight: Cell<usize>,
    last: Cell<Instant>,
    head_began: Cell<Option<Instant>>,
}

/// Counts as a request in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Activity>);

impl Activity {
    pub(crate) fn new() -> Rc<Self> {
        let last = Cell::new(Instant::now());
        Rc::new(Self { in_flight: Cell::new(0), last, head_began: Cell::new(None) })
    }

    /// A request began: its head is here.
    pub(crate) fn begin(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        self.head_began.set(None);
        InFlight(Rc::clone(self))
    }

    /// Whether a head takes too long.
    pub(crate) fn is_overdue(&self, limits: &FrontLimits) -> bool {
        self.head_began.get().is_some_and(|began| began.elapsed() >= limits.head)
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

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
