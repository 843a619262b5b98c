//! A lane: one blocking thread for one front's socket.
//!
//! It reads what is there, decodes every whole frame, opens the handles, has all of it decided under one
//! lock, computes, and hands the results to the sequencer. It never waits for the disk. What its socket did
//! not take of earlier answers it sends on when there is room.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chancery_api::frame::{Decoder, Header, Kind};
use chancery_api::message::{
    CertificateReply, CertificateRequest, CommandReply, CommandRequest, HealthReply, HealthRequest,
    HolderProof, PublicRequest, UseReply, UseRequest, UseResult,
};
use chancery_core::cbor;
use chancery_core::handle::Handle;
use chancery_core::id::OperationId;
use chancery_core::limits::{BATCH_ITEMS_MAX, CAVEATS_MAX, LANE_OPERATIONS_MAX};
use chancery_core::reason::Reason;
use chancery_core::step::Proof;
use chancery_crypto::labels;
use rustix::event::{PollFd, PollFlags, poll};

use crate::census;
use crate::commands::{self, Asker};
use crate::config::SignerError;
use crate::others::Others;
use crate::outlet::{Assembly, Outlet};
use crate::peers::Seat;
use crate::rollouts;
use crate::service::Shared;
use crate::signature::{self, ed25519};
use crate::uses::{OwnedRequest, Worker, check_form, own_request};

/// The most bytes taken from the socket at once: 256 KiB.
const READ_BYTES: usize = 256 * 1024;

/// The front sent what is no frame: the stream is of no more use.
struct OutOfStep;

/// A lane.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    stream: UnixStream,
    outlet: Arc<Outlet>,
    outstanding: Arc<AtomicUsize>,
    worker: Worker,
    _seat: Seat,
}

impl Lane {
    /// Starts the thread of a lane.
    pub(crate) fn start(
        shared: Arc<Shared>,
        stream: UnixStream,
        seat: Seat,
    ) -> Result<(), SignerError> {
        let failed = SignerError::system("a lane cannot be started");
        let outlet = stream.try_clone().and_then(|stream| {
            stream.set_nonblocking(true)?;
            Outlet::new(stream)
        });
        let outlet = Arc::new(outlet.map_err(failed)?);
        let worker = Worker::new(Arc::clone(&shared));
        let outstanding = Arc::default();
        let lane = Self { shared, stream, outlet, outstanding, worker, _seat: seat };
        std::thread::spawn(move || lane.run());
        Ok(())
    }

    fn run(mut self) {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.wait() {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                Err(_) => return,
            };
            decoder.push(buffer.get(..read).unwrap_or_default());
            if self.take(&mut decoder).is_err() {
                let _ = self.stream.shutdown(std::net::Shutdown::Both);
                return;
            }
            // A short read has emptied the socket: another would only say so.
            if read < buffer.len() && self.wait().is_err() {
                return;
            }
        }
    }

    /// Waits until there is something to read, or room for what waits to be sent.
    fn wait(&self) -> io::Result<()> {
        let mut interest = PollFlags::IN;
        interest.set(PollFlags::OUT, self.outlet.is_waiting());
        let wake = self.outlet.wake();
        let mut fds = [PollFd::new(&self.stream, interest), PollFd::new(&wake, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [stream, woken] = &fds;
        let (writable, woken) =
            (stream.revents().contains(PollFlags::OUT), !woken.revents().is_empty());
        if woken {
            self.outlet.acknowledge();
        }
        if writable {
            self.outlet.flush();
        }
        Ok(())
    }

    /// Takes every whole frame there is.
    fn take(&mut self, decoder: &mut Decoder) -> Result<(), OutOfStep> {
        let mut requests = Vec::new();
        while let Some((header, body)) = decoder.next_frame().map_err(|_| OutOfStep)? {
            self.frame(header, body, &mut requests)?;
        }
        if !requests.is_empty() {
            self.worker.run(&requests);
        }
        Ok(())
    }

    fn frame(
        &self,
        header: Header,
        body: &[u8],
        requests: &mut Vec<Arc<OwnedRequest>>,
    ) -> Result<(), OutOfStep> {
        match header.kind {
            Kind::Use => {
                let request = cbor::decode(body, "use request").map_err(|_| OutOfStep)?;
                requests.extend(self.open(header.tag, request));
            }
            Kind::Command => {
                let request: CommandRequest<'_> =
                    cbor::decode(body, "command request").map_err(|_| OutOfStep)?;
                self.command(header.tag, &request);
            }
            Kind::Health => {
                let _: HealthRequest =
                    cbor::decode(body, "health request").map_err(|_| OutOfStep)?;
                let mode = self.shared.mode().to_owned();
                let mut counters = self.shared.counters.exposition();
                counters.extend(self.shared.repacked.exposition());
                counters.extend(self.shared.bundles.exposition());
                counters.extend(self.shared.verifiers.exposition());
                counters.extend(rollouts::exposition(&self.shared));
                counters.extend(census::exposition(&self.shared));
                counters.extend(self.shared.overdue.exposition());
                counters.extend(self.shared.rotations.exposition());
                counters.extend(self.shared.others.iter().flat_map(Others::exposition));
                let reply = HealthReply { mode, counters };
                self.outlet.say(Kind::HealthReply, header.tag, &reply);
            }
            Kind::Certificate => {
                let request: CertificateRequest =
                    cbor::decode(body, "certificate request").map_err(|_| OutOfStep)?;
                let certificate =
                    self.shared.authority.issue(&request.public_key).unwrap_or_default();
                self.outlet.say(
                    Kind::CertificateReply,
                    header.tag,
                    &CertificateReply { certificate },
                );
            }
            Kind::Public => {
                let asked: PublicRequest =
                    cbor::decode(body, "public request").map_err(|_| OutOfStep)?;
                let to = (Arc::clone(&self.outlet), header.tag);
                self.shared.bundles.ask(&self.shared.counters, to, asked);
            }
            Kind::UseReply
            | Kind::CommandReply
            | Kind::HealthReply
            | Kind::CertificateReply
            | Kind::PublicReply => return Err(OutOfStep),
        }
        Ok(())
    }

    /// Opens the handle of a request and takes it out of its frame; refuses it at once otherwise.
    fn open(&self, tag: u64, request: UseRequest<'_>) -> Option<Arc<OwnedRequest>> {
        let items = request.items.len();
        let opened = self.check(&request).and_then(|()| {
            let handle = Handle::open(request.handle, &self.shared.mac);
            let handle = handle.map_err(|_| Reason::HandleInvalid)?;
            Ok((verify_proofs(&request, &handle)?, handle))
        });
        match opened {
            Ok((proofs, handle)) => {
                let outlet = Arc::clone(&self.outlet);
                let assembly = Assembly::new(outlet, tag, items, Arc::clone(&self.outstanding));
                Some(Arc::new(own_request(&self.shared, request, handle, proofs, assembly)))
            }
            Err(reason) => {
                self.shared.counters.refused_early(reason);
                let refused = UseResult::Refused { id: None, reason };
                let results = vec![refused; items.clamp(1, BATCH_ITEMS_MAX)];
                self.outlet.say(Kind::UseReply, tag, &UseReply { results });
                None
            }
        }
    }

    fn check(&self, request: &UseRequest<'_>) -> Result<(), Reason> {
        let items = request.items.len();
        if !(1..=BATCH_ITEMS_MAX).contains(&items) || request.proofs.len() > CAVEATS_MAX {
            return Err(Reason::TooLarge);
        }
        if self.outstanding.load(Ordering::Relaxed) + items > LANE_OPERATIONS_MAX {
            return Err(Reason::Overloaded);
        }
        let mut ids = BTreeSet::new();
        request.items.iter().try_for_each(|item| {
            let is_good = |id: OperationId| id.unix_ms().is_some() && ids.insert(id);
            if !item.id.is_none_or(is_good) {
                return Err(Reason::Malformed);
            }
            check_form(request.operation, item)
        })
    }

    fn command(&self, tag: u64, request: &CommandRequest<'_>) {
        match commands::verify(&self.shared, request) {
            Ok(verified) => {
                let asker = Asker { outlet: Arc::clone(&self.outlet), tag };
                commands::take(&self.shared, verified, asker);
            }
            Err(reason) => {
                self.shared.counters.refused_early(reason);
                let detail = signature::early_detail(reason).to_owned();
                self.outlet.say(Kind::CommandReply, tag, &CommandReply::Refused { reason, detail });
            }
        }
    }
}

/// Verifies the signatures of holder proofs; whether they are new is decided under the lock. A proof by
/// somebody whom the handle does not ask for costs nothing but its refusal.
fn verify_proofs(request: &UseRequest<'_>, handle: &Handle) -> Result<Vec<Proof>, Reason> {
    let is_asked_for = |proof: &HolderProof| handle.holders().contains(&proof.holder);
    if request.proofs.len() > handle.holders().len() || !request.proofs.iter().all(is_asked_for) {
        return Err(Reason::ProofInvalid);
    }
    request.proofs.iter().map(|proof| verify_proof(request, proof)).collect()
}

fn verify_proof(request: &UseRequest<'_>, proof: &HolderProof) -> Result<Proof, Reason> {
    let signed = request.proof_digest_input(proof.nonce, proof.made_ms);
    let signed = [labels::HANDLE_HOLDER_PROOF, &signed].concat();
    let key = ed25519(&proof.holder).ok_or(Reason::ProofInvalid)?;
    key.verify(&signed, &proof.signature).map_err(|_| Reason::ProofInvalid)?;
    Ok(Proof { holder: proof.holder, nonce: proof.nonce, made_ms: proof.made_ms })
}
