//! Requests taken out of their frames: their form is checked, and what outlives the frame is copied.

use std::sync::Arc;

use chancery_api::message::{InputForm, UseItem, UseRequest};
use chancery_core::cbor;
use chancery_core::handle::{Handle, Operation};
use chancery_core::limits::{MESSAGE_BYTES_MAX, ROUTING_KEY_BYTES_MAX};
use chancery_core::reason::Reason;
use chancery_core::step::{Claimed, Proof};
use chancery_crypto::envelope::{self, ENVELOPE_BYTES_MAX};
use chancery_crypto::formats;
use chancery_crypto::labels;
use chancery_crypto::primitive::sha256;

use super::{OwnedItem, OwnedRequest};
use crate::counters::lock;
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
        versions: named_versions(shared, handle, operation, &item),
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

/// The versions of the handle's key that what is processed says it was protected by: two at most.
fn named_versions(
    shared: &Shared,
    handle: &Handle,
    operation: Operation,
    item: &UseItem<'_>,
) -> [Option<u32>; 2] {
    let root = handle.root();
    let named = match operation {
        Operation::Verify if formats::names_public_halves(root.purpose.format()) => {
            return versions_by_public(shared, handle, item.against);
        }
        Operation::Verify | Operation::VerifyMac => {
            formats::key_versions(root.purpose.format(), item.against)
        }
        Operation::Decrypt | Operation::Unwrap | Operation::Rewrap => {
            let header = envelope::Header::parse(item.input);
            header.map(|header| vec![header.origin.key]).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let mut ours = named.into_iter().filter(|it| it.key == root.key).map(|it| it.version);
    [ours.next(), ours.next()]
}

/// As [`named_versions`], of an output that names public halves: the versions that have these. A version never gets
/// another one, so what is found holds whenever the use is decided.
fn versions_by_public(shared: &Shared, handle: &Handle, output: &[u8]) -> [Option<u32>; 2] {
    let root = handle.root();
    let key = lock(&shared.core).authority.key(root.tenant, root.key).cloned();
    let versions = key.iter().flat_map(|key| key.versions.iter().map(move |it| (key, it)));
    let mut ours = versions
        .filter(|(key, it)| formats::is_by(&root.purpose, output, (key.suite_of(it), &it.public)))
        .map(|(_, it)| it.number);
    [ours.next(), ours.next()]
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
