//! Callers of the signer itself: frames straight on its socket, so many operations outstanding at any time.
//!
//! Each lane is a connection with a thread. It keeps its requests outstanding in a closed loop: for each answer it
//! sends the next request, all that are due in one write. Requests are rendered beforehand; only their tag changes.
//! Every answer is decoded, and every result in it must be committed.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use chancery_api::frame::{self, Decoder, Kind};
use chancery_api::message::{InputForm, Receipt, UseItem, UseReply, UseRequest, UseResult};
use chancery_client::KeyHandle;
use chancery_core::cbor;
use chancery_core::context::Context;
use chancery_core::handle::Operation;

use super::callers::Looped;
use crate::instance::Instance;
use crate::order::{Form, messages};

/// Connections: as many as a front with two runtimes has, and as many again.
const LANES: u64 = 4;

/// Requests outstanding on each.
const REQUESTS: u64 = 10;

/// Operations in each request.
const ITEMS: u64 = 25;

/// Operations outstanding in total.
pub(super) const OUTSTANDING: u64 = LANES * REQUESTS * ITEMS;

// As the issue has it.
const _: () = assert!(OUTSTANDING == 1_000);

/// Where a tag stands in a frame.
const TAG: std::ops::Range<usize> = 8..16;

/// What is read at once.
const READ_BYTES: usize = 256 * 1024;

/// What became of many operations.
pub(super) struct Driven {
    pub(super) operations: u64,
    /// Of each request.
    pub(super) looped: Looped,
}

/// Has at least `operations` done, and less than a request more.
pub(super) fn drive(service: &Instance, handle: &KeyHandle, operations: u64) -> Result<Driven> {
    let requests = requests(handle)?;
    let left = AtomicU64::new(operations.div_ceil(ITEMS));
    let streams = (0..LANES).map(|_| service.connect()).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let latencies = std::thread::scope(|scope| {
        let lanes = streams.into_iter().map(|stream| {
            let lane = Lane { stream, requests: &requests, left: &left, sent: Vec::new() };
            scope.spawn(move || lane.run())
        });
        let lanes: Vec<_> = lanes.collect();
        let ended =
            lanes.into_iter().map(|lane| lane.join().map_err(|_| anyhow!("a lane ended badly"))?);
        ended.collect::<Result<Vec<_>>>()
    });
    let elapsed = started.elapsed();
    let mut looped = Looped::default();
    latencies
        .with_context(|| service.said())?
        .concat()
        .into_iter()
        .for_each(|took| looped.note(took));
    let looped = looped.close(elapsed, ITEMS);
    Ok(Driven { operations: looped.records, looped })
}

/// Different requests, each in its frame.
fn requests(handle: &KeyHandle) -> Result<Vec<Vec<u8>>> {
    let size = usize::try_from(ITEMS)?;
    let rendered = messages(Form::Batch).into_iter().map(|messages| {
        let items = messages.iter().take(size).map(|message| UseItem {
            id: None,
            context: Context::default(),
            form: InputForm::Message,
            input: message,
            against: &[],
            length: 0,
            routing: b"",
        });
        let request = UseRequest {
            handle: handle.expose_bytes(),
            operation: Operation::Mac,
            receipt: Receipt::Unwanted,
            proofs: Vec::new(),
            items: items.collect(),
        };
        let mut bytes = Vec::new();
        frame::write(&mut bytes, Kind::Use, 0, &request)?;
        Ok(bytes)
    });
    rendered.collect()
}

struct Lane<'r> {
    stream: UnixStream,
    requests: &'r [Vec<u8>],
    left: &'r AtomicU64,
    /// When each request was sent; its tag is the place here.
    sent: Vec<Instant>,
}

impl Lane<'_> {
    fn run(mut self) -> Result<Vec<Duration>> {
        let (mut out, mut latencies) = (Vec::new(), Vec::new());
        for _ in 0..REQUESTS {
            self.ask(&mut out)?;
        }
        let (mut decoder, mut buffer) = (Decoder::default(), vec![0; READ_BYTES]);
        loop {
            self.stream.write_all(&out)?;
            out.clear();
            if latencies.len() == self.sent.len() {
                return Ok(latencies);
            }
            let read = self.stream.read(&mut buffer).context("the signer did not answer")?;
            ensure!(read > 0, "the signer closed the connection");
            decoder.push(buffer.get(..read).unwrap_or_default());
            while let Some((header, body)) = decoder.next_frame()? {
                let sent = self.sent.get(usize::try_from(header.tag)?);
                latencies.push(sent.context("an answer to nothing")?.elapsed());
                check(&cbor::decode(body, "reply")?)?;
                self.ask(&mut out)?;
            }
        }
    }

    /// Appends the next request, if one is left to ask.
    fn ask(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_err() {
            return Ok(());
        }
        let number = self.sent.len() % self.requests.len().max(1);
        let start = out.len();
        out.extend_from_slice(self.requests.get(number).context("there are requests")?);
        let tag = u64::try_from(self.sent.len())?.to_be_bytes();
        out.get_mut(start..)
            .and_then(|frame| frame.get_mut(TAG))
            .context("a frame has a tag")?
            .copy_from_slice(&tag);
        self.sent.push(Instant::now());
        Ok(())
    }
}

fn check(reply: &UseReply) -> Result<()> {
    let is_whole = u64::try_from(reply.results.len()) == Ok(ITEMS);
    let refused =
        reply.results.iter().find(|result| !matches!(result, UseResult::Committed { .. }));
    ensure!(is_whole && refused.is_none(), "not committed: {refused:?}");
    Ok(())
}
