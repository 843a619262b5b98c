//! A front of the tests' own: it speaks frames to the signer's socket, and may lie.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use chancery_api::frame::{Decoder, Kind, write};
use chancery_api::message::{
    CommandReply, CommandRequest, HealthReply, HealthRequest, InputForm, Receipt, UseItem,
    UseReply, UseRequest, UseResult,
};
use chancery_client::{HolderKey, KeyHandle};
use chancery_core::cbor;
use chancery_core::context::Context;
use chancery_core::handle::Operation;
use chancery_core::reason::Reason;

use crate::harness::{PATIENCE, Service};

/// A connection to the signer.
pub(super) struct FakeFront {
    stream: UnixStream,
    decoder: Decoder,
    tag: u64,
}

/// The signer has closed the lane.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl FakeFront {
    pub(super) fn connect(service: &Service) -> Self {
        Self::connect_by(&service.data().join("run/signer.sock")).unwrap()
    }

    /// Connects by some path to the signer's socket.
    pub(super) fn connect_by(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(Self { stream, decoder: Decoder::default(), tag: 0 })
    }

    /// Sends bytes as they are. A lane that is being closed may not take them all.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a frame.
    pub(super) fn frame<T: minicbor::Encode<()>>(&mut self, kind: Kind, body: &T) {
        self.tag += 1;
        let mut bytes = Vec::new();
        write(&mut bytes, kind, self.tag, body).unwrap();
        self.send(&bytes);
    }

    /// The next answer; waits for it.
    pub(super) fn answer(&mut self) -> Result<(Kind, Vec<u8>), Closed> {
        let mut buffer = [0; 4_096];
        loop {
            if let Some((header, body)) = self.decoder.next_frame().unwrap() {
                return Ok((header.kind, body.to_vec()));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Closed),
                Ok(read) => self.decoder.push(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(Closed),
                Err(error) => panic!("the signer neither answers nor closes: {error}"),
            }
        }
    }

    /// Asks for a command.
    pub(super) fn command(&mut self, request: &CommandRequest<'_>) -> CommandReply {
        self.frame(Kind::Command, request);
        let (kind, body) = self.answer().unwrap();
        assert_eq!(kind, Kind::CommandReply);
        cbor::decode(&body, "command reply").unwrap()
    }

    /// Asks for a use; its one result.
    pub(super) fn uses(&mut self, request: &UseRequest<'_>) -> UseResult {
        self.frame(Kind::Use, request);
        let (kind, body) = self.answer().unwrap();
        assert_eq!(kind, Kind::UseReply);
        let UseReply { mut results } = cbor::decode(&body, "use reply").unwrap();
        assert_eq!(results.len(), 1);
        results.remove(0)
    }

    /// Whether the signer still answers on this lane.
    pub(super) fn is_served(&mut self) -> bool {
        self.frame(Kind::Health, &HealthRequest { reserved: 0 });
        let Ok((kind, body)) = self.answer() else { return false };
        let reply: HealthReply = cbor::decode(&body, "health reply").unwrap();
        kind == Kind::HealthReply && reply.mode == "normal"
    }
}

/// A request to sign `input`, with a proof of each holder.
pub(super) fn sign_request<'b>(
    handle: &'b KeyHandle,
    input: &'b [u8],
    holders: &[&HolderKey],
) -> UseRequest<'b> {
    let item = UseItem {
        id: None,
        context: Context::default(),
        form: InputForm::Message,
        input,
        against: &[],
        length: 0,
        routing: b"",
    };
    let mut request = UseRequest {
        handle: handle.expose_bytes(),
        operation: Operation::Sign,
        receipt: Receipt::Unwanted,
        proofs: Vec::new(),
        items: vec![item],
    };
    request.proofs = holders.iter().map(|holder| holder.prove(&request).unwrap()).collect();
    request
}

/// The reason of a result that refuses.
#[track_caller]
pub(super) fn reason(result: &UseResult) -> Reason {
    match result {
        UseResult::Refused { reason, .. } => *reason,
        UseResult::Committed { .. } => panic!("committed, and not refused"),
    }
}
