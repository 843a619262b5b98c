//! Uses of a key: JSON in, a [`UseRequest`] out, and answers back.
//!
//! Holders' proofs sign the canonical [`UseRequest`], so that client and front must build the very same
//! one: both go through [`Uses::request`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_core::cbor;
use chancery_core::handle::Operation;
use chancery_core::id::OperationId;
use chancery_core::limits::{BATCH_ITEMS_MAX, CAVEATS_MAX};
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
    };
    Ok(item)
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
mod tests {
    use super::*;
    use crate::http::parse;
    use chancery_core::reason::Reason;

    fn single(json: &str) -> Result<Uses, HttpError> {
        Uses::single(parse(json.as_bytes())?, None)
    }

    fn is_taken(operation: Operation, json: &str) -> bool {
        single(json).unwrap().request(operation, b"h", Vec::new()).is_ok()
    }

    /// Which fields each operation takes: the whole table, over every set of fields.
    #[test]
    fn an_operation_takes_its_fields_and_no_others() {
        const FIELDS: [&str; 5] = ["message", "digest", "signature", "mac", "length"];
        let taken = |operation: Operation| {
            let sets = (0..32_u32)
                .map(|set| (0..5).filter(|bit| set >> bit & 1 == 1).collect::<Vec<usize>>());
            let sets = sets.filter(|set| {
                let value = |field: usize| if field == 4 { "7" } else { "\"AAAA\"" };
                let fields =
                    set.iter().map(|field| format!("\"{}\":{}", FIELDS[*field], value(*field)));
                is_taken(operation, &format!("{{{}}}", fields.collect::<Vec<_>>().join(",")))
            });
            let names = sets
                .map(|set| set.iter().map(|field| FIELDS[*field]).collect::<Vec<_>>().join("+"));
            format!("{}: {}", operation.name(), names.collect::<Vec<_>>().join(" | "))
        };
        assert_eq!(
            Operation::ALL.map(taken).join("\n"),
            "\
sign: message | digest
verify: message+signature | digest+signature
mac: message | digest
verify-mac: message+mac | digest+mac
encrypt: message
decrypt: message
derive: length
generate-data-key: 
unwrap: message
rewrap: message
random: length"
        );
    }

    #[test]
    fn the_request_is_what_was_sent() {
        let uses = single(
            r#"{"context":{"b":"2","a":"1"},"digest":"AQI=","signature":"Aw==","receipt":true,
                "operation_id":"01010101-0101-0101-0101-010101010101"}"#,
        );
        let uses = uses.unwrap();
        let request = uses.request(Operation::Verify, b"handle", Vec::new()).unwrap();
        assert_eq!((request.handle, request.receipt), (b"handle".as_slice(), Receipt::Wanted));
        let item = &request.items[0];
        assert_eq!(item.id, Some(OperationId::from_bytes([1; 16])));
        assert_eq!(
            (item.form, item.input, item.against),
            (InputForm::Digest, [1, 2].as_slice(), [3].as_slice())
        );
        let names: Vec<_> =
            item.context.pairs().iter().map(chancery_core::context::Pair::name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_body_that_is_sent_again_makes_the_same_request() {
        let uses = single(r#"{"context":{"a":"1"},"message":"AQI=","receipt":true}"#).unwrap();
        let body = crate::http::render(&uses.to_single_body().unwrap());
        assert_eq!(Uses::single(parse(&body).unwrap(), None), Ok(uses));
    }

    #[test]
    fn two_operation_ids_must_be_one() {
        let [one, other] = [1, 2].map(|byte| OperationId::from_bytes([byte; 16]));
        let body = |operation_id| UseBody { operation_id, ..UseBody::default() };
        assert!(Uses::single(body(Some(one)), Some(other)).is_err());
        for (key, in_body) in [(Some(one), Some(one)), (Some(one), None), (None, Some(one))] {
            assert_eq!(Uses::single(body(in_body), key).unwrap().items[0].operation_id, Some(one));
        }
    }

    #[test]
    fn the_largest_batch_is_taken_and_one_item_more_is_not() {
        let batch = |count| {
            Uses::batch(BatchBody { items: vec![UseBody::default(); count], receipt: false })
        };
        assert!(batch(BATCH_ITEMS_MAX).is_ok());
        assert!(matches!(batch(BATCH_ITEMS_MAX + 1), Err(HttpError::TooLarge(_))));
        assert!(matches!(batch(0), Err(HttpError::Malformed(_))));
        let items = vec![UseBody { receipt: Some(false), ..UseBody::default() }];
        assert!(matches!(
            Uses::batch(BatchBody { items, receipt: true }),
            Err(HttpError::Malformed(_))
        ));
    }

    #[test]
    fn the_fullest_batch_is_within_the_bound_on_tokens() {
        let pairs = (0..16).map(|i| format!("\"n{i}\":\"v\"")).collect::<Vec<_>>().join(",");
        let item = format!(
            "{{\"context\":{{{pairs}}},\"message\":\"\",\"signature\":\"\",\"operation_id\":\"{}\"}}",
            OperationId::from_bytes([1; 16])
        );
        let body =
            format!("{{\"items\":[{}],\"receipt\":true}}", vec![item; BATCH_ITEMS_MAX].join(","));
        let uses = Uses::batch(parse(body.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            uses.request(Operation::Verify, b"h", Vec::new()).unwrap().items.len(),
            BATCH_ITEMS_MAX
        );
    }

    #[test]
    fn what_is_not_the_object_is_refused() {
        for json in [
            r#"{"message":"AQI"}"#,
            r#"{"message":"AQJ="}"#,
            r#"{"message":"A-I="}"#,
            r#"{"message":"AQI=\n"}"#,
            r#"{"message":["AQI="]}"#,
            r#"{"message":"AQI=","message":"AQI="}"#,
            r#"{"context":{"a":"1","a":"1"},"message":""}"#,
            r#"{"context":{"A":"1"},"message":""}"#,
            r#"{"context":[["a","1"]],"message":""}"#,
            r#"{"length":-1}"#,
            r#"{"length":1.0}"#,
            r#"{"length":4294967296}"#,
            r#"{"receipt":1}"#,
            r#"{"operation_id":"01010101-0101-0101-0101-01010101010A"}"#,
            r#"{"other":1}"#,
            r#"{"message":null}"#,
            r"{} {}",
            r"[]",
            "",
        ] {
            assert!(single(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_batch_of_lists_is_refused() {
        assert!(parse::<BatchBody>(br#"{"items":[{}]}"#).is_ok());
        assert!(parse::<BatchBody>(br#"{"items":[[]]}"#).is_err());
        assert!(parse::<BatchBody>(b"[[{}],true]").is_err());
    }

    #[test]
    fn a_refusal_of_json_repeats_nothing_that_was_sent() {
        let error = single(r#"{"planted":"planted"}"#).unwrap_err();
        assert!(!error.to_string().contains("planted"));
    }

    #[test]
    fn proofs_come_back_from_their_field() {
        let proof = HolderProof { holder: [1; 32], nonce: [2; 16], made_ms: 3, signature: [4; 64] };
        for count in [1, CAVEATS_MAX] {
            let proofs = vec![proof.clone(); count];
            assert_eq!(parse_proofs(&proof_field(&proofs)), Ok(proofs));
        }
        for count in [0, CAVEATS_MAX + 1] {
            let field = proof_field(&vec![proof.clone(); count]);
            assert_eq!(parse_proofs(&field), Err(HttpError::ProofMalformed));
        }
        assert_eq!(parse_proofs("gA"), Err(HttpError::ProofMalformed));
    }

    #[test]
    fn a_handle_comes_back_from_its_field() {
        assert_eq!(parse_authorization(&authorization_field(&[1, 2])), Ok(vec![1, 2]));
        for field in [
            "",
            "Handle",
            "handle chancery-handle-1.AA",
            "Bearer chancery-handle-1.AA",
            "Handle  chancery-handle-1.AA",
        ] {
            assert_eq!(parse_authorization(field), Err(HttpError::HandleMissing), "{field}");
        }
    }

    #[test]
    fn answers_are_spelt_so() {
        let id = OperationId::from_bytes([1; 16]);
        let committed = |output: &[u8]| UseResult::Committed {
            id,
            output: output.to_vec(),
            version: 2,
            index: 3,
            receipt: Vec::new(),
        };
        let spelt =
            |operation, result| serde_json::to_string(&UseAnswer::of(operation, result)).unwrap();
        let start =
            r#"{"outcome":"committed","operation_id":"01010101-0101-0101-0101-010101010101","#;
        assert_eq!(
            spelt(Operation::Sign, committed(&[1, 2])),
            format!("{start}\"output\":\"AQI=\",\"version\":2,\"log_index\":3}}")
        );
        assert_eq!(
            spelt(Operation::Verify, committed(&[])),
            format!("{start}\"valid\":true,\"version\":2,\"log_index\":3}}")
        );
        // An empty plaintext is an answer, not the absence of one.
        assert!(spelt(Operation::Decrypt, committed(&[])).contains("\"output\":\"\""));
        let refused = UseResult::Refused { id: None, reason: Reason::KeyUnusable };
        assert_eq!(
            spelt(Operation::Sign, refused),
            r#"{"outcome":"refused","code":"key-unusable"}"#
        );
    }
}
