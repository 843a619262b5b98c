//! The values of the second implementation, as it wrote them to `vectors/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chancery_audit::dense;
use chancery_audit::disk::Disk as _;
use chancery_audit::frame::Item;
use chancery_audit::journal::{Entry, JOURNAL_BYTES, JOURNAL_FILE, Journal};
use chancery_audit::proof::{ProofError, TreeProof, Trust, UsesProof, check};
use chancery_audit::receipt::Receipt;
use chancery_audit::repack::repack;
use chancery_audit::sealer::{MonthKeys, MonthSecrets};
use chancery_audit::verify::verify_disk;
use chancery_core::cbor;
use chancery_core::command::{Command, SignatureParameters};
use chancery_core::context::Context;
use chancery_core::handle::{Caveat, Handle, HandleKeyId, Root, mint, narrow};
use chancery_core::id::{OperationId, PrincipalId, TenantId};
use chancery_core::suite::Suite;
use chancery_crypto::key::PublicKey;
use chancery_crypto::labels;
use chancery_crypto::lthash::{RowMark, RowsDigest};
use chancery_crypto::mac::{ChainLink, HandleMac, KeyedHash};
use chancery_crypto::primitive::sha256;
use chancery_crypto::section::Boot;
use chancery_log::{Hash, inclusion_proof, leaf_hash, root_of};
use serde_json::Value;

use super::damage::Still;
use super::genuine::read_frames_of;
use super::model::{FileImage, Model};

pub(super) fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn vectors(name: &str) -> Value {
    let path = project().join("vectors").join(name).with_extension("json");
    serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()
}

pub(super) fn unhex(text: &str) -> Vec<u8> {
    let pair = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.as_bytes().as_chunks::<2>().0.iter().map(pair).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    unhex(value.as_str().unwrap())
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn number<T: TryFrom<u64, Error: std::fmt::Debug>>(value: &Value) -> T {
    value.as_u64().unwrap().try_into().unwrap()
}

/// The canonical CBOR of a value: texts of the file are bytes in hexadecimal.
fn encoded(value: &Value) -> Vec<u8> {
    fn write(value: &Value, encoder: &mut minicbor::Encoder<&mut Vec<u8>>) {
        match value {
            Value::Number(number) => drop(encoder.u64(number.as_u64().unwrap()).unwrap()),
            Value::String(text) => drop(encoder.bytes(&unhex(text)).unwrap()),
            Value::Array(values) => {
                encoder.array(values.len() as u64).unwrap();
                for value in values {
                    write(value, encoder);
                }
            }
            other => panic!("{other} is in no record"),
        }
    }
    let mut out = Vec::new();
    write(value, &mut minicbor::Encoder::new(&mut out));
    out
}

#[test]
fn roots_paths_and_labels_agree() {
    let vectors = vectors("primitives");
    for tree in list(&vectors["trees"]) {
        let size: u8 = number(&tree["size"]);
        let leaves: Vec<Hash> = (0..size).map(|at| leaf_hash(&[at])).collect();
        assert_eq!(root_of(&leaves).as_bytes(), &array::<32>(&tree["root"]));
        for (index, path) in (0..).zip(list(&tree["paths"])) {
            let expected: Vec<Hash> =
                list(path).iter().map(|hash| Hash::from(array(hash))).collect();
            assert_eq!(inclusion_proof(&leaves, index).unwrap(), expected);
        }
    }
    for (name, label) in vectors["labels"].as_object().unwrap() {
        let ours = labels::ALL.iter().find(|(ours, _)| ours == name).unwrap().1;
        assert_eq!(ours, label.as_str().unwrap().as_bytes(), "{name}");
    }
}

#[test]
fn the_table_of_labels_in_the_documentation_is_the_one_in_the_code() {
    let text = fs::read_to_string(project().join("docs/formats/README.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `chancery/")?.split_once('`'));
    let documented: Vec<String> = rows.map(|(label, _)| format!("chancery/{label}\0")).collect();
    let ours: Vec<&str> =
        labels::ALL.iter().map(|(_, label)| std::str::from_utf8(label).unwrap()).collect();
    assert_eq!(documented, ours);
}

fn check_cbor<T>(data: &[u8]) -> Option<Vec<u8>>
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()>,
{
    cbor::decode::<T>(data, "vector").ok().map(|value| cbor::encode(&value))
}

#[test]
fn canonical_cbor_is_taken_and_every_other_form_is_refused() {
    let decoded = |vector: &Value| {
        let data = bytes(&vector["bytes"]);
        match vector["type"].as_str().unwrap() {
            "number" => check_cbor::<u64>(&data),
            "numbers" => check_cbor::<Vec<u64>>(&data),
            "id" => check_cbor::<TenantId>(&data),
            "context" => check_cbor::<Context>(&data),
            other => panic!("{other} is no type of these vectors"),
        }
    };
    let vectors = vectors("cbor");
    for vector in list(&vectors["accepted"]) {
        assert_eq!(decoded(vector), Some(bytes(&vector["bytes"])), "{vector}");
    }
    for vector in list(&vectors["refused"]) {
        assert_eq!(decoded(vector), None, "{vector}");
    }
}

#[test]
fn handles_are_minted_narrowed_opened_and_refused_alike() {
    let vectors = vectors("handles");
    let id = HandleKeyId(number(&vectors["key_id"]));
    let key = array::<32>(&vectors["key"]);
    let mac = HandleMac::new([(id, &key)]);
    let root: Root = cbor::decode(&bytes(&vectors["root_bytes"]), "root").unwrap();
    let minted = mint(id, &root, &mac).unwrap();
    assert_eq!(minted, bytes(&vectors["minted"]));
    let caveats = list(&vectors["caveats"]).iter();
    let caveats: Vec<Caveat> =
        caveats.map(|caveat| cbor::decode(&bytes(caveat), "caveat").unwrap()).collect();
    let narrowed = narrow(&minted, &caveats, &ChainLink).unwrap();
    assert_eq!(narrowed, bytes(&vectors["narrowed"]));
    let opened = Handle::open(&narrowed, &mac).unwrap();
    let links: Vec<[u8; 16]> = opened.links().iter().map(|link| link.0).collect();
    assert_eq!(links, list(&vectors["links"]).iter().map(array).collect::<Vec<_>>());
    for vector in list(&vectors["refused"]) {
        assert!(Handle::open(&bytes(&vector["bytes"]), &mac).is_err(), "{}", vector["fault"]);
    }
}

fn ed25519(raw: &Value) -> PublicKey {
    let prefix = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    PublicKey::from_spki(Suite::Ed25519, &[prefix.as_slice(), &bytes(raw)].concat()).unwrap()
}

#[test]
fn every_command_has_the_same_encoding_route_base_and_signature() {
    let vectors = vectors("commands");
    let public = ed25519(&vectors["public"]);
    let mut numbers = Vec::new();
    for vector in list(&vectors["signed"]) {
        let encoded = bytes(&vector["command"]);
        let command: Command =
            cbor::decode(&encoded, "command").unwrap_or_else(|error| panic!("{error}: {vector}"));
        let (method, path) = (vector["method"].as_str().unwrap(), vector["path"].as_str().unwrap());
        assert_eq!(command.route(), (method, path.to_owned()));
        let parameters = SignatureParameters {
            principal: PrincipalId::from_bytes(array(&vectors["principal"])),
            operation: OperationId::from_bytes(array(&vector["operation"])),
            created_s: number(&vector["created"]),
            expires_s: number(&vector["expires"]),
        };
        let base = parameters.base(&command, &BASE64_STANDARD.encode(sha256(&[&encoded])));
        assert_eq!(base, vector["base"].as_str().unwrap());
        assert_eq!(public.verify(base.as_bytes(), &bytes(&vector["signature"])), Ok(()));
        numbers.push(command.number());
    }
    numbers.dedup();
    // 11 and 16 are no commands that anybody gives, and 38 is among those of the service's own tests.
    let expected = [(1..=10), (12..=15), (17..=25), (32..=37), (39..=44)];
    assert_eq!(numbers, expected.into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn digests_of_rows_agree() {
    let vectors = vectors("rows");
    let key = KeyedHash::new(&array(&vectors["digest_key"]));
    let mut digest = RowsDigest::default();
    let mut digests = vec![sha256(&[&digest.to_bytes()])];
    for row in list(&vectors["sealed"]) {
        let (name, sealed) = (bytes(&row["name"]), bytes(&row["sealed"]));
        let tag = *sealed.last_chunk::<16>().unwrap();
        digest.add(&key, &RowMark { name: &name, version: number(&row["version"]), tag }).unwrap();
        digests.push(sha256(&[&digest.to_bytes()]));
    }
    let expected: Vec<[u8; 32]> = list(&vectors["sha256_of_digests"]).iter().map(array).collect();
    assert_eq!(digests, expected);
    assert_eq!(digest.to_bytes()[..32], array::<32>(&vectors["first_lanes"]));
}

fn files(log: &Value) -> Still {
    let files = log["files"].as_object().unwrap().iter().map(|(name, file)| {
        let mut data = bytes(&file["bytes"]);
        data.resize(number(&file["length"]), 0);
        (name.clone(), data)
    });
    Still(files.collect::<BTreeMap<_, _>>())
}

#[test]
fn a_log_of_the_second_implementation_verifies() {
    let vectors = vectors("log");
    let report = verify_disk(&files(&vectors)).unwrap();
    let expected = &vectors["report"];
    assert_eq!(report.origin.name(), expected["origin"].as_str().unwrap());
    assert_eq!(report.root.as_bytes(), &array::<32>(&expected["root"]));
    let numbers = [report.frames, report.size, report.signatures, report.incarnation.into()];
    let names = ["frames", "size", "signatures", "incarnation"];
    assert_eq!(numbers, names.map(|name| number::<u64>(&expected[name])));
    assert_eq!((report.kept, report.torn), (1, None));
}

#[test]
fn its_dense_segments_are_ours_byte_for_byte() {
    let (log, dense) = (vectors("log"), vectors("dense"));
    let padded = files(&log);
    let names = dense.as_object().unwrap();
    assert_eq!(names.len(), 2);
    let image = padded.0.iter().map(|(name, bytes)| (name.clone(), FileImage::of(bytes)));
    let disk = Model::of(&image.collect());
    for (name, expected) in names {
        let number = dense::file_number(name).unwrap();
        repack(&disk, number).unwrap();
        assert_eq!(disk.read_whole(name).unwrap(), bytes(expected), "{name}");
    }
    let (before, after) = (verify_disk(&padded).unwrap(), verify_disk(&disk).unwrap());
    assert_eq!((before.root, before.frames), (after.root, after.frames));
}

fn check_record(keys: &MonthKeys, item: &Item, expected: &Value) {
    let (section, use_index) = keys.open(item).unwrap();
    assert_eq!(keys.recompute(item), Some(item.root));
    assert_eq!(cbor::encode(&section), encoded(&expected["section"]));
    assert_eq!(use_index.unwrap_or_default(), number::<u64>(&expected["use_index"]));
    let identity = keys.open_identity(item).unwrap();
    assert_eq!(cbor::encode(&identity), encoded(&expected["identity"]));
    let (payload, ..) = keys.open_payload(item).unwrap();
    assert_eq!(cbor::encode(&payload), encoded(&expected["payload"]));
    let answer = expected["answer"].as_str().map(unhex);
    assert_eq!(keys.open_answer(item.tenant, item), answer);
}

#[test]
fn its_records_open_alike_and_its_receipts_are_the_same_bytes() {
    let vectors = vectors("log");
    let disk = files(&vectors);
    let origin = verify_disk(&disk).unwrap().origin;
    let secrets = MonthSecrets::from_bytes(&bytes(&vectors["secrets"])).unwrap();
    let (mut records, mut receipts) =
        (list(&vectors["records"]).iter(), list(&vectors["receipts"]).iter());
    let frames = read_frames_of(&disk, &origin);
    for frame in &frames {
        let boot = Boot { log_id: origin.log_id, boot_nonce: frame.boot_nonce };
        let keys = MonthKeys::derive(&secrets, boot).unwrap();
        let signature = super::life::sign(&frame.head(origin.log_id));
        for (position, item) in (0..).zip(&frame.items) {
            check_record(&keys, item, records.next().unwrap());
            let receipt = bytes(receipts.next().unwrap());
            let made = Receipt::make(frame, origin.log_id, signature, position, &keys);
            assert_eq!(made.as_deref(), Some(receipt.as_slice()));
            let shown = Receipt::check(&receipt, &ed25519(&vectors["receipt_key"])).unwrap();
            assert_eq!(shown.index, frame.first_index + u64::from(position));
        }
    }
    assert_eq!((records.next(), receipts.next()), (None, None));
}

#[test]
fn a_reduction_journal_is_read_and_written_as_the_second_implementation_does() {
    let vectors = vectors("journal");
    let log_id = array(&vectors["log_id"]);
    let entries: Vec<_> = list(&vectors["entries"])
        .iter()
        .map(|entry| Entry {
            alive_ms: number(&entry["alive_ms"]),
            request: bytes(&entry["request"]),
        })
        .collect();
    let file = |name: &str| -> Vec<u8> {
        let mut file: Vec<u8> = list(&vectors[name]).iter().flat_map(bytes).collect();
        file.resize(usize::try_from(JOURNAL_BYTES).unwrap(), 0);
        file
    };
    for (name, expected) in [("first", &entries[..]), ("second", &entries[2..])] {
        let disk = Model::of(&[(JOURNAL_FILE.to_owned(), FileImage::of(&file(name)))].into());
        assert_eq!(Journal::open(&disk, log_id).unwrap().1, expected, "{name}");
    }
    let disk = Model::default();
    let written = || disk.image()[JOURNAL_FILE].to_bytes();
    let (mut journal, _) = Journal::open(&disk, log_id).unwrap();
    for entry in &entries {
        journal.append(entry).unwrap();
    }
    assert!(written() == file("first"));
    journal.clear().unwrap();
    journal.append(&entries[2]).unwrap();
    assert!(written() == file("second"));
}

#[test]
fn proofs_of_uses_are_taken_and_refused_alike() {
    let vectors = vectors("proofs");
    let trust = |name: &str| Trust::parse(vectors["policies"][name].as_str().unwrap()).unwrap();
    let own = trust("own");
    let check = |vector: &Value| UsesProof::parse(&bytes(&vector["proof"]))?.check(&own);
    for vector in list(&vectors["accepted"]) {
        let uses = check(vector).unwrap_or_else(|error| panic!("{}: {error}", vector["name"]));
        let before: Vec<_> = uses.before.iter().map(|(_, name)| name.to_vec()).collect();
        let expected: Vec<_> = list(&vector["shows"]["before"]).iter().map(bytes).collect();
        assert_eq!(before, expected, "{}", vector["name"]);
        let found: Vec<u64> = uses.uses.iter().map(|(index, ..)| *index).collect();
        let expected: Vec<u64> = list(&vector["shows"]["uses"]).iter().map(number).collect();
        assert_eq!(found, expected, "{}", vector["name"]);
    }
    for vector in list(&vectors["refused"]) {
        assert!(named(&bytes(&vector["proof"]), &own).is_err(), "{}", vector["name"]);
    }
    for vector in list(&vectors["naming"]) {
        let trust = trust(vector["policy"].as_str().unwrap());
        assert_eq!(trust.digest(), array(&vector["given"]));
        let expected = vector["named"].is_string().then(|| array(&vector["named"]));
        assert_eq!(named(&bytes(&vector["proof"]), &trust), Ok(expected), "{}", vector["name"]);
    }
}

/// The policy that a proof names, if it proves anything.
fn named(proof: &[u8], trust: &Trust) -> Result<Option<[u8; 32]>, ProofError> {
    if let Ok(trees) = TreeProof::parse(proof) {
        return trees.check(trust).map(|_| trees.policy());
    }
    if let Ok(uses) = UsesProof::parse(proof) {
        return uses.check(trust).map(|_| uses.policy());
    }
    check(proof, trust).map(|used| used.policy)
}
