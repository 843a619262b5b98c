//! Uses of a key: JSON in, a [`UseRequest`] out, and answers back.
//!
//! Holders' proofs sign the canonical [`UseRequest`], so that client and front must build the very same
//! one: both go through [`Uses::request`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_core::cbor;
use chancery_core::handle::Operation;
use chancery_core::id::OperationId;
use chancery_core::limits::{BATCH_ITEMS_MAX, CAVEATS_MAX, ROUTING_KEY_BYTES_MAX};
use serde::{Deserialize, Serialize};

use crate::http::fields::{Base64, ContextObject, objects, text};
use crate::http::problem::{Code, Outcome};
use crate::http::{HANDLE_SCHEME, HttpError};
use crate::message::{HolderProof, InputForm, Receipt, UseItem, UseReply, UseRequest, UseResult};
use crate::token;

/// The body of one use.
///
/// | operation | takes |
/// |---|---|
/// | sign, mac | `message` or `digest` |
/// | verify | `message` or `digest`, and `signature` |
/// | verify-mac | `message` or `digest`, and `mac` |
/// | encrypt, decrypt, unwrap, rewrap | `message` |
/// | derive, random | `length` |
/// | generate-data-key | nothing |
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseBody {
    /// The caller's context.
    #[serde(default, skip_serializing_if = "ContextObject::is_empty")]
    pub context: ContextObject,
    /// Message, plaintext, ciphertext or wrapped key, by operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Base64>,
    /// The message's SHA-256 digest, where the format allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Base64>,
    /// The signature to verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Base64>,
    /// The MAC to verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Base64>,
    /// How many bytes to derive or draw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// For whom, while a rollout moves the key: consumers with one routing key see one version at a time. The handle's
    /// subject if not said; at most 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// Whether a receipt is wanted; in a batch this stands in the batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<bool>,
    /// The caller's operation id.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub operation_id: Option<OperationId>,
}

/// The body of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchBody {
    /// The uses, 1 to 256.
    #[serde(deserialize_with = "objects")]
    pub items: Vec<UseBody>,
    /// Whether receipts are wanted.
    #[serde(default)]
    pub receipt: bool,
}

/// Uses of one handle as they were sent, for [`Uses::request`] to borrow from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uses {
    items: Vec<UseBody>,
    receipt: Receipt,
}

impl Uses {
    /// One use. `key` is what the field `Idempotency-Key` says, if it is there.
    ///
    /// # Errors
    ///
    /// [`HttpError::Malformed`] if field and body name different operation ids.
    pub fn single(mut body: UseBody, key: Option<OperationId>) -> Result<Self, HttpError> {
        if let (Some(one), Some(other)) = (key, body.operation_id)
            && one != other
        {
            return Err(HttpError::Malformed("`Idempotency-Key` and `operation_id` differ"));
        }
        body.operation_id = key.or(body.operation_id);
        let receipt = receipt_of(body.receipt.take().unwrap_or_default());
        Ok(Self { items: vec![body], receipt })
    }

    /// A batch.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if it is empty, has too many items, or an item speaks of receipts.
    pub fn batch(body: BatchBody) -> Result<Self, HttpError> {
        match body.items.len() {
            0 => return Err(HttpError::Malformed("a batch has at least one item")),
            count if count > BATCH_ITEMS_MAX => {
                return Err(HttpError::TooLarge("a batch has at most 256 items"));
            }
            _ => {}
        }
        if body.items.iter().any(|item| item.receipt.is_some()) {
            return Err(HttpError::Malformed("`receipt` stands in the batch, not in its items"));
        }
        Ok(Self { items: body.items, receipt: receipt_of(body.receipt) })
    }

    /// The one request that these uses are.
    ///
    /// # Errors
    ///
    /// [`HttpError::Malformed`] if an item has not exactly what the operation takes.
    pub fn request<'b>(
        &'b self,
        operation: Operation,
        handle: &'b [u8],
        proofs: Vec<HolderProof>,
    ) -> Result<UseRequest<'b>, HttpError> {
        let items = self.items.iter().map(|body| item_of(operation, body));
        let items = items.collect::<Result<_, _>>()?;
        Ok(UseRequest { handle, operation, receipt: self.receipt, proofs, items })
    }

    /// The body of the single form; `None` of a batch.
    #[must_use]
    pub fn to_single_body(&self) -> Option<UseBody> {
        let [item] = self.items.as_slice() else { return None };
        let receipt = (self.receipt == Receipt::Wanted).then_some(true);
        Some(UseBody { receipt, ..item.clone() })
    }
}

fn receipt_of(wanted: bool) -> Receipt {
    if wanted { Receipt::Wanted } else { Receipt::Unwanted }
}

/// What an operation takes.
struct Takes {
    input: Input,
    against: Against,
    length: Length,
}

#[derive(Clone, Copy, PartialEq)]
enum Input {
    Nothing,
    Message,
    MessageOrDigest,
}

#[derive(Clone, Copy, PartialEq)]
enum Against {
    Nothing,
    Signature,
    Mac,
}

#[derive(Clone, Copy, PartialEq)]
enum Length {
    Nothing,
    Needed,
}

fn takes(operation: Operation) -> Takes {
    let (input, against, length) = match operation {
        Operation::Sign | Operation::Mac => {
            (Input::MessageOrDigest, Against::Nothing, Length::Nothing)
        }
        Operation::Verify => (Input::MessageOrDigest, Against::Signature, Length::Nothing),
        Operation::VerifyMac => (Input::MessageOrDigest, Against::Mac, Length::Nothing),
        Operation::Encrypt | Operation::Decrypt | Operation::Unwrap | Operation::Rewrap => {
            (Input::Message, Against::Nothing, Length::Nothing)
        }
        Operation::Derive | Operation::Random => (Input::Nothing, Against::Nothing, Length::Needed),
        Operation::GenerateDataKey => (Input::Nothing, Against::Nothing, Length::Nothing),
    };
    Takes { input, against, length }
}

fn item_of(operation: Operation, body: &UseBody) -> Result<UseItem<'_>, HttpError> {
    let takes = takes(operation);
    let (form, input) = input_of(takes.input, body)?;
    let item = UseItem {
        id: body.operation_id,
        context: body.context.0.clone(),
        form,
        input,
        against: against_of(takes.against, body)?,
        length: length_of(takes.length, body)?,
        routing: routing_of(body)?,
    };
    Ok(item)
}

fn routing_of(body: &UseBody) -> Result<&[u8], HttpError> {
    match body.routing_key.as_deref().map(str::as_bytes) {
        None => Ok(&[]),
        Some(key) if (1..=ROUTING_KEY_BYTES_MAX).contains(&key.len()) => Ok(key),
        Some(_) => Err(HttpError::Malformed("`routing_key` has 1 to 128 bytes")),
    }
}

fn input_of(takes: Input, body: &UseBody) -> Result<(InputForm, &[u8]), HttpError> {
    match (takes, &body.message, &body.digest) {
        (Input::Message | Input::MessageOrDigest, Some(message), None) => {
            Ok((InputForm::Message, message.0.as_slice()))
        }
        (Input::MessageOrDigest, None, Some(digest)) => {
            Ok((InputForm::Digest, digest.0.as_slice()))
        }
        (Input::Nothing, None, None) => Ok((InputForm::Message, &[])),
        (Input::Nothing, ..) => {
            Err(HttpError::Malformed("this operation takes neither `message` nor `digest`"))
        }
        (Input::Message, ..) => {
            Err(HttpError::Malformed("this operation takes `message`, and no `digest`"))
        }
        (Input::MessageOrDigest, ..) => {
            Err(HttpError::Malformed("this operation takes exactly one of `message` and `digest`"))
        }
    }
}

fn against_of(takes: Against, body: &UseBody) -> Result<&[u8], HttpError> {
    match (takes, &body.signature, &body.mac) {
        (Against::Signature, Some(given), None) | (Against::Mac, None, Some(given)) => Ok(&given.0),
        (Against::Nothing, None, None) => Ok(&[]),
        (Against::Signature, ..) => {
            Err(HttpError::Malformed("this operation takes `signature`, and no `mac`"))
        }
        (Against::Mac, ..) => {
            Err(HttpError::Malformed("this operation takes `mac`, and no `signature`"))
        }
        (Against::Nothing, ..) => {
            Err(HttpError::Malformed("this operation takes neither `signature` nor `mac`"))
        }
    }
}

fn length_of(takes: Length, body: &UseBody) -> Result<u32, HttpError> {
    match (takes, body.length) {
        (Length::Needed, Some(length)) => Ok(length),
        (Length::Nothing, None) => Ok(0),
        (Length::Needed, None) => Err(HttpError::Malformed("this operation takes `length`")),
        (Length::Nothing, Some(_)) => Err(HttpError::Malformed("this operation takes no `length`")),
    }
}

/// What `Authorization` says for a handle.
#[must_use]
pub fn authorization_field(handle: &[u8]) -> String {
    format!("{HANDLE_SCHEME}{}", token::encode(handle))
}

/// The handle in an `Authorization` field.
///
/// # Errors
///
/// [`HttpError::HandleMissing`] if it is anything but `Handle ` and a handle's text.
pub fn parse_authorization(field: &str) -> Result<Vec<u8>, HttpError> {
    let text = field.strip_prefix(HANDLE_SCHEME).ok_or(HttpError::HandleMissing)?;
    token::decode(text).map_err(|_| HttpError::HandleMissing)
}

/// What `Handle-Proof` says for proofs.
#[must_use]
pub fn proof_field(proofs: &Vec<HolderProof>) -> String {
    STANDARD.encode(cbor::encode(proofs))
}

/// The proofs in a `Handle-Proof` field.
///
/// # Errors
///
/// [`HttpError::ProofMalformed`] if it is not the canonical encoding of 1 to 16 proofs.
pub fn parse_proofs(field: &str) -> Result<Vec<HolderProof>, HttpError> {
    let bytes = STANDARD.decode(field).map_err(|_| HttpError::ProofMalformed)?;
    let proofs: Vec<HolderProof> =
        cbor::decode(&bytes, "proofs").map_err(|_| HttpError::ProofMalformed)?;
    if proofs.is_empty() || proofs.len() > CAVEATS_MAX {
        return Err(HttpError::ProofMalformed);
    }
    Ok(proofs)
}

/// The operation id in an `Idempotency-Key` field.
///
/// # Errors
///
/// [`HttpError::Malformed`] if it is no UUID in its one spelling.
pub fn parse_idempotency_key(field: &str) -> Result<OperationId, HttpError> {
    field
        .parse()
        .map_err(|_| HttpError::Malformed("`Idempotency-Key` is a UUID in lower case with hyphens"))
}

/// What became of one use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseAnswer {
    /// `committed`, `refused`, or `unknown` where the answer cannot be read now.
    pub outcome: Outcome,
    /// The operation: the caller's id, or one that was made for it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub operation_id: Option<OperationId>,
    /// Signature, MAC, ciphertext, plaintext or key; absent of a verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Base64>,
    /// `true` of a verification that held; one that did not is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<bool>,
    /// The key version that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The record's position in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
    /// The receipt, if one was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Base64>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// When another attempt is worth making.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What became of a batch: one answer for each item, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchAnswer {
    /// The answers.
    pub results: Vec<UseAnswer>,
}

impl UseAnswer {
    /// The answer of a result.
    #[must_use]
    pub fn of(operation: Operation, result: UseResult) -> Self {
        let verifies = matches!(operation, Operation::Verify | Operation::VerifyMac);
        match result {
            UseResult::Committed { id, output, version, index, receipt } => Self {
                outcome: Outcome::Committed,
                operation_id: Some(id),
                output: (!verifies).then_some(Base64(output)),
                valid: verifies.then_some(true),
                version: Some(version),
                log_index: Some(index),
                receipt: Base64::unless_empty(&receipt),
                code: None,
                retry_after_ms: None,
            },
            UseResult::Refused { id, reason } => Self::refused(id, Code::Reason(reason)),
        }
    }

    fn refused(operation_id: Option<OperationId>, code: Code) -> Self {
        Self {
            outcome: code.outcome(),
            operation_id,
            output: None,
            valid: None,
            version: None,
            log_index: None,
            receipt: None,
            code: Some(code.text().into()),
            retry_after_ms: code.retry_after_ms(),
        }
    }
}

impl BatchAnswer {
    /// The answer of a reply to a request.
    #[must_use]
    pub fn of(request: &UseRequest<'_>, reply: UseReply) -> Self {
        let answers = reply.results.into_iter().zip(&request.items).map(|(result, item)| {
            let answer = UseAnswer::of(request.operation, result);
            // What was refused before it was looked at does not name the operation; the caller did.
            UseAnswer { operation_id: answer.operation_id.or(item.id), ..answer }
        });
        Self { results: answers.collect() }
    }
}

#[cfg(test)]
mod tests;
