//! The stream to the signer: one for each runtime.
//!
//! Requests are written to a buffer and the link is woken; it runs after the tasks that are ready in the
//! same turn, so that all of theirs leave in one write, without a timer. Answers are matched by tag.
//!
//! **Invariant:** a request that was refused by [`Link::send`] has not left; one that was taken has an
//! answer, or its receiver is dropped, which means that nobody here knows its outcome.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_api::chancery_core::limits::LANE_OPERATIONS_MAX;
use chancery_api::frame::{self, Decoder, FrameError, Kind};
use chancery_api::message::{CommandRequest, HealthRequest, PublicRequest, UseRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};

use crate::limits::{QUEUE_BYTES_MAX, RECONNECT_MAX, RECONNECT_MIN};
use crate::metrics::Metrics;
use crate::report::Reporter;

/// How many bytes are read at once.
const READ_BYTES: usize = 64 * 1024;

/// What the signer is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Question<'q> {
    /// To carry a command out.
    Command(&'q CommandRequest<'q>),
    /// How it is.
    Health,
    /// For what anybody may know.
    Public(&'q PublicRequest),
    /// To use a key.
    Use(&'q UseRequest<'q>),
}

impl Question<'_> {
    fn write(self, out: &mut Vec<u8>, tag: u64) -> Result<(), FrameError> {
        match self {
            Self::Command(request) => frame::write(out, Kind::Command, tag, request),
            Self::Health => frame::write(out, Kind::Health, tag, &HealthRequest { reserved: 0 }),
            Self::Public(request) => frame::write(out, Kind::Public, tag, request),
            Self::Use(request) => frame::write(out, Kind::Use, tag, request),
        }
    }

    fn answer(self) -> Kind {
        match self {
            Self::Command(_) => Kind::CommandReply,
            Self::Health => Kind::HealthReply,
            Self::Public(_) => Kind::PublicReply,
            Self::Use(_) => Kind::UseReply,
        }
    }

    /// How many operations it is.
    fn cost(self) -> usize {
        match self {
            Self::Command(_) | Self::Health | Self::Public(_) => 1,
            Self::Use(request) => request.items.len(),
        }
    }
}

/// Why a question did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The signer is not there.
    Down,
    /// As many operations are outstanding as may be.
    Full,
    /// The question is longer than a frame may be.
    TooLong,
}

/// Why a stream was given up.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("the signer closed the stream")]
    Closed,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the signer answered what was not asked")]
    Unasked,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The stream, up or down.
#[derive(Debug)]
pub(crate) struct Link {
    socket: PathBuf,
    metrics: Arc<Metrics>,
    reporter: Arc<Reporter>,
    wake: Notify,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    is_up: bool,
    out: Vec<u8>,
    pending: HashMap<u64, Pending>,
    outstanding: usize,
    last_tag: u64,
}

#[derive(Debug)]
struct Pending {
    answer: Kind,
    cost: usize,
    reply: oneshot::Sender<Vec<u8>>,
}

impl Link {
    pub(crate) fn new(socket: PathBuf, metrics: Arc<Metrics>, reporter: Arc<Reporter>) -> Rc<Self> {
        let state = RefCell::default();
        Rc::new(Self { socket, metrics, reporter, wake: Notify::new(), state })
    }

    /// Takes a question; its answer's body comes through the receiver.
    pub(crate) fn send(
        &self,
        question: Question<'_>,
    ) -> Result<oneshot::Receiver<Vec<u8>>, SendError> {
        let mut state = self.state.borrow_mut();
        let cost = question.cost();
        if !state.is_up {
            return Err(SendError::Down);
        }
        if state.outstanding + cost > LANE_OPERATIONS_MAX || state.out.len() > QUEUE_BYTES_MAX {
            return Err(SendError::Full);
        }
        let tag = state.last_tag.wrapping_add(1);
        question.write(&mut state.out, tag).map_err(|_| SendError::TooLong)?;
        let (reply, receiver) = oneshot::channel();
        state.last_tag = tag;
        state.outstanding += cost;
        state.pending.insert(tag, Pending { answer: question.answer(), cost, reply });
        self.wake.notify_one();
        Ok(receiver)
    }

    /// Keeps the stream up, for as long as the runtime lives.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut wait = RECONNECT_MIN;
        loop {
            let began = Instant::now();
            let error = match UnixStream::connect(&self.socket).await {
                Ok(stream) => self.serve(stream).await,
                Err(error) => error.into(),
            };
            self.reporter.report(&format_args!("signer: {error}; trying again"));
            // A stream that held was no failed attempt.
            if began.elapsed() >= RECONNECT_MAX {
                wait = RECONNECT_MIN;
            }
            tokio::time::sleep(wait).await;
            wait = longer(wait);
        }
    }

    async fn serve(&self, stream: UnixStream) -> LinkError {
        self.state.borrow_mut().is_up = true;
        self.metrics.link_opened();
        let (mut reader, mut writer) = stream.into_split();
        let error = tokio::select! {
            result = self.read(&mut reader) => result,
            result = self.write(&mut writer) => result,
        };
        self.close();
        error.err().unwrap_or(LinkError::Closed)
    }

    /// Forgets what was asked: the receivers see that the senders are gone.
    fn close(&self) {
        let mut state = self.state.borrow_mut();
        *state = State { last_tag: state.last_tag, ..State::default() };
        self.metrics.link_closed();
    }

    async fn read(&self, reader: &mut tokio::net::unix::OwnedReadHalf) -> Result<(), LinkError> {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            decoder.push(buffer.get(..count).unwrap_or_default());
            while let Some((header, body)) = decoder.next_frame()? {
                self.state.borrow_mut().complete(header.kind, header.tag, body)?;
            }
        }
    }

    async fn write(&self, writer: &mut tokio::net::unix::OwnedWriteHalf) -> Result<(), LinkError> {
        let mut bytes = Vec::new();
        loop {
            self.wake.notified().await;
            std::mem::swap(&mut bytes, &mut self.state.borrow_mut().out);
            writer.write_all(&bytes).await?;
            bytes.clear();
            // What one burst needed is not kept for ever.
            bytes.shrink_to(READ_BYTES);
        }
    }
}

impl State {
    fn complete(&mut self, kind: Kind, tag: u64, body: &[u8]) -> Result<(), LinkError> {
        let pending = self.pending.remove(&tag).ok_or(LinkError::Unasked)?;
        self.outstanding = self.outstanding.saturating_sub(pending.cost);
        if pending.answer != kind {
            return Err(LinkError::Unasked);
        }
        // The caller may have gone.
        let _ = pending.reply.send(body.to_vec());
        Ok(())
    }
}

/// The wait after `wait`.
pub(crate) fn longer(wait: Duration) -> Duration {
    (wait * 2).min(RECONNECT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Rc<Link> {
        let link = Link::new(PathBuf::new(), Arc::new(Metrics::new()), Arc::new(Reporter::new()));
        link.state.borrow_mut().is_up = true;
        link
    }

    #[test]
    fn as_many_operations_are_taken_as_may_be_outstanding_and_no_more() {
        let link = link();
        let receivers: Vec<_> =
            (0..LANE_OPERATIONS_MAX).map(|_| link.send(Question::Health).unwrap()).collect();
        assert_eq!(link.send(Question::Health).unwrap_err(), SendError::Full);
        let mut body = Vec::new();
        frame::write(&mut body, Kind::HealthReply, 1, &0_u8).unwrap();
        link.state.borrow_mut().complete(Kind::HealthReply, 1, &body).unwrap();
        assert!(link.send(Question::Health).is_ok());
        assert_eq!(receivers.len(), LANE_OPERATIONS_MAX);
    }

    #[test]
    fn an_answer_to_nothing_or_of_another_kind_is_an_error() {
        let link = link();
        let _receiver = link.send(Question::Health).unwrap();
        let mut state = link.state.borrow_mut();
        assert!(state.complete(Kind::HealthReply, 2, &[]).is_err());
        assert!(state.complete(Kind::UseReply, 1, &[]).is_err());
    }

    #[test]
    fn what_is_ready_in_one_turn_leaves_in_one_write() {
        let path = std::env::temp_dir().join(format!("chancery-link-{}", std::process::id()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let first = tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = tokio::net::UnixListener::bind(&path).unwrap();
            let link = Link::new(path.clone(), Arc::new(Metrics::new()), Arc::new(Reporter::new()));
            tokio::task::spawn_local(Rc::clone(&link).run());
            let (mut signer, _) = listener.accept().await.unwrap();
            while !link.state.borrow().is_up {
                tokio::task::yield_now().await;
            }
            for _ in 0..8 {
                let link = Rc::clone(&link);
                tokio::task::spawn_local(async move { link.send(Question::Health).unwrap().await });
            }
            let mut buffer = vec![0; READ_BYTES];
            let count = signer.read(&mut buffer).await.unwrap();
            buffer.truncate(count);
            buffer
        });
        std::fs::remove_file(path).unwrap();
        let mut decoder = Decoder::default();
        decoder.push(&first);
        let mut tags = Vec::new();
        while let Some((header, _)) = decoder.next_frame().unwrap() {
            tags.push(header.tag);
        }
        assert_eq!(tags, [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn closing_leaves_no_receiver_waiting_and_no_tag_used_again() {
        let link = link();
        let mut receiver = link.send(Question::Health).unwrap();
        link.close();
        assert_eq!(receiver.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(link.send(Question::Health).unwrap_err(), SendError::Down);
        assert_eq!(link.state.borrow().last_tag, 1);
    }

    #[test]
    fn waits_grow_up_to_a_bound() {
        let mut wait = RECONNECT_MIN;
        for _ in 0..10 {
            wait = longer(wait);
        }
        assert_eq!((longer(RECONNECT_MIN), wait), (RECONNECT_MIN * 2, RECONNECT_MAX));
    }
}
