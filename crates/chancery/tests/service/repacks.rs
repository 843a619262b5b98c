//! Closed segments become dense while the service runs, and nobody who asks it or reads its files can tell.

use std::fs;
use std::time::Duration;

use chancery_api::http::replies::RecordObject;
use chancery_audit::verify::verify;
use chancery_client::{KeyHandle, Used};
use chancery_core::command::AuditQuery;
use chancery_core::id::OperationId;

use super::people::query;
use crate::harness::{Options, Service, committed, eventually, fresh, key_and_handle, sign, text};
use crate::wire::{Request, Wire};

/// As short as a segment may be: some fourteen signatures that come one at a time.
const SEGMENT_BYTES: u64 = 64 * 1024;

/// Signatures at first, each in a frame of its own.
const SIGNATURES: usize = 60;

/// A service whose closed segments are dense, and what was done there under an operation id at its beginning.
struct Scene {
    service: Service,
    handle: KeyHandle,
    operation: OperationId,
    answer: Used,
}

impl Scene {
    fn new() -> Self {
        let options = Options { segment_bytes: Some(SEGMENT_BYTES), ..Options::default() };
        let service = Service::start_with(options);
        let client = service.client();
        // Two signatures of this algorithm are never the same: one that is given again was kept.
        let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ecdsa-p256");
        let operation = fresh();
        let answer = committed(sign(&client, &handle, b"the first", operation));
        for _ in 0..SIGNATURES {
            committed(sign(&client, &handle, b"another", fresh()));
        }
        let scene = Self { service, handle, operation, answer };
        scene.await_dense();
        scene
    }

    /// How many segments there are of each form.
    fn forms(&self) -> (usize, usize) {
        let names = fs::read_dir(self.service.data().join("audit")).unwrap();
        let names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let count = |suffix: &str| names.iter().filter(|name| name.ends_with(suffix)).count();
        (count(".seg"), count(".dense"))
    }

    fn await_dense(&self) {
        eventually("closed segments are dense", || {
            let (padded, dense) = self.forms();
            padded == 1 && dense >= 4
        });
    }

    fn records(&self) -> Vec<RecordObject> {
        query(&self.service.client(), AuditQuery { limit: 1_000, ..AuditQuery::default() })
    }

    /// A repeat, a query, an opening and a proof of what lies in dense segments.
    fn is_as_before(&self) {
        let client = self.service.client();
        let again = committed(sign(&client, &self.handle, b"the first", self.operation));
        assert_eq!(again.output, self.answer.output);
        let records = self.records();
        let signed = records.iter().filter(|record| record.operation == "sign").count();
        assert!(signed > SIGNATURES, "{signed}");
        let of_operation =
            AuditQuery { operation: Some(self.operation), limit: 10, ..AuditQuery::default() };
        let found = query(&client, of_operation);
        assert_eq!(found.first().map(|record| record.log_index), Some(self.answer.log_index));
        let (out, policy) = (self.service.path("proof"), self.service.data().join("log/policy"));
        let (out, policy) = (out.to_str().unwrap(), policy.to_str().unwrap());
        let index = self.answer.log_index.to_string();
        self.service.done(&["audit", "prove", "--index", &index, "--open", "key", "--out", out]);
        self.service.done(&["audit", "verify-proof", out, "--policy", policy]);
        fs::remove_file(out).unwrap();
    }
}

fn report(service: &Service) -> chancery_audit::verify::Report {
    verify(&service.data(), || std::thread::sleep(Duration::from_millis(50))).unwrap()
}

#[test]
fn closed_segments_become_dense_and_everything_reads_as_before() {
    let mut scene = Scene::new();
    scene.is_as_before();
    let (before, dense) = (report(&scene.service), scene.forms().1);
    assert_eq!((before.padded, before.dense), (1, dense));
    let metrics = Wire::to(&scene.service).send(&Request::get("/metrics")).body;
    for line in
        ["chancery_audit_segments{form=\"padded\"} 1", "chancery_audit_segments{form=\"dense\"} "]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // Without the resume file a start reads the whole log, dense segments too; without the index a query does.
    scene.service.stop();
    fs::remove_file(scene.service.data().join("audit/resume")).unwrap();
    fs::remove_dir_all(scene.service.data().join("index")).unwrap();
    scene.service.restart();
    scene.is_as_before();
    // A segment is closed with each start, and dense soon after.
    scene.await_dense();
    assert!(report(&scene.service).dense > dense);
    assert!(report(&scene.service).size > before.size);
}

/// A process that ends in the middle of a repack leaves what the next one goes on from.
#[test]
fn a_signer_that_is_killed_again_and_again_leaves_a_log_that_holds() {
    let mut scene = Scene::new();
    for _ in 0..4 {
        let client = scene.service.client();
        for _ in 0..30 {
            committed(sign(&client, &scene.handle, b"another", fresh()));
        }
        std::thread::sleep(Duration::from_millis(1_200));
        scene.service.kill_all();
        scene.service.restart();
    }
    scene.await_dense();
    scene.is_as_before();
    report(&scene.service);
}

/// A bit of a dense segment is found and named while the service runs, and what lies in it is refused, not made up.
#[test]
fn a_bit_flipped_in_a_dense_segment_is_named() {
    let scene = Scene::new();
    let path = scene.service.data().join("audit/0000000000000000.dense");
    let whole = fs::read(&path).unwrap();
    for place in [40, 4_100, whole.len() - 100] {
        let mut altered = whole.clone();
        altered[place] ^= 1;
        fs::write(&path, &altered).unwrap();
        let output = scene.service.cli(&["audit", "verify", "--data", "d"]);
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stdout));
        let said = text(&output.stderr);
        assert!(said.contains("0000000000000000.dense") && said.contains("offset"), "{said}");
    }
    fs::write(&path, &whole).unwrap();
    report(&scene.service);
}
