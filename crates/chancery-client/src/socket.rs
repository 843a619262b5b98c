//! Commands given to the signer itself, past the front: over its own socket, on its own machine.
//!
//! For the hour in which the front cannot serve: the process that only takes reductions unwraps no key, not
//! even the one that would certify a new front. A command carries its principal's signature here as it does
//! everywhere; the socket grants nothing.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use chancery_api::frame::{self, Decoder, Kind};
use chancery_api::http::problem::Problem;
use chancery_api::http::replies::CommandAnswer;
use chancery_api::message::{CommandReply, CommandRequest};
use chancery_core::cbor;
use chancery_core::command::Command;
use chancery_core::id::OperationId;
use chancery_core::reason::Reason;

use crate::client::refusal;
use crate::outcome::{Outcome, Refusal};
use crate::principal::CommandSignature;

/// The longest wait for an answer: 30 seconds, as over the front.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The most bytes read at once: 64 KiB.
const READ_BYTES: usize = 64 * 1024;

/// The tag of the only frame that a connection carries.
const TAG: u64 = 1;

/// Gives a signed command over the signer's socket.
pub(crate) fn give(
    socket: &Path,
    command: &Command,
    signed: &CommandSignature,
) -> Outcome<CommandAnswer> {
    let operation = signed.parameters.operation;
    let encoded = cbor::encode(command);
    let request = CommandRequest {
        command: &encoded,
        parameters: signed.parameters.clone(),
        signature: signed.signature,
    };
    let mut bytes = Vec::new();
    if let Err(error) = frame::write(&mut bytes, Kind::Command, TAG, &request) {
        return Outcome::Refused(Refusal::new(Reason::TooLarge, error));
    }
    let stream = match connect(socket) {
        Ok(stream) => stream,
        Err(error) => {
            let detail = format!("the socket `{}` cannot be used: {error}", socket.display());
            return Outcome::Refused(Refusal::new(Reason::Unavailable, detail));
        }
    };
    match exchange(stream, &bytes) {
        Ok(reply) => read(reply, operation),
        Err(_) => Outcome::Unknown(operation),
    }
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    Ok(stream)
}

fn exchange(mut stream: UnixStream, request: &[u8]) -> io::Result<CommandReply> {
    stream.write_all(request)?;
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if let Some((header, body)) = decoder.next_frame().map_err(io::Error::other)? {
            if header.kind != Kind::CommandReply || header.tag != TAG {
                return Err(io::ErrorKind::InvalidData.into());
            }
            return cbor::decode(body, "command reply").map_err(io::Error::other);
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => decoder.push(buffer.get(..read).unwrap_or_default()),
        }
    }
}

fn read(reply: CommandReply, operation: OperationId) -> Outcome<CommandAnswer> {
    match CommandAnswer::of(reply) {
        Ok(answer) => Outcome::Committed(answer),
        Err(problem) => {
            let Problem { outcome, code, detail, .. } = *problem;
            if outcome == chancery_api::http::problem::Outcome::Unknown {
                return Outcome::Unknown(operation);
            }
            Outcome::Refused(refusal(&code, detail))
        }
    }
}
