//! The way out: answers to one front's socket.
//!
//! The sequencer writes each socket once per batch and never waits: what a full socket does not take stays
//! in a bounded queue that its lane drains. A queue that is full closes the socket; the operations whose
//! answers it held become Unknown, and can be resolved by their ids.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use chancery_api::frame::{self, Kind};
use chancery_api::message::{UseReply, UseResult};
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
    closed: bool,
}

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

    /// Appends a frame; nothing is sent yet.
    pub(crate) fn push<T: minicbor::Encode<()>>(&self, kind: Kind, tag: u64, body: &T) {
        let mut queue = lock(&self.queue);
        if queue.closed {
            return;
        }
        let is_written = frame::write(&mut queue.bytes, kind, tag, body).is_ok();
        if !is_written || queue.bytes.len() > QUEUE_BYTES_MAX {
            self.close(&mut queue);
        }
    }

    /// Sends what the socket takes now.
    pub(crate) fn flush(&self) {
        let mut queue = lock(&self.queue);
        while !queue.bytes.is_empty() && !queue.closed {
            match send(&self.stream, &queue.bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    queue.bytes.drain(..sent);
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

    /// Whether bytes are waiting.
    pub(crate) fn is_waiting(&self) -> bool {
        !lock(&self.queue).bytes.is_empty()
    }

    /// Forgets a wake-up.
    pub(crate) fn acknowledge(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
    }

    fn close(&self, queue: &mut Queue) {
        queue.closed = true;
        queue.bytes = Vec::new();
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// One answer of several items, sent when its last item is there.
pub(crate) struct Assembly {
    outlet: Arc<Outlet>,
    tag: u64,
    parts: Mutex<Parts>,
    outstanding: Arc<std::sync::atomic::AtomicUsize>,
}

struct Parts {
    results: Vec<Option<UseResult>>,
    missing: usize,
}

/// What may stand in an answer without a durable record: that nothing was done, before anybody was known.
pub(crate) struct EarlyRefusal(pub(crate) UseResult);

impl Assembly {
    pub(crate) fn new(
        outlet: Arc<Outlet>,
        tag: u64,
        items: usize,
        outstanding: Arc<std::sync::atomic::AtomicUsize>,
    ) -> Arc<Self> {
        outstanding.fetch_add(items, std::sync::atomic::Ordering::Relaxed);
        let parts = Mutex::new(Parts { results: vec![None; items], missing: items });
        Arc::new(Self { outlet, tag, parts, outstanding })
    }

    /// Puts a released result in its place; queues the answer if it was the last. Says which outlet to flush.
    pub(crate) fn put(&self, position: usize, result: Released<UseResult>) -> &Arc<Outlet> {
        self.fill(position, result.into_inner());
        &self.outlet
    }

    /// Puts an early refusal in its place.
    pub(crate) fn refuse(&self, position: usize, refusal: EarlyRefusal) -> &Arc<Outlet> {
        self.fill(position, refusal.0);
        &self.outlet
    }

    fn fill(&self, position: usize, result: UseResult) {
        let mut parts = lock(&self.parts);
        if let Some(place) = parts.results.get_mut(position).filter(|place| place.is_none()) {
            *place = Some(result);
            parts.missing -= 1;
            self.outstanding.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
        if parts.missing == 0 {
            let results: Option<Vec<_>> = std::mem::take(&mut parts.results).into_iter().collect();
            if let Some(results) = results {
                self.outlet.push(Kind::UseReply, self.tag, &UseReply { results });
            }
        }
    }
}
