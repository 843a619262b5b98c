//! The first files of each corpus: what the formats are written as, by our own code or by the vectors of
//! the second implementation.

use std::fs;

use chancery_api::frame::{self, Kind};
use chancery_api::http::commands::request_of;
use chancery_api::message::{
    CommandRequest, HealthRequest, HolderProof, InputForm, Receipt as Wanted, UseItem, UseReply,
    UseRequest, UseResult,
};
use chancery_audit::dense::Dense;
use chancery_audit::frame::Frame;
use chancery_audit::opening::Opening;
use chancery_audit::proof::{TreeProof, check, prove};
use chancery_audit::receipt::{Receipt, ReceiptError};
use chancery_audit::segment::{BLOCK_BYTES, SegmentHeader};
use chancery_core::campaign::{CampaignOrder, Progress};
use chancery_core::cbor;
use chancery_core::census::{Declaration, Found, Scan, VersionCount};
use chancery_core::command::{
    AuditQuery, CensusQuery, Command, NewHandle, NewKey, PruneAudit, SignatureParameters,
};
use chancery_core::context::{Context, Pair};
use chancery_core::disclosure::{Disclosed, Disclosure};
use chancery_core::epoch::Epoch;
use chancery_core::handle::{self, Caveat, Handle, HandleKeyId, Operation, Operations, Root};
use chancery_core::id::{
    CampaignId, HandleId, KeyId, NodeId, OperationId, PrincipalId, ProposalId, RolloutId, TenantId,
};
use chancery_core::name::Scope;
use chancery_core::principal::Role;
use chancery_core::proposal::Proposed;
use chancery_core::purpose::Format;
use chancery_core::reason::Reason;
use chancery_core::record_group::{RecordGroup, RecordGroups};
use chancery_core::rollout::{Builtin, Cause, Order, Overridable, Rotation};
use chancery_core::state::KeyEvent;
use chancery_core::suite::Suite;
use chancery_core::verifier::{NewVerifier, Report, VersionCounts};
use chancery_crypto::chunked::FileHeader;
use chancery_crypto::envelope::{self, Binding, Origin};
use chancery_crypto::formats::{self, KeyVersion, Payload, Signatures, Signing};
use chancery_crypto::key::PrivateKey;
use chancery_crypto::mac::{ChainLink, HandleMac};
use chancery_crypto::seal::claimed_place;
use chancery_export::cursor::{Cursor, Last};
use chancery_export::sink::otlp;
use chancery_log::TreeHead;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::Note;
use chancery_log::tile::Tile;
use chancery_log::witness::{AddCheckpoint, Answer, MEDIA_SIZE};
use serde_json::Value;

use crate::harness::{KEY, LOG_KEY, TRUST, checkpoint_signer};

#[path = "seeds/commands.rs"]
mod commands;

use commands::{all_commands, commands};

/// One file of a corpus.
pub(crate) struct Seed {
    pub(crate) target: &'static str,
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// Whether the format reads it.
    pub(crate) is_taken: fn(&[u8]) -> bool,
}

const KEY_ID: KeyId = KeyId::from_bytes([7; 16]);
const PRINCIPAL: PrincipalId = PrincipalId::from_bytes([5; 16]);
const OPERATION: OperationId = OperationId::from_bytes([2; 16]);

/// All of them.
pub(crate) fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    seeds.extend(streams());
    seeds.extend(commands());
    seeds.extend(handles());
    seeds.extend(bodies());
    seeds.extend(audit());
    seeds.extend(proofs());
    seeds.extend(ciphertexts());
    seeds.extend(signatures());
    seeds.extend(witness());
    seeds.extend(export());
    seeds
}

fn export() -> [Seed; 2] {
    let last = Some(Last { index: 1_234, leaf: "N2Q1".into() });
    let cursor = Cursor { origin: "log.example/1".into(), next: 1_300, last };
    [
        Seed {
            target: "export",
            name: "cursor",
            bytes: cursor.to_text().into_bytes(),
            is_taken: |bytes| Cursor::parse(str::from_utf8(bytes).unwrap()).is_some(),
        },
        Seed {
            target: "export",
            name: "rejected",
            bytes: br#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"x"}}"#.to_vec(),
            is_taken: |bytes| otlp::verdict(bytes, 1).is_err(),
        },
    ]
}

fn pair(text: &str) -> Pair {
    Pair::parse(text).unwrap()
}

fn with_request<T>(handle: &[u8], then: impl FnOnce(UseRequest<'_>) -> T) -> T {
    let item = |form, input| UseItem {
        id: Some(OPERATION),
        context: Context::new(vec![pair("customer=7"), pair("region=eu")]).unwrap(),
        form,
        input,
        against: b"signature",
        length: 32,
        routing: b"eu-1",
    };
    then(UseRequest {
        handle,
        operation: Operation::Verify,
        receipt: Wanted::Wanted,
        proofs: vec![HolderProof {
            holder: [3; 32],
            nonce: [4; 16],
            made_ms: 5,
            signature: [6; 64],
        }],
        items: vec![item(InputForm::Message, b"message"), item(InputForm::Digest, &[9; 32])],
    })
}

fn streams() -> [Seed; 2] {
    let request = with_request(&narrowed(), |request| cbor::encode(&request));
    let mut stream = Vec::new();
    with_request(&narrowed(), |request| frame::write(&mut stream, Kind::Use, 1, &request)).unwrap();
    frame::write(&mut stream, Kind::Health, 2, &HealthRequest { reserved: 0 }).unwrap();
    let results = vec![UseResult::Refused { id: None, reason: Reason::KeyUnusable }];
    frame::write(&mut stream, Kind::UseReply, 3, &UseReply { results }).unwrap();
    [
        Seed {
            target: "frame_stream",
            name: "use-health-reply",
            bytes: stream,
            is_taken: |bytes| {
                let mut decoder = frame::Decoder::default();
                decoder.push(bytes);
                (0..3).all(|_| matches!(decoder.next_frame(), Ok(Some(_))))
            },
        },
        Seed {
            target: "use_request",
            name: "verify",
            bytes: request,
            is_taken: |bytes| cbor::decode::<UseRequest<'_>>(bytes, "use request").is_ok(),
        },
    ]
}

fn mac() -> HandleMac {
    HandleMac::new([(HandleKeyId(1), &KEY)])
}

fn minted() -> Vec<u8> {
    let root = Root {
        id: HandleId::from_bytes([9; 16]),
        tenant: TenantId::from_bytes([1; 16]),
        key: KEY_ID,
        purpose: "sign.bound:invoice".parse().unwrap(),
        issuer: PRINCIPAL,
        subject: PRINCIPAL,
        issue_epoch: Epoch { generation: 0, number: 7 },
        issued_ms: 1_000,
        expires_ms: 2_000,
        operations: Operations::of(&[Operation::Sign, Operation::Verify]),
    };
    handle::mint(HandleKeyId(1), &root, &mac()).unwrap()
}

fn narrowed() -> Vec<u8> {
    let caveats = [
        Caveat::Expires(1_500),
        Caveat::Operations(Operations::of(&[Operation::Sign])),
        Caveat::Pin(pair("customer=7")),
        Caveat::Holder([3; 32]),
        Caveat::Uses { most: 12, node: NodeId::from_bytes([8; 16]) },
    ];
    handle::narrow(&minted(), &caveats, &ChainLink).unwrap()
}

fn handles() -> [Seed; 2] {
    let seed = |name, bytes| Seed {
        target: "handle",
        name,
        bytes,
        is_taken: |bytes| Handle::open(bytes, &mac()).is_ok(),
    };
    [seed("minted", minted()), seed("narrowed", narrowed())]
}

fn bodies() -> Vec<Seed> {
    let of_use = [
        ("sign", r#"{"context":{"a":"1"},"message":"AAAA","receipt":true}"#),
        ("verify", r#"{"digest":"AAAA","signature":"AAAA"}"#),
        ("batch", r#"{"items":[{"message":"AAAA"},{"length":16}],"receipt":true}"#),
        ("escaped", r#"{"context":{"a":"\u00e9\ud83d\ude00"},"message":""}"#),
    ];
    let of_use = of_use.map(|(name, text)| (name, text.as_bytes().to_vec()));
    let of_commands = all_commands()
        .filter_map(|(name, command)| Some((name, request_of(&command).unwrap().body?)));
    let seed = |(name, bytes)| Seed {
        target: "json_bodies",
        name,
        bytes,
        is_taken: |bytes| chancery_api::http::scan::scan(bytes).is_ok(),
    };
    of_use.into_iter().chain(of_commands).map(seed).collect()
}

fn vector(file: &str) -> Value {
    let path = format!("{}/../../vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// A segment with one frame, receipts, and a sealed row, all of the second implementation.
fn audit() -> Vec<Seed> {
    let log = vector("log.json");
    let segment = &log["files"]["0000000000000000.seg"];
    let mut bytes = hex(&segment["bytes"]);
    bytes.resize(usize::try_from(segment["length"].as_u64().unwrap()).unwrap(), 0);
    let header = bytes[..BLOCK_BYTES].to_vec();
    let (_, encoded) = Frame::decode(&bytes[BLOCK_BYTES..]).unwrap();
    let receipts = ["receipt-0", "receipt-5", "receipt-22"].into_iter().zip([0, 5, 22]);
    let receipts = receipts.map(|(name, at)| Seed {
        target: "receipt",
        name,
        bytes: hex(&log["receipts"][at]),
        is_taken: |bytes| {
            !matches!(Receipt::check(bytes, &LOG_KEY), Err(ReceiptError::NotAReceipt))
        },
    });
    let rows = vector("rows.json");
    let dense = vector("dense.json");
    let others = [
        Seed {
            target: "dense_segment",
            name: "first",
            bytes: hex(&dense["0000000000000000.dense"]),
            is_taken: |bytes| {
                Dense::open(bytes).is_ok_and(|dense| dense.check(bytes.len() as u64).is_ok())
            },
        },
        Seed {
            target: "segment_header",
            name: "first",
            bytes: header,
            is_taken: |bytes| SegmentHeader::parse(bytes).is_ok(),
        },
        Seed {
            target: "audit_frame",
            name: "first",
            bytes: encoded.bytes,
            is_taken: |bytes| Frame::decode(bytes).is_ok(),
        },
        Seed {
            target: "sealed_row",
            name: "first",
            bytes: hex(&rows["sealed"][0]["sealed"]),
            is_taken: |bytes| claimed_place(bytes).is_ok(),
        },
    ];
    receipts.chain(others).collect()
}

/// An opening, the proof of a log that holds nothing but its record, and a proof about that log.
fn proofs() -> [Seed; 3] {
    let receipt = hex(&vector("log.json")["receipts"][0]);
    let opening = Receipt::parse(&receipt).unwrap().opening().unwrap();
    let tree = TreeHead { size: 1, root: opening.leaf() };
    let mut signer = checkpoint_signer();
    let checkpoint = Checkpoint { origin: "fuzz.example/log".parse().unwrap(), tree };
    let both = signer.sign(&checkpoint, 1_800_000_000).unwrap();
    // With the Ed25519 signature alone: an ML-DSA one is another each time it is made.
    let mut note = Note::new(both.unverified_text()).unwrap();
    note.add(both.signatures()[0].clone());
    let no_tiles = |_: Tile| None;
    let trees = TreeProof::make((&note, tree), (&note, tree), no_tiles).unwrap();
    let record = prove((0, &opening), (note, tree), |_: Tile| Some(vec![tree.root]), None).unwrap();
    [
        Seed {
            target: "proofs",
            name: "opening",
            bytes: opening.to_bytes(),
            is_taken: |bytes| Opening::parse(bytes).is_ok_and(|opening| opening.open().is_ok()),
        },
        Seed {
            target: "proofs",
            name: "record",
            bytes: record.to_string().into_bytes(),
            is_taken: |bytes| check(bytes, &TRUST).is_ok(),
        },
        Seed {
            target: "proofs",
            name: "trees",
            bytes: trees.to_bytes(),
            is_taken: |bytes| {
                TreeProof::parse(bytes).is_ok_and(|proof| proof.check(&TRUST).is_ok())
            },
        },
    ]
}

/// A checkpoint for a witness, and both answers that a program reads.
fn witness() -> [Seed; 3] {
    let tree = TreeHead { size: 7, root: [7; 32].into() };
    let checkpoint = Checkpoint { origin: "fuzz.example/log".parse().unwrap(), tree };
    let signed = checkpoint_signer().sign(&checkpoint, 1_800_000_000).unwrap();
    // With the Ed25519 signature alone, which is the same each time.
    let signatures = vec![signed.signatures()[0].clone()];
    let lines = signatures[0].to_string();
    let note = signed.with_signatures(signatures);
    let request = AddCheckpoint::new(5, vec![[1; 32].into(), [2; 32].into()], note).unwrap();
    [
        Seed {
            target: "witness",
            name: "request",
            bytes: request.to_string().into_bytes(),
            is_taken: |bytes| AddCheckpoint::parse(bytes).is_ok(),
        },
        Seed {
            target: "witness",
            name: "cosignature",
            bytes: lines.into_bytes(),
            is_taken: |bytes| Answer::parse(200, None, bytes).is_ok(),
        },
        Seed {
            target: "witness",
            name: "size",
            bytes: b"20852163\n".to_vec(),
            is_taken: |bytes| Answer::parse(409, Some(MEDIA_SIZE), bytes).is_ok(),
        },
    ]
}

fn ciphertexts() -> [Seed; 2] {
    let key = PrivateKey::from_secret(Suite::Aes256Gcm, &KEY).unwrap();
    let origin = Origin { key: KeyVersion { key: KEY_ID, version: 1 }, posture_epoch: 1 };
    let purpose = "encrypt.aead:fuzz".parse().unwrap();
    let context = Context::default();
    let binding = Binding { purpose: &purpose, context: &context };
    let key = key.envelope_key().unwrap();
    let wrapped = envelope::encrypt(key, origin, binding, [9; 32], &[5; 32]).unwrap();
    let header = FileHeader::new(&wrapped, [8; 32]).unwrap();
    let file = [b"CHCF\x01".as_slice(), &u16::try_from(wrapped.len()).unwrap().to_be_bytes()];
    let file = [file.concat(), wrapped.clone(), vec![8; 32]].concat();
    assert_eq!(FileHeader::read(&mut file.as_slice()).unwrap(), header);
    [
        Seed {
            target: "envelope",
            name: "data-key",
            bytes: wrapped,
            is_taken: |bytes| envelope::Header::parse(bytes).is_ok(),
        },
        Seed {
            target: "file_header",
            name: "empty-file",
            bytes: file,
            is_taken: |mut bytes| FileHeader::read(&mut bytes).is_ok(),
        },
    ]
}

/// What leaves with `message` signed by so many versions.
fn signed(purpose: &str, message: &[u8], signatures: Signatures) -> Vec<u8> {
    let key = PrivateKey::from_secret(Suite::Ed25519, &KEY).unwrap();
    let context = Context::default();
    let sign = |version| {
        let signing = Signing {
            purpose: &purpose.parse().unwrap(),
            suite: Suite::Ed25519,
            key: KEY_ID,
            version,
            public: key.public().unwrap().spki(),
            posture_epoch: 1,
            context: &context,
            payload: Payload::Message(message),
            signatures,
            now_ms: 1_000_000,
        };
        let to_be_signed = formats::to_be_signed(&signing).unwrap();
        let signature = key.sign(to_be_signed.bytes()).unwrap();
        (to_be_signed, signature)
    };
    let (one, signature) = sign(1);
    match signatures {
        Signatures::One => one.assemble(&signature),
        Signatures::Two => {
            let (other, beside) = sign(2);
            formats::assemble_both((one, &signature), (other, &beside)).unwrap()
        }
    }
}

fn names(format: Format, bytes: &[u8]) -> bool {
    !formats::key_versions(format, bytes).is_empty()
}

fn is_ours(purpose: &str, bytes: &[u8]) -> bool {
    let key = PrivateKey::from_secret(Suite::Ed25519, &KEY).unwrap();
    let public = key.public().unwrap().spki();
    formats::is_by(&purpose.parse().unwrap(), bytes, (Suite::Ed25519, public))
}

fn signatures() -> Vec<Seed> {
    let claims = br#"{"aud":"b","exp":1300,"iat":1000,"iss":"a","sub":"c"}"#;
    let seed = |name, purpose: &str, message: &[u8], signatures, is_taken| Seed {
        target: "signatures",
        name,
        bytes: signed(purpose, message, signatures),
        is_taken,
    };
    let (one, two) = (Signatures::One, Signatures::Two);
    vec![
        seed("bound", "sign.bound:fuzz", b"message", one, |it| names(Format::Bound, it)),
        seed("bound-of-two", "sign.bound:fuzz", b"message", two, |it| names(Format::Bound, it)),
        seed("jws", "sign.jws:at+jwt", claims, one, |it| names(Format::Jws, it)),
        seed("jws-json", "sign.jws-json:a", claims, one, |it| names(Format::JwsJson, it)),
        seed("jws-json-of-two", "sign.jws-json:a", claims, two, |it| names(Format::JwsJson, it)),
        seed("dsse", "sign.dsse:application/x", b"{}", one, |it| names(Format::Dsse, it)),
        seed("cose", "sign.cose:application/x", b"{}", one, |it| names(Format::Cose, it)),
        seed("cose-of-two", "sign.cose:application/x", b"{}", two, |it| names(Format::Cose, it)),
        seed("sshsig", "sign.sshsig:fuzz", b"message", one, |it| is_ours("sign.sshsig:fuzz", it)),
        seed("note", "sign.note:fuzz", b"message\n", one, |it| is_ours("sign.note:fuzz", it)),
        seed("note-of-two", "sign.note:fuzz", b"message\n", two, |it| {
            is_ours("sign.note:fuzz", it)
        }),
        seed("dsse-of-two", "sign.dsse:application/x", b"{}", two, |it| names(Format::Dsse, it)),
    ]
}
