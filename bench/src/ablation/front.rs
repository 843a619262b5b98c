//! What the front does for one request, without TLS and HTTP; and the frames between front and signer.

use anyhow::{Context as _, Result};
use chancery_api::frame::{self, Decoder, Kind};
use chancery_api::http;
use chancery_api::http::uses::{
    UseAnswer, UseBody, Uses, authorization_field, parse_authorization,
};
use chancery_api::message::{UseReply, UseRequest, UseResult};
use chancery_core::cbor;
use chancery_core::handle::Operation;
use chancery_core::id::OperationId;

use super::signer::Signer;
use super::{Timing, Title};
use crate::contenders::bare::render;
use crate::order::Form;
use crate::report::{Belongs, Part};

/// The parts.
pub(super) fn parts(timing: Timing) -> Result<Vec<Part>> {
    let signer = Signer::make()?;
    let front = |name| Title { name, belongs: Belongs::Front };
    let link = |name| Title { name, belongs: Belongs::Link };
    let authorization = authorization_field(&signer.handle);
    let body = render(Form::Single, std::slice::from_ref(&signer.message))?;
    let request = framed(&body, &authorization)?;
    let reply = reply();
    let mut replied = Vec::new();
    frame::write(&mut replied, Kind::UseReply, 7, &reply)?;
    Ok(vec![
        timing.each(front("request parsed and framed"), || framed(&body, &authorization))?,
        timing.each(front("reply read, answer rendered"), || answered(&replied))?,
        timing.each(link("request frame decoded and copied"), || decoded(&request))?,
        timing.each(link("reply framed"), || {
            let mut out = Vec::new();
            frame::write(&mut out, Kind::UseReply, 7, &reply)?;
            Ok(out)
        })?,
    ])
}

/// From the bytes of a body and a header to a frame.
fn framed(body: &[u8], authorization: &str) -> Result<Vec<u8>> {
    let handle = parse_authorization(authorization)?;
    let uses = Uses::single(http::parse::<UseBody>(body)?, None)?;
    let request = uses.request(Operation::Sign, &handle, Vec::new())?;
    let mut out = Vec::new();
    frame::write(&mut out, Kind::Use, 7, &request)?;
    Ok(out)
}

/// From a frame to the bytes of a body.
fn answered(reply: &[u8]) -> Result<Vec<u8>> {
    let mut decoder = Decoder::default();
    decoder.push(reply);
    let (_, body) = decoder.next_frame()?.context("a frame")?;
    let reply: UseReply = cbor::decode(body, "reply")?;
    let result = reply.results.into_iter().next().context("a result")?;
    Ok(http::render(&UseAnswer::of(Operation::Sign, result)))
}

/// From the bytes of a frame to a message that outlives it.
fn decoded(request: &[u8]) -> Result<(usize, Vec<u8>)> {
    let mut decoder = Decoder::default();
    decoder.push(request);
    let (_, body) = decoder.next_frame()?.context("a frame")?;
    let request: UseRequest<'_> = cbor::decode(body, "request")?;
    let item = request.items.first().context("an item")?;
    Ok((request.handle.len(), item.input.to_vec()))
}

/// The reply to one signature, of the length of the format `bound` with Ed25519.
fn reply() -> UseReply {
    let result = UseResult::Committed {
        id: OperationId::from_bytes([7; 16]),
        output: vec![0x5a; 92],
        version: 1,
        index: 1_000_000,
        receipt: Vec::new(),
    };
    UseReply { results: vec![result] }
}
