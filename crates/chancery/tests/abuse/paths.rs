//! Every spelling of a resource but its one: none reaches it.

use chancery_core::command::Command;

use super::meters::refusals;
use crate::harness::{Service, create_key, name};
use crate::wire::{Request, Wire, exchange};

/// Other spellings of `/v1/keys/invoices`.
const SPELLINGS: [&str; 44] = [
    "/v1/keys/invoices/",
    "/v1/keys//invoices",
    "//v1/keys/invoices",
    "/v1//keys/invoices",
    "/./v1/keys/invoices",
    "/v1/./keys/invoices",
    "/v1/keys/./invoices",
    "/v1/keys/invoices/.",
    "/v1/keys/invoices/..",
    "/v1/keys/x/../invoices",
    "/v1/x/../keys/invoices",
    "/x/../v1/keys/invoices",
    "/../v1/keys/invoices",
    "/v1/keys/%69nvoices",
    "/v1/keys/invoice%73",
    "/v1/keys/%69%6e%76%6f%69%63%65%73",
    "/v1/%6beys/invoices",
    "/%761/keys/invoices",
    "/v1%2fkeys%2finvoices",
    "/v1/keys%2Finvoices",
    "/v1/keys/%2e/invoices",
    "/v1/keys/x/%2e%2e/invoices",
    "/v1/keys/%252e%252e/invoices",
    "/v1/keys/invoices%00",
    "/v1/keys/invoices%20",
    "/v1/keys/invoices%0d%0a",
    "/v1/keys/Invoices",
    "/v1/keys/INVOICES",
    "/V1/keys/invoices",
    "/v1/Keys/invoices",
    "/v1/keys/invoices;a=1",
    "/v1/keys;a=1/invoices",
    "/v1/keys/invoices?",
    "/v1/keys/invoices?x=1",
    "/v1/keys/invoices?version=1",
    "/v1/keys/invoices??",
    "/v1/keys/invoices+",
    "/v1/keys/invoices~",
    "/v1/keys/invoices*",
    "/v1/keys/invoices.json",
    "/v1/keys/\\invoices",
    "/v1\\keys\\invoices",
    "/v1/keys/%c0%aeinvoices",
    "/v1/keys/invoices/extra",
];

#[test]
fn a_resource_has_one_spelling() {
    let service = Service::start();
    create_key(&service.client(), "invoices", "sign.bound:invoice", "ed25519");
    let wire = Wire::to(&service);
    let profile = service.profile();
    let show = Command::ShowKey { key: name("invoices") };
    let found = |target: &str| {
        let request = Request { target: target.into(), ..Request::get("") };
        exchange(&mut wire.connect(), &request.signed(&profile, &show).to_bytes())
    };
    let shown = found("/v1/keys/invoices").unwrap();
    assert!(shown.status == 200 && shown.body.contains("invoices"), "{}", shown.body);
    let before = refusals(&wire, "malformed");
    let mut malformed = 0;
    for target in SPELLINGS {
        // The server of HTTP itself closes on what is no request line at all.
        let Some(answer) = found(target) else { continue };
        let outcome = answer.outcome();
        let is_refused = matches!(
            (answer.status, outcome.as_str()),
            (400, "malformed" | "no code") | (404, "unknown-route") | (401, "signature-invalid")
        );
        assert!(is_refused, "{target}: {} {}", answer.status, answer.body);
        assert!(!answer.body.contains("sign.bound"), "{target}: {}", answer.body);
        malformed += u64::from(outcome == "malformed");
    }
    assert_eq!(refusals(&wire, "malformed") - before, malformed);
    assert!(malformed > 30, "{malformed}");
}

#[test]
fn a_signature_for_one_resource_opens_no_other() {
    let service = Service::start();
    let client = service.client();
    create_key(&client, "invoices", "sign.bound:invoice", "ed25519");
    create_key(&client, "refunds", "sign.bound:refund", "ed25519");
    let wire = Wire::to(&service);
    let show = Command::ShowKey { key: name("invoices") };
    let refunds = Request::get("/v1/keys/refunds").signed(&service.profile(), &show);
    assert_eq!(wire.send(&refunds).outcome(), "signature-invalid");
    // The absolute form names the same resource (RFC 9112, 3.2.2), and what is signed is the path.
    let target = format!("https://localhost:{}/v1/keys/invoices", service.port());
    let absolute = Request { target, ..Request::get("") }.signed(&service.profile(), &show);
    assert_eq!(wire.send(&absolute).outcome(), "ok");
}
