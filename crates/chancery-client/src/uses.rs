//! Uses of a key through its handle.

use chancery_api::http::fields::{Base64, ContextObject};
use chancery_api::http::uses::{BatchBody, UseBody, Uses, authorization_field, proof_field};
use chancery_api::http::{AUTHORIZATION, HANDLE_PROOF, HttpError};
pub use chancery_api::message::Receipt;
use chancery_api::message::{HolderProof, UseRequest};
use chancery_core::context::Context;
use chancery_core::handle::Operation;
use chancery_core::id::OperationId;
use chancery_core::limits::MESSAGE_BYTES_MAX;
use chancery_core::reason::Reason;

use crate::handle::KeyHandle;
use crate::holder::HolderKey;
use crate::outcome::Refusal;

/// What is signed, verified, or given a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// The message, at most 64 KiB.
    Message(&'a [u8]),
    /// The message's SHA-256 digest, where the purpose's format takes it.
    Digest(&'a [u8; 32]),
}

/// How a use is made, besides what it is of.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// The operation id: made before the first attempt, and the same in each repeat.
    pub operation: OperationId,
    /// The context; what the handle pins need not be said again.
    pub context: &'a Context,
    /// Whether the answer is to bring a receipt.
    pub receipt: Receipt,
    /// The keys of the handle's holders.
    pub holders: &'a [HolderKey],
    /// For whom, while a rollout moves the key: consumers with one routing key see one version at a time. The handle's
    /// subject if there is none; 1 to 128 bytes.
    pub routing_key: Option<&'a str>,
}

/// What a use gave.
#[derive(Clone, PartialEq, Eq)]
pub struct Used {
    /// The operation.
    pub operation: OperationId,
    /// Signature, MAC, ciphertext, plaintext or key; empty for a verification, which held.
    pub output: Vec<u8>,
    /// The key version that was used.
    pub version: u32,
    /// The record's position in the log.
    pub log_index: u64,
    /// The receipt, if one was wanted; else empty.
    pub receipt: Vec<u8>,
}

impl std::fmt::Debug for Used {
    /// The output may be a key or a plaintext: its length alone is shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Used")
            .field("operation", &self.operation)
            .field("output_bytes", &self.output.len())
            .field("version", &self.version)
            .field("log_index", &self.log_index)
            .finish_non_exhaustive()
    }
}

/// One use, ready to be sent.
pub(crate) struct Prepared {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// The body for an input.
pub(crate) fn input_body(input: Input<'_>) -> UseBody {
    match input {
        Input::Message(message) => {
            UseBody { message: Some(Base64(message.to_vec())), ..UseBody::default() }
        }
        Input::Digest(digest) => {
            UseBody { digest: Some(Base64(digest.to_vec())), ..UseBody::default() }
        }
    }
}

/// Completes `body` by `manner`, and proves possession where the handle asks for it.
pub(crate) fn prepare(
    handle: &KeyHandle,
    operation: Operation,
    body: UseBody,
    manner: &Manner<'_>,
) -> Result<Prepared, Refusal> {
    let body = UseBody {
        context: completed(handle, manner.context)?,
        operation_id: takes_id(operation).then_some(manner.operation),
        receipt: (manner.receipt == Receipt::Wanted).then_some(true),
        routing_key: manner.routing_key.map(str::to_owned),
        ..body
    };
    check_size(&body)?;
    let uses = Uses::single(body, None).map_err(refused_here)?;
    let headers = headers(handle, operation, &uses, manner.holders)?;
    let body = chancery_api::http::render(&uses.to_single_body());
    Ok(Prepared { headers, body })
}

/// As [`prepare`], for several uses of one handle; each item has its own operation id and context.
pub(crate) fn prepare_batch(
    handle: &KeyHandle,
    operation: Operation,
    items: Vec<UseBody>,
    manner: &Manner<'_>,
) -> Result<Prepared, Refusal> {
    items.iter().try_for_each(check_size)?;
    let batch = BatchBody { items, receipt: manner.receipt == Receipt::Wanted };
    let body = chancery_api::http::render(&batch);
    let uses = Uses::batch(batch).map_err(refused_here)?;
    Ok(Prepared { headers: headers(handle, operation, &uses, manner.holders)?, body })
}

/// Whether an operation can be named by its caller: random bytes are never given twice.
fn takes_id(operation: Operation) -> bool {
    operation != Operation::Random
}

pub(crate) fn completed(handle: &KeyHandle, context: &Context) -> Result<ContextObject, Refusal> {
    let context = handle.complete(context);
    context.map(ContextObject).map_err(|error| Refusal::new(Reason::NotAuthorized, error))
}

/// Twice the longest message: ciphertexts and envelopes of formats are longer than what they hold.
const SENT_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

fn check_size(body: &UseBody) -> Result<(), Refusal> {
    let length = |part: &Option<Base64>| part.as_ref().map_or(0, |bytes| bytes.0.len());
    if length(&body.message) > SENT_BYTES_MAX {
        let detail = format!("one request takes at most {MESSAGE_BYTES_MAX} bytes of message");
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    Ok(())
}

fn headers(
    handle: &KeyHandle,
    operation: Operation,
    uses: &Uses,
    holders: &[HolderKey],
) -> Result<Vec<(&'static str, String)>, Refusal> {
    let mut headers = vec![(AUTHORIZATION, authorization_field(handle.expose_bytes()))];
    let request =
        uses.request(operation, handle.expose_bytes(), Vec::new()).map_err(refused_here)?;
    let proofs = proofs(handle, &request, holders)?;
    if !proofs.is_empty() {
        headers.push((HANDLE_PROOF, proof_field(&proofs)));
    }
    Ok(headers)
}

/// One proof for each holder that the handle names.
fn proofs(
    handle: &KeyHandle,
    request: &UseRequest<'_>,
    holders: &[HolderKey],
) -> Result<Vec<HolderProof>, Refusal> {
    let named = &handle.constraints().holders;
    let proofs = named.iter().map(|public| {
        let holder = holders.iter().find(|holder| holder.public() == *public);
        let holder = holder.ok_or_else(|| {
            Refusal::new(
                Reason::ProofInvalid,
                "the handle is bound to a holder whose key is not at hand",
            )
        })?;
        holder.prove(request).map_err(|error| Refusal::new(Reason::Unavailable, error))
    });
    proofs.collect()
}

fn refused_here(error: HttpError) -> Refusal {
    Refusal { code: error.code(), detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use chancery_core::context::Pair;
    use chancery_core::handle::Caveat;

    use super::*;
    use crate::handle::tests::handle;

    const OPERATION: OperationId = OperationId::from_bytes([2; 16]);

    fn manner(context: &Context) -> Manner<'_> {
        Manner {
            operation: OPERATION,
            context,
            receipt: Receipt::Unwanted,
            holders: &[],
            routing_key: None,
        }
    }

    fn sign(handle: &KeyHandle, message: &[u8]) -> Result<Prepared, Refusal> {
        prepare(
            handle,
            Operation::Sign,
            input_body(Input::Message(message)),
            &manner(&Context::default()),
        )
    }

    fn signing() -> KeyHandle {
        handle("sign.bound:invoice", &[Operation::Sign])
    }

    #[test]
    fn a_use_carries_its_operation_id_and_the_pins_of_the_handle() {
        let pinned = signing().narrow(&[Caveat::Pin(Pair::parse("customer=7").unwrap())]).unwrap();
        let prepared = sign(&pinned, b"message").unwrap();
        let body: UseBody = chancery_api::http::parse(&prepared.body).unwrap();
        assert_eq!(body.operation_id, Some(OPERATION));
        assert_eq!(body.context.0.pairs(), [Pair::parse("customer=7").unwrap()]);
    }

    #[test]
    fn random_bytes_take_no_operation_id() {
        let body = UseBody { length: Some(16), ..UseBody::default() };
        let context = Context::default();
        let prepared = prepare(&signing(), Operation::Random, body, &manner(&context)).unwrap();
        let body: UseBody = chancery_api::http::parse(&prepared.body).unwrap();
        assert_eq!(body.operation_id, None);
    }

    #[test]
    fn a_message_far_too_long_is_refused_before_it_is_sent() {
        assert!(sign(&signing(), &vec![0; SENT_BYTES_MAX]).is_ok());
        let refusal = sign(&signing(), &vec![0; SENT_BYTES_MAX + 1]).err().unwrap();
        assert_eq!(refusal.code.text(), "too-large");
    }

    #[test]
    fn a_handle_bound_to_a_holder_wants_that_key() {
        let bound = signing().narrow(&[Caveat::Holder([3; 32])]).unwrap();
        assert_eq!(sign(&bound, b"message").err().unwrap().code.text(), "proof-invalid");
    }
}
