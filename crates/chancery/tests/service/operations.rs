//! What can be read of an operation afterwards: by its id if the caller sent it, and by the audit in any case.

use serde_json::Value;

use crate::harness::{Service, fresh, key_and_handle};
use crate::wire::{Request, Wire};

fn signed(service: &Service, request: &Request) -> String {
    let answer = Wire::to(service).send(request);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    answer["operation_id"].as_str().unwrap().to_owned()
}

fn records(service: &Service, id: &str) -> Vec<Value> {
    let query = ["audit", "query", "--operation", id, "--format", "json"];
    serde_json::from_str(&service.done(&query)).unwrap()
}

#[test]
fn an_id_that_came_with_its_request_is_remembered_and_one_that_the_service_made_is_on_record() {
    let service = Service::start();
    let (_, handle) = key_and_handle(&service.client(), "k", "sign.bound:x", "ed25519");
    let sign = Request::post("/v1/sign", r#"{"message":"bQ=="}"#).with_handle(&handle);
    let sent = fresh().to_string();
    assert_eq!(signed(&service, &sign.clone().with("idempotency-key", &sent)), sent);
    let made = signed(&service, &sign);
    let show = |id: &str| service.done(&["operation", "show", id]);
    assert!(show(&sent).contains("committed"));
    let said = show(&made);
    let hint = format!("`chancery audit query --operation {made}`");
    assert!(said.contains("unknown-id") && said.contains(&hint), "{said}");
    for id in [&sent, &made] {
        let records = records(&service, id);
        assert_eq!(records.len(), 1, "{id}: {records:?}");
        assert_eq!(records[0]["operation"], "sign");
    }
    assert!(records(&service, &fresh().to_string()).is_empty());
}
