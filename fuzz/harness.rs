//! One function for each format that is read from somebody else's bytes.
//!
//! A harness takes any bytes. It fails by a panic: of the code that reads them, or of its own where something
//! that was accepted would not have been written so. The targets beside this file run them under a fuzzer,
//! and `crates/chancery/tests/fuzz_smoke.rs` over the corpus and mutations of it.
//!
//! Where a checksum or a MAC would stop every mutation at the door, the harness sets it right, or takes any.

use std::sync::LazyLock;

use chancery_api::frame::{Decoder, HEADER_BYTES, Header, Kind};
use chancery_api::http::commands::{
    AuditQueryBody, ChangeVersionBody, CommandParts, CreateKeyBody, CreatePrincipalBody,
    ImportKeyBody, IssueHandleBody, RevokeHandleBody, VersionBody, command_from_request,
    request_of,
};
use chancery_api::http::routes::{RequestLine, find};
use chancery_api::http::uses::{BatchBody, UseBody, Uses};
use chancery_api::http::{parse, render};
use chancery_api::message::{
    CertificateReply, CertificateRequest, CommandReply, CommandRequest, HealthReply, HealthRequest,
    PublicReply, PublicRequest, UseReply, UseRequest,
};
use chancery_audit::dense::{Dense, Packer};
use chancery_audit::frame::{Frame, FrameView, ItemView, length_at};
use chancery_audit::opening::Opening;
use chancery_audit::origin::Origin;
use chancery_audit::page::{Follower, PageHead};
use chancery_audit::proof::{TreeProof, Trust, check};
use chancery_audit::receipt::Receipt;
use chancery_audit::segment::SegmentHeader;
use chancery_core::cbor;
use chancery_core::command::Command;
use chancery_core::context::Context;
use chancery_core::handle::{self, Handle, HandleKeyId, Link, Mac, Operation, Tag};
use chancery_core::id::{KeyId, TenantId};
use chancery_core::purpose::{Format, Purpose};
use chancery_core::suite::Suite;
use chancery_crypto::chunked::FileHeader;
use chancery_crypto::envelope::{self, Binding};
use chancery_crypto::formats::{self, KeyVersion, Payload, Verifier, Verifying, dsse};
use chancery_crypto::key::{PrivateKey, PublicKey};
use chancery_crypto::mac::ChainLink;
use chancery_crypto::notes::{CheckpointSeeds, CheckpointSigner, NoteKey};
use chancery_crypto::seal::{RowPlace, SealingKey, claimed_place, seal_tag};
use chancery_export::cursor::Cursor;
use chancery_export::limits::{BACKOFF_MAX, RETRY_AFTER_MIN};
use chancery_export::retry::{Backoff, retry_after};
use chancery_export::sink::otlp;
use chancery_log::tlog_proof::TlogProof;
use chancery_log::witness::{AddCheckpoint, Answer, MEDIA_SIZE};
use chancery_memory::Arena;
use minicbor::{Decode, Encode};

/// A harness.
pub(crate) type Harness = fn(&[u8]);

/// Every harness, by the name of its target and its corpus.
pub(crate) const HARNESSES: [(&str, Harness); 16] = [
    ("audit_frame", audit_frame),
    ("command_request", command_request),
    ("dense_segment", dense_segment),
    ("envelope", envelope),
    ("export", export),
    ("file_header", file_header),
    ("frame_stream", frame_stream),
    ("handle", handle),
    ("json_bodies", json_bodies),
    ("proofs", proofs),
    ("receipt", receipt),
    ("sealed_row", sealed_row),
    ("segment_header", segment_header),
    ("signatures", signatures),
    ("use_request", use_request),
    ("witness", witness),
];

/// The key of the harnesses that need one. It protects nothing.
pub(crate) const KEY: [u8; 32] = [7; 32];

/// The log that receipts are checked against.
pub(crate) static LOG_KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    let key = PrivateKey::from_secret(Suite::Ed25519, &KEY).expect("a key");
    key.public().expect("a public half").clone()
});

/// The signer of the checkpoints that proofs are checked against.
pub(crate) fn checkpoint_signer() -> CheckpointSigner {
    let seeds = CheckpointSeeds { ed25519: &KEY, ml_dsa_44: &KEY };
    CheckpointSigner::new("fuzz.example/log".parse().expect("a name"), &seeds, None).expect("keys")
}

/// Whose checkpoints count.
pub(crate) static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let signer = checkpoint_signer();
    let keys: String = signer.verifier_keys().map(|key| format!("log {key}\n")).concat();
    Trust::parse(&format!("{keys}quorum none\n")).expect("a policy")
});

/// What was decoded encodes to the same bytes.
fn canonical<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Option<T> {
    let value = cbor::decode::<T>(bytes, "value").ok()?;
    assert_eq!(cbor::encode(&value), bytes);
    Some(value)
}

/// The decoder of frames between front and signer, and what is in them.
pub(crate) fn frame_stream(bytes: &[u8]) {
    let whole = frames(&[bytes]);
    // However the stream is cut, the same frames come out of it.
    let pieces: Vec<_> = bytes.chunks(bytes.len() % 23 + 1).collect();
    assert_eq!(frames(&pieces), whole);
    let mut rest = bytes;
    for (header, body) in &whole {
        let frame = [&header.to_bytes()[..], body].concat();
        rest = rest.strip_prefix(frame.as_slice()).expect("a frame is what it was read from");
        assert_eq!(frame.len(), HEADER_BYTES + body.len());
        match header.kind {
            Kind::Use => use_request(body),
            Kind::UseReply => drop(canonical::<UseReply>(body)),
            Kind::Command => command_request(body),
            Kind::CommandReply => drop(canonical::<CommandReply>(body)),
            Kind::Health => drop(canonical::<HealthRequest>(body)),
            Kind::HealthReply => drop(canonical::<HealthReply>(body)),
            Kind::Certificate => drop(canonical::<CertificateRequest>(body)),
            Kind::CertificateReply => drop(canonical::<CertificateReply>(body)),
            Kind::Public => drop(canonical::<PublicRequest>(body)),
            Kind::PublicReply => drop(canonical::<PublicReply>(body)),
        }
    }
}

fn frames(pieces: &[&[u8]]) -> Vec<(Header, Vec<u8>)> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some((header, body))) => frames.push((header, body.to_vec())),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// Uses, as the front sends them.
pub(crate) fn use_request(bytes: &[u8]) {
    if let Some(request) = canonical::<UseRequest<'_>>(bytes) {
        let _ = request.proof_digest_input([1; 16], 2);
        handle(request.handle);
    }
}

/// Commands with their signature, and the way of each through HTTP and back.
pub(crate) fn command_request(bytes: &[u8]) {
    let request = canonical::<CommandRequest<'_>>(bytes);
    let command = canonical::<Command>(request.as_ref().map_or(bytes, |request| request.command));
    let Some(command) = command else { return };
    if let Some(request) = &request {
        assert!(request.parameters.base(&command, "digest").contains(&command.route().1));
    }
    let Ok(http) = request_of(&command) else { return };
    let (path, query) = match http.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (http.target.as_str(), None),
    };
    let found = find(RequestLine { method: http.method, path }).expect("a command has a route");
    let body = http.body.unwrap_or_default();
    if let Ok(again) = command_from_request(CommandParts { found, query, body: &body }) {
        assert_eq!(again, command);
    }
}

/// Takes every chain for one that holds, so that what is in it is read.
struct Credulous;

impl Link for Credulous {
    fn link(&self, tag: &Tag, caveat: &[u8]) -> Tag {
        ChainLink.link(tag, caveat)
    }

    fn revocation(&self, tag: &Tag) -> Tag {
        ChainLink.revocation(tag)
    }
}

impl Mac for Credulous {
    fn root(&self, _: HandleKeyId, _: &[u8]) -> Option<Tag> {
        Some([0; 32])
    }

    fn equal(&self, _: &Tag, _: &Tag) -> bool {
        true
    }
}

/// Handles, as the signer opens them and as their holder reads them.
pub(crate) fn handle(bytes: &[u8]) {
    let opened = Handle::open(bytes, &Credulous);
    let described = handle::describe(bytes);
    assert_eq!(opened.is_ok(), described.is_ok());
    if let (Ok(opened), Ok(described)) = (opened, described) {
        assert_eq!(*opened.root(), described.root);
        assert!(opened.expires_ms() <= described.root.expires_ms);
        let wider = |operation: &Operation| {
            opened.permits(*operation) && !described.root.operations.contains(*operation)
        };
        assert!(!Operation::ALL.iter().any(wider));
        assert_eq!(handle::narrow(bytes, &[], &Credulous).as_deref(), Ok(bytes));
        assert!(handle::last_link(bytes, &Credulous).is_ok());
    }
}

/// What was read is read again from what is written of it.
fn again<T>(bytes: &[u8]) -> Option<T>
where
    T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug,
{
    let read = parse::<T>(bytes).ok()?;
    assert_eq!(parse::<T>(&render(&read)).as_ref(), Ok(&read));
    Some(read)
}

/// Every JSON object that a caller sends.
pub(crate) fn json_bodies(bytes: &[u8]) {
    let _ = again::<AuditQueryBody>(bytes);
    let _ = again::<ChangeVersionBody>(bytes);
    let _ = again::<CreateKeyBody>(bytes);
    let _ = again::<CreatePrincipalBody>(bytes);
    let _ = again::<ImportKeyBody>(bytes);
    let _ = again::<IssueHandleBody>(bytes);
    let _ = again::<RevokeHandleBody>(bytes);
    let _ = again::<VersionBody>(bytes);
    let single = again::<UseBody>(bytes).map(|body| Uses::single(body, None));
    let batch = again::<BatchBody>(bytes).map(Uses::batch);
    for uses in [single, batch].into_iter().flatten().flatten() {
        for operation in Operation::ALL {
            if let Ok(request) = uses.request(operation, b"handle", Vec::new()) {
                use_request(&cbor::encode(&request));
            }
        }
    }
}

/// The bytes with the checksum of `covered` in the four after them.
fn with_checksum(bytes: &[u8], covered: usize) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let (body, rest) = bytes.split_at_mut_checked(covered)?;
    rest.get_mut(..4)?.copy_from_slice(&crc32c(body).to_be_bytes());
    Some(bytes)
}

/// CRC-32C, bit by bit (RFC 3720, B.4; the polynomial reflected).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    let add = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(!0, add)
}

/// Frames of the audit log.
pub(crate) fn audit_frame(bytes: &[u8]) {
    let covered = length_at(bytes).unwrap_or_default().saturating_sub(4);
    let repaired = with_checksum(bytes, covered).unwrap_or_default();
    for bytes in [bytes, &repaired] {
        if let Ok((frame, encoded)) = Frame::decode(bytes) {
            assert!(bytes.starts_with(&encoded.bytes));
            assert_eq!(frame.encode().hash, encoded.hash);
            let _ = (frame.root_of_items(), frame.end_index(), frame.head([1; 32]).to_bytes());
            let view = FrameView::read(bytes).expect("what is decoded is seen");
            let seen: Result<Vec<_>, _> =
                view.items().map(|item| item.map(ItemView::to_item)).collect();
            assert_eq!((seen, view.hash()), (Ok(frame.items), encoded.hash));
        }
        // Of what no log has signed, nothing is taken.
        let signer = PrivateKey::from_secret(Suite::Ed25519, &KEY).expect("a key");
        let origin = Origin::of_signer(&signer).expect("an origin");
        let head = PageHead::sign(1, None, (&origin, &signer)).expect("a head").to_bytes();
        for page in [bytes.to_vec(), [&head, bytes].concat()] {
            let taken = Follower::new(origin.name()).take(0, page);
            assert!(taken.is_err() || taken.is_ok_and(|taken| taken.frames().count() == 0));
        }
    }
}

/// The headers of segments.
pub(crate) fn segment_header(bytes: &[u8]) {
    let repaired = with_checksum(bytes, 4_092).unwrap_or_default();
    for bytes in [bytes, &repaired] {
        if let Ok(header) = SegmentHeader::parse(bytes) {
            assert!(bytes.starts_with(&header.to_bytes()));
        }
    }
}

/// Dense segments: with their checksums set right as far as rows and bundles can be found.
pub(crate) fn dense_segment(bytes: &[u8]) {
    let mut repaired = bytes.to_vec();
    repair_dense(&mut repaired);
    for bytes in [bytes, &repaired] {
        let length = bytes.len() as u64;
        let Ok(mut dense) = Dense::open(bytes) else { continue };
        let head = dense.head().clone();
        assert!(bytes.starts_with(&head.to_bytes()));
        // Anything may be asked for, whatever the rest of the file is.
        let first = head.segment.frontier.size();
        let _ = (dense.frame_at(1), dense.frame_of(first), dense.item(first), dense.frame(0));
        if dense.check(length).is_err() {
            continue;
        }
        // What holds as a whole comes back as it would have been written.
        let mut packer = Packer::new(head.segment.clone());
        let frames = (0..head.frames).map_while(|number| {
            let frame = dense.frame(number).ok()?;
            Frame::decode(&frame).ok()?;
            packer.add(&frame).ok()
        });
        if frames.count() as u64 == u64::from(head.frames) {
            assert_eq!(packer.finish(head.segment_bytes).unwrap().concat(), bytes);
        }
    }
}

/// Sets the checksums of a dense segment right.
fn repair_dense(bytes: &mut [u8]) {
    let repair = |bytes: &mut [u8], start: u64, length: u64| {
        let range = usize::try_from(start).ok().zip(usize::try_from(length).ok());
        let part = range.and_then(|(start, length)| bytes.get_mut(start..)?.get_mut(..length));
        if let Some((body, checksum)) = part.and_then(|part| part.split_last_chunk_mut::<4>()) {
            *checksum = crc32c(body).to_be_bytes();
        }
    };
    repair(bytes, 0, 4_096);
    let Ok(dense) = Dense::open(bytes.to_vec()) else { return };
    let head = dense.head();
    // Of a head that is made up there may be any number.
    for row in 0..head.frames.min(64) {
        repair(bytes, head.frame_row_offset(row), 236);
    }
    for row in 0..head.bundles.min(64) {
        repair(bytes, head.bundle_row_offset(row), 24);
        let rows = Dense::open(bytes.to_vec()).and_then(|dense| dense.bundle_row(row));
        if let Ok(row) = rows {
            repair(bytes, row.offset, u64::from(row.bytes));
        }
    }
}

/// Proofs and what is in them, as an outsider reads them.
pub(crate) fn proofs(bytes: &[u8]) {
    if let Ok(opening) = Opening::parse(bytes) {
        assert_eq!(opening.to_bytes(), bytes);
        let _ = opening.open();
    }
    if let Ok(proof) = TreeProof::parse(bytes) {
        assert_eq!(proof.to_bytes(), bytes);
        let _ = proof.check(&TRUST);
    }
    if let Ok(proof) = TlogProof::parse(bytes) {
        assert_eq!(proof.to_string().as_bytes(), bytes);
        let _ = check(bytes, &TRUST);
    }
}

/// What strangers send to a witness, and what a witness answers.
pub(crate) fn witness(bytes: &[u8]) {
    static KEYS: LazyLock<[NoteKey; 2]> = LazyLock::new(|| {
        let signer = checkpoint_signer();
        signer.verifier_keys().map(|key| NoteKey::new(key.clone()).expect("a key"))
    });
    if let Ok(request) = AddCheckpoint::parse(bytes) {
        assert_eq!(request.to_string().as_bytes(), bytes);
        let tree = request.unverified_checkpoint().tree;
        let [ed25519, ml_dsa_44] = &*KEYS;
        if let Ok(signed) = request.signed_by(&[ed25519, ml_dsa_44]) {
            let _ = signed.after(None);
            let _ = signed.after(Some(tree));
        }
    }
    for status in [200, 409] {
        if let Ok(answer) = Answer::parse(status, Some(MEDIA_SIZE), bytes) {
            assert_eq!(answer.body().as_bytes(), bytes);
        }
    }
}

/// What an exporter reads: its cursor, and what sinks answer.
pub(crate) fn export(bytes: &[u8]) {
    let _ = otlp::verdict(bytes, 1);
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Some(asked) = retry_after(text) {
        let wait = Backoff::default().after_failure(Some(asked), 0);
        assert!((RETRY_AFTER_MIN..=BACKOFF_MAX).contains(&wait));
    }
    if let Some(cursor) = Cursor::parse(text) {
        assert_eq!(cursor.to_text(), text);
    }
    // Whatever stands before the sum, with the right one.
    let body = text.rsplit_once("crc32c ").map_or(text, |(body, _)| body);
    let summed = format!("{body}crc32c {:08x}\n", crc32c(body.as_bytes()));
    if let Some(cursor) = Cursor::parse(&summed) {
        assert_eq!(cursor.to_text(), summed);
        assert!(cursor.last.is_none_or(|last| last.index < cursor.next));
    }
}

/// Receipts, as an outsider checks them.
pub(crate) fn receipt(bytes: &[u8]) {
    let _ = Receipt::check(bytes, &LOG_KEY);
}

/// Rows of the store, at the place that they name.
pub(crate) fn sealed_row(bytes: &[u8]) {
    static SEALING: LazyLock<SealingKey> = LazyLock::new(|| {
        let arena = Arena::with_capacity(1 << 16).expect("an arena");
        SealingKey::from_bytes(&arena, &KEY).expect("a key")
    });
    let _ = seal_tag(bytes);
    let Ok((version, epoch)) = claimed_place(bytes) else { return };
    let place = RowPlace { tenant: TenantId::from_bytes([1; 16]), name: b"row", version, epoch };
    if SEALING.open(&place, bytes).is_ok() {
        let moved = RowPlace { name: b"other", ..place };
        assert!(SEALING.open(&moved, bytes).is_err());
    }
}

/// Envelopes, under the key version that they name.
pub(crate) fn envelope(bytes: &[u8]) {
    let Ok(header) = envelope::Header::parse(bytes) else { return };
    let key = PrivateKey::from_secret(Suite::Aes256Gcm, &KEY).expect("a key");
    let key = key.envelope_key().expect("an envelope key");
    let purpose = "encrypt.aead:fuzz".parse().expect("a purpose");
    let context = Context::default();
    let binding = Binding { purpose: &purpose, context: &context };
    let opened = envelope::decrypt(key, header.origin.key, binding, bytes);
    assert!(opened.is_err() || bytes.len() > opened.map_or(0, |plaintext| plaintext.len()));
}

/// What keys sign, as far as it is read to find the key versions: by the versions that it names, or by public halves.
pub(crate) fn signatures(bytes: &[u8]) {
    for format in [Format::Bound, Format::Cose, Format::Dsse, Format::Jws, Format::JwsJson] {
        assert!(formats::key_versions(format, bytes).len() <= dsse::SIGNATURES_MAX);
    }
    let key = PrivateKey::from_secret(Suite::Ed25519, &KEY).expect("a key");
    let public = key.public().expect("a public half");
    for purpose in ["sign.sshsig:fuzz", "sign.note:fuzz"] {
        let purpose = purpose.parse().expect("a purpose");
        let is_ours = formats::is_by(&purpose, bytes, (Suite::Ed25519, public.spki()));
        // Whose it is says nothing of whether it holds, but what holds says whose it is.
        let expected = Verifying {
            purpose: &purpose,
            key: KeyVersion { key: KeyId::from_bytes([0x11; 16]), version: 1 },
            verifier: Verifier::Public(public),
            context: &Context::default(),
            payload: names_no_payload(&purpose).then_some(Payload::Message(b"message")),
            now_ms: 0,
        };
        assert!(is_ours || formats::verify(bytes, &expected).is_err());
    }
}

fn names_no_payload(purpose: &Purpose) -> bool {
    !purpose.format().carries_payload()
}

/// The headers of encrypted files.
pub(crate) fn file_header(bytes: &[u8]) {
    let mut rest = bytes;
    if let Ok(header) = FileHeader::read(&mut rest) {
        let read = &bytes[..bytes.len() - rest.len()];
        let wrapped = header.wrapped();
        assert!(read.windows(wrapped.len()).any(|part| part == wrapped));
        envelope(wrapped);
    }
}
