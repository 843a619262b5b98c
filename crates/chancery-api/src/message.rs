//! What front and signer say to each other, in canonical CBOR.
//!
//! Fields that are empty where an operation has no need of them are empty there by rule: the signer
//! refuses a request that fills them.

use std::ops::Range;

use chancery_core::cbor;
use chancery_core::command::{Answer, SignatureParameters};
use chancery_core::context::Context;
use chancery_core::handle::Operation;
use chancery_core::id::{HandleId, NodeId, OperationId, PrincipalId, RolloutId};
use chancery_core::reason::Reason;
use chancery_core::rollout::Lasting;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

mod census;
mod public;

pub use census::{CensusPage, CensusView, VersionUse};
pub use public::{HeardView, PublicReply, PublicRequest, VerifierView};

/// How the input of an item is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum InputForm {
    /// The message itself.
    #[n(0)]
    Message,
    /// The SHA-256 digest of the message, where the format allows it.
    #[n(1)]
    Digest,
}

/// Whether an answer is to bring a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Receipt {
    /// No.
    #[n(0)]
    Unwanted,
    /// Yes.
    #[n(1)]
    Wanted,
}

/// One use of a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct UseItem<'b> {
    /// The caller's operation id; without one the answer cannot be had again.
    #[n(0)]
    pub id: Option<OperationId>,
    /// The caller's context.
    #[n(1)]
    pub context: Context,
    /// How `input` is to be read.
    #[n(2)]
    pub form: InputForm,
    /// Message, digest, plaintext, ciphertext, or wrapped key, by operation.
    #[cbor(b(3), with = "minicbor::bytes")]
    pub input: &'b [u8],
    /// The signature or MAC to verify; empty otherwise.
    #[cbor(b(4), with = "minicbor::bytes")]
    pub against: &'b [u8],
    /// How many bytes to derive or draw; 0 otherwise.
    #[n(5)]
    pub length: u32,
    /// For whom, while a rollout moves the key: consumers with one routing key see one version at a time. The handle's
    /// subject if it is empty; at most [`chancery_core::limits::ROUTING_KEY_BYTES_MAX`] bytes.
    #[cbor(b(6), with = "minicbor::bytes")]
    pub routing: &'b [u8],
}

/// A holder's proof of possession, over [`UseRequest::proof_digest_input`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct HolderProof {
    /// The Ed25519 public key.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub holder: [u8; 32],
    /// What makes the proof unique.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// When it was made, in milliseconds since 1970.
    #[n(2)]
    pub made_ms: u64,
    /// The signature.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

/// Uses of one handle, at most [`chancery_core::limits::BATCH_ITEMS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct UseRequest<'b> {
    /// The handle.
    #[cbor(b(0), with = "minicbor::bytes")]
    pub handle: &'b [u8],
    /// What is to be done.
    #[n(1)]
    pub operation: Operation,
    /// Whether receipts are wanted.
    #[n(2)]
    pub receipt: Receipt,
    /// One proof for each holder of the handle.
    #[n(3)]
    pub proofs: Vec<HolderProof>,
    /// The uses.
    #[b(4)]
    pub items: Vec<UseItem<'b>>,
}

/// What a holder's signature covers besides the request.
#[derive(Encode)]
#[cbor(array)]
struct ProofInput<'r, 'b> {
    #[cbor(n(0), with = "minicbor::bytes")]
    nonce: [u8; 16],
    #[n(1)]
    made_ms: u64,
    #[n(2)]
    request: &'r UseRequest<'b>,
}

impl UseRequest<'_> {
    /// What a holder's proof signs, under the label of holder proofs: nonce, time, and the whole request
    /// without proofs.
    #[must_use]
    pub fn proof_digest_input(&self, nonce: [u8; 16], made_ms: u64) -> Vec<u8> {
        let bare = UseRequest { proofs: Vec::new(), ..self.clone() };
        cbor::encode(&ProofInput { nonce, made_ms, request: &bare })
    }
}

/// What became of one use.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum UseResult {
    /// It was done, and its record is durable.
    #[n(0)]
    Committed {
        /// The operation: the caller's id, or one that was made for it.
        #[n(0)]
        id: OperationId,
        /// Signature, MAC, ciphertext, plaintext or key; empty for a verification, which held.
        #[cbor(n(1), with = "minicbor::bytes")]
        output: Vec<u8>,
        /// The key version that was used.
        #[n(2)]
        version: u32,
        /// The record's position in the log.
        #[n(3)]
        index: u64,
        /// The receipt, if one was wanted; else empty.
        #[cbor(n(4), with = "minicbor::bytes")]
        receipt: Vec<u8>,
    },
    /// Nothing was done.
    #[n(1)]
    Refused {
        /// The operation, if the caller named it.
        #[n(0)]
        id: Option<OperationId>,
        /// Why.
        #[n(1)]
        reason: Reason,
    },
}

/// The answers to a [`UseRequest`], one for each item, in order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct UseReply {
    /// The answers.
    #[n(0)]
    pub results: Vec<UseResult>,
}

/// A principal's command with its signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CommandRequest<'b> {
    /// The canonical encoding of a [`chancery_core::command::Command`].
    #[cbor(b(0), with = "minicbor::bytes")]
    pub command: &'b [u8],
    /// What the signature says besides.
    #[n(1)]
    pub parameters: SignatureParameters,
    /// The Ed25519 signature over the base.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

/// The number of [`CommandReply::Frames`] in its encoding.
const FRAMES_REPLY: u8 = 8;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum CommandReply {
    /// It was done, and its record is durable.
    #[n(0)]
    Committed {
        /// What there is to say about it.
        #[n(0)]
        answer: Answer,
        /// The record's position in the log; `None` for a read.
        #[n(1)]
        index: Option<u64>,
    },
    /// Nothing was done.
    #[n(1)]
    Refused {
        /// Why.
        #[n(0)]
        reason: Reason,
        /// What was wrong and what to do.
        #[n(1)]
        detail: String,
    },
    /// How the service stands.
    #[n(2)]
    Status(#[n(0)] Box<Status>),
    /// One operation.
    #[n(3)]
    Operation(#[n(0)] OperationView),
    /// Audit records, the oldest first.
    #[n(4)]
    Records(#[n(0)] Vec<RecordView>),
    /// It was done, and is durable in the reduction journal; its record follows before any key is used again.
    #[n(5)]
    Pending,
    /// Rows of the store.
    #[n(6)]
    StoreRows(#[n(0)] StorePage),
    /// Groups of an audit record, opened.
    #[n(7)]
    Opening(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A page of the audit log's frames.
    #[n(8)]
    Frames(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The registered verifiers, in the order of their principals.
    #[n(12)]
    Verifiers(#[n(0)] Vec<VerifierView>),
    /// Steps of a rollout, the first one first.
    #[n(13)]
    Steps(#[n(0)] StepsPage),
    /// What is known of the ciphertexts of keys.
    #[n(14)]
    Census(#[n(0)] Box<CensusPage>),
    /// Rollouts of a key of which steps are kept, the latest first.
    #[n(15)]
    KeptRollouts(#[n(0)] Vec<KeptRollout>),
}

/// Where in the encoding of a reply a page of frames stands; nothing if the reply is another one. So a page is handed on
/// without being decoded.
#[must_use]
pub fn frames_of(reply: &[u8]) -> Option<Range<usize>> {
    let mut decoder = minicbor::Decoder::new(reply);
    let is_frames = decoder.array().ok()? == Some(2)
        && decoder.u8().ok()? == FRAMES_REPLY
        && decoder.array().ok()? == Some(1);
    let length = is_frames.then(|| decoder.bytes().ok()).flatten()?.len();
    let end = decoder.position();
    (end == reply.len()).then(|| end - length..end)
}

/// Steps of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct StepsPage {
    /// The rows of the steps, in their one encoding: that is what their records commit to.
    #[n(0)]
    pub steps: Vec<ByteVec>,
    /// Whether another page follows.
    #[n(1)]
    pub more: bool,
}

/// A rollout of which steps are kept, by these.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct KeptRollout {
    /// What names it.
    #[n(0)]
    pub id: RolloutId,
    /// What of it never changes.
    #[n(1)]
    pub lasting: Lasting,
    /// The number of the first step that is kept; the first of all is 0.
    #[n(2)]
    pub first: u32,
    /// When that was taken, in milliseconds since 1970.
    #[n(3)]
    pub first_ms: u64,
    /// The number of the last step.
    #[n(4)]
    pub last: u32,
    /// When that was taken, in milliseconds since 1970.
    #[n(5)]
    pub last_ms: u64,
    /// How the rollout stands since then.
    #[n(6)]
    pub status: chancery_core::rollout::Status,
}

/// Rows of the store, as they are sealed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct StorePage {
    /// The store's revision.
    #[n(0)]
    pub revision: u64,
    /// The rows, in the order of their names.
    #[n(1)]
    pub rows: Vec<StoreRow>,
    /// Where the next page goes on; empty at the end.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub next: Vec<u8>,
}

/// A row of the store, as it is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct StoreRow {
    /// Its name.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Its revision.
    #[n(1)]
    pub revision: u64,
    /// Its sealed bytes, in number.
    #[n(2)]
    pub bytes: u32,
    /// The first of them.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub head: Vec<u8>,
}

/// How the service stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Status {
    /// `normal`, `audit full`, …: the mode that every answer is given in.
    #[n(0)]
    pub mode: String,
    /// The posture's name.
    #[n(1)]
    pub posture: String,
    /// The log's origin.
    #[n(2)]
    pub origin: String,
    /// Records in the log.
    #[n(3)]
    pub log_size: u64,
    /// The log's root hash.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub log_root: Vec<u8>,
    /// Frames in the log.
    #[n(5)]
    pub frames: u64,
    /// How often the log was continued after a torn end.
    #[n(6)]
    pub incarnation: u32,
    /// Keys in the caller's tenant.
    #[n(7)]
    pub keys: u64,
    /// The tenant's generation and epoch.
    #[n(8)]
    pub generation: u32,
    /// The tenant's epoch number.
    #[n(9)]
    pub epoch: u64,
    /// `plausible` or `suspect`.
    #[n(10)]
    pub clock: String,
    /// Where key bytes are kept in memory.
    #[n(11)]
    pub arena: String,
    /// What asks for an operator's attention, in plain words.
    #[n(12)]
    pub advice: Vec<String>,
    /// The node, which counts the uses of its handles.
    #[n(13)]
    pub node: NodeId,
    /// The file of the lock record.
    #[n(14)]
    pub lock_record: String,
    /// How many records it remembers.
    #[n(15)]
    pub locked_size: u64,
    /// `none` if none are asked, `awaited` until a quorum has cosigned since the start, `kept`, or `lost` when the last
    /// cosigned checkpoint is older than it should be.
    #[n(16)]
    pub witnesses: String,
    /// How many records the last checkpoint had that a quorum cosigned; 0 before there is one.
    #[n(17)]
    pub witnessed_size: u64,
    /// What each witness and peer said last.
    #[n(18)]
    pub others: Vec<OtherView>,
}

/// What a witness or a peer said of the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct OtherView {
    /// What it is called, or where it is.
    #[n(0)]
    pub name: String,
    /// What it said, in plain words.
    #[n(1)]
    pub standing: String,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct OperationView {
    /// The operation.
    #[n(0)]
    pub id: OperationId,
    /// `committed`, `in-flight` or `unknown-id`.
    #[n(1)]
    pub state: String,
    /// The record's position in the log, once committed.
    #[n(2)]
    pub index: Option<u64>,
}

/// An audit record as its tenant's auditor reads it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RecordView {
    /// Its position in the log.
    #[n(0)]
    pub index: u64,
    /// When, in milliseconds since 1970.
    #[n(1)]
    pub unix_ms: u64,
    /// What was asked.
    #[n(2)]
    pub operation: String,
    /// `committed` or `refused`.
    #[n(3)]
    pub outcome: String,
    /// Why it was refused, or empty.
    #[n(4)]
    pub reason: String,
    /// The key's name, or empty.
    #[n(5)]
    pub key: String,
    /// The key version, or 0.
    #[n(6)]
    pub version: u32,
    /// The number of this use of the version, if it is one.
    #[n(7)]
    pub use_index: Option<u64>,
    /// Who.
    #[n(8)]
    pub actor: Option<PrincipalId>,
    /// The leaf hash.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub leaf: Vec<u8>,
    /// How many there were, if it sums up refusals before authentication.
    #[n(10)]
    pub count: Option<u64>,
    /// The handle; of a use that counts under a link, that link's revocation id.
    #[n(11)]
    pub handle: Option<HandleId>,
}

/// Whether the signer can serve.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct HealthRequest {
    /// Reserved, 0.
    #[n(0)]
    pub reserved: u8,
}

/// The signer's counters, for `/readyz` and `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct HealthReply {
    /// The mode.
    #[n(0)]
    pub mode: String,
    /// Counters: name with labels as Prometheus writes them, and value.
    #[n(1)]
    pub counters: Vec<(String, u64)>,
}

/// Asks for a certificate for a key that the front has made.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CertificateRequest {
    /// The key: a point of P-256, uncompressed (SEC 1, 2.3.3). Names and life are the signer's to decide.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub public_key: Vec<u8>,
}

/// The certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CertificateReply {
    /// The certificate in DER; empty if it was refused.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub certificate: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(input: &[u8]) -> UseRequest<'_> {
        let item = UseItem {
            id: None,
            context: Context::default(),
            form: InputForm::Message,
            input,
            against: &[],
            length: 0,
            routing: b"",
        };
        UseRequest {
            handle: b"handle",
            operation: Operation::Sign,
            receipt: Receipt::Unwanted,
            proofs: Vec::new(),
            items: vec![item],
        }
    }

    #[test]
    fn a_request_survives_its_encoding() {
        let bytes = cbor::encode(&request(b"message"));
        assert_eq!(cbor::decode(&bytes, "use request"), Ok(request(b"message")));
    }

    #[test]
    fn a_page_of_frames_is_found_in_its_reply_and_in_no_other() {
        for length in [0, 23, 24, 300, 70_000] {
            let page = vec![7; length];
            let mut reply = cbor::encode(&CommandReply::Frames(page.clone()));
            let range = frames_of(&reply).unwrap();
            assert_eq!(reply.get(range), Some(page.as_slice()));
            reply.push(0);
            assert_eq!(frames_of(&reply), None);
            reply.truncate(reply.len() - 2);
            assert_eq!(frames_of(&reply), None);
        }
        assert_eq!(frames_of(&cbor::encode(&CommandReply::Opening(vec![7]))), None);
        assert_eq!(frames_of(&cbor::encode(&CommandReply::Pending)), None);
    }

    #[test]
    fn a_proof_covers_the_whole_request_its_nonce_and_its_time() {
        let base = request(b"message").proof_digest_input([1; 16], 5);
        assert_ne!(base, request(b"other").proof_digest_input([1; 16], 5));
        assert_ne!(base, request(b"message").proof_digest_input([2; 16], 5));
        assert_ne!(base, request(b"message").proof_digest_input([1; 16], 6));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused_or_means_something_else() {
        let bytes = cbor::encode(&request(b"message"));
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let decoded = cbor::decode::<UseRequest<'_>>(&altered, "use request");
            assert_ne!(decoded, Ok(request(b"message")), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(cbor::decode::<UseRequest<'_>>(&bytes[..length], "use request").is_err());
        }
    }
}
