//! Requests taken out of their frames: their form is checked, and what outlives the frame is copied.

use std::sync::Arc;

use chancery_api::message::{InputForm, UseItem, UseRequest};
use chancery_core::cbor;
use chancery_core::handle::{Handle, Operation};
use chancery_core::limits::{MESSAGE_BYTES_MAX, ROUTING_KEY_BYTES_MAX};
use chancery_core::purpose::Format;
use chancery_core::reason::Reason;
use chancery_core::step::{Claimed, Proof};
use chancery_crypto::envelope::{self, ENVELOPE_BYTES_MAX};
use chancery_crypto::formats::{bound, dsse, jws};
use chancery_crypto::labels;
use chancery_crypto::primitive::sha256;

use super::{OwnedItem, OwnedRequest};
use crate::outlet::Assembly;
use crate::service::Shared;

/// The longest signature, MAC or token that is verified: 128 KiB, more than a token of the longest message takes.
const AGAINST_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// Checks the form of an item, before anything is spent on it.
pub(crate) fn check_form(operation: Operation, item: &UseItem<'_>) -> Result<(), Reason> {
    let verifies = matches!(operation, Operation::Verify | Operation::VerifyMac);
    let takes_length = matches!(operation, Operation::Derive | Operation::Random);
    let takes_digest = verifies || matches!(operation, Operation::Sign | Operation::Mac);
    let takes_input = !takes_length && operation != Operation::GenerateDataKey;
    let is_digest = item.form == InputForm::Digest;
    let well_formed = item.against.is_empty() != verifies
        && (item.length != 0) == takes_length
        && (takes_input || item.input.is_empty())
        && (!is_digest || takes_digest && item.input.len() == 32)
        && (operation != Operation::Random || item.id.is_none());
    let input_max = match operation {
        Operation::Decrypt | Operation::Unwrap | Operation::Rewrap => ENVELOPE_BYTES_MAX,
        _ => MESSAGE_BYTES_MAX,
    };
    if !well_formed {
        return Err(Reason::Malformed);
    }
    let is_long = item.input.len() > input_max
        || item.against.len() > AGAINST_BYTES_MAX
        || item.routing.len() > ROUTING_KEY_BYTES_MAX;
    if is_long {
        return Err(Reason::TooLarge);
    }
    Ok(())
}

/// Copies an item out of its frame, and names its operation id and version.
fn own(shared: &Shared, handle: &Handle, operation: Operation, item: UseItem<'_>) -> OwnedItem {
    let claimed = item.id.and_then(|id| {
        let id_ms = id.unix_ms()?;
        let digest = request_digest(shared, handle, operation, &item);
        Some(Claimed {
            name: shared.entry_name(handle.root().tenant, handle.root().subject, id),
            digest,
            id_ms,
        })
    });
    OwnedItem {
        id: item.id,
        version: named_version(handle, operation, &item),
        context: item.context,
        form: item.form,
        digest: match item.form {
            InputForm::Message => sha256(&[item.input]),
            InputForm::Digest => item.input.try_into().unwrap_or_default(),
        },
        input: item.input.to_vec(),
        against: item.against.to_vec(),
        length: item.length,
        routing: item.routing.to_vec(),
        claimed,
    }
}

fn request_digest(
    shared: &Shared,
    handle: &Handle,
    operation: Operation,
    item: &UseItem<'_>,
) -> [u8; 32] {
    let parts: [&[u8]; 7] = [
        handle.root().key.as_bytes(),
        &[operation.number(), item.form as u8],
        &cbor::encode(&item.context),
        item.input,
        item.against,
        &item.length.to_be_bytes(),
        handle.root().subject.as_bytes(),
    ];
    shared.operation_key.of(labels::REQUEST_DIGEST, &parts)
}

fn named_version(handle: &Handle, operation: Operation, item: &UseItem<'_>) -> Option<u32> {
    let format = handle.root().purpose.format();
    let named = match operation {
        Operation::Verify | Operation::VerifyMac => match format {
            Format::Bound => bound::BoundSignature::decode(item.against).ok()?.origin.key,
            Format::Jws => jws::key_version(item.against).ok()?,
            Format::Dsse => *dsse::key_versions(item.against).ok()?.first()?,
            Format::Raw | Format::Aead | Format::Hkdf => return None,
        },
        Operation::Decrypt | Operation::Unwrap | Operation::Rewrap => {
            envelope::Header::parse(item.input).ok()?.origin.key
        }
        _ => return None,
    };
    (named.key == handle.root().key).then_some(named.version)
}

/// Takes a request out of its frame once its handle has opened.
pub(crate) fn own_request(
    shared: &Shared,
    request: UseRequest<'_>,
    handle: Handle,
    proofs: Vec<Proof>,
    assembly: Arc<Assembly>,
) -> OwnedRequest {
    let (operation, receipt) = (request.operation, request.receipt);
    let items = request.items.into_iter().map(|item| own(shared, &handle, operation, item));
    OwnedRequest { items: items.collect(), handle, proofs, operation, receipt, assembly }
}

#[cfg(test)]
mod tests;
