//! Requests at the far end of what is allowed: they cost their callers, and nobody else.

use chancery_api::http::problem::Code;
use chancery_client::{Input, Item, Outcome};
use chancery_core::context::Context;
use chancery_core::handle::Operation;
use chancery_core::reason::Reason;

use crate::harness::{Service, committed, fresh, key_and_handle, plainly, sign};

/// As many items as a batch has at most.
const ITEMS: usize = 256;

#[test]
fn a_batch_whose_answer_no_frame_can_hold_is_unknown_and_the_link_goes_on() {
    let service = Service::start();
    let client = service.client();
    let (_, large) = key_and_handle(&client, "large", "sign.dsse:text/plain", "ml-dsa-87");
    let (_, small) = key_and_handle(&client, "small", "sign.bound:test", "ed25519");
    let (message, context) = (vec![7; 3_500], Context::default());
    let items: Vec<_> = (0..ITEMS)
        .map(|_| Item { input: Input::Message(&message), operation: fresh(), context: &context })
        .collect();
    let answers = committed(client.batch(&large, Operation::Sign, &items, &plainly(fresh())));
    let unreadable = |answer: &Outcome<_>| match answer {
        Outcome::Refused(refusal) => refusal.code == Code::Reason(Reason::AnswerUnreadable),
        Outcome::Unknown(_) => true,
        Outcome::Committed(_) => false,
    };
    assert!(answers.iter().all(unreadable), "{:?}", answers.first());
    committed(sign(&client, &small, b"m", fresh()));
    // Each is done, and is had by its own id.
    let one = sign(&client, &large, &message, items[0].operation);
    assert!(!committed(one).output.is_empty());
    let log = service.log();
    assert!(!log.contains("closed the stream"), "{log}");
}

#[test]
fn the_bench_ends_by_itself_and_says_what_it_saw() {
    let service = Service::start();
    let client = service.client();
    key_and_handle(&client, "k", "sign.bound:test", "ed25519");
    service.done(&["handle", "issue", "k", "--out", "k.handle"]);
    for batch in ["1", "20"] {
        let bench = ["bench", "--handle", "k.handle", "--connections", "2", "--seconds", "1"];
        let more = ["--batch", batch, "--format", "json"];
        let seen: serde_json::Value =
            serde_json::from_str(&service.done(&[&bench[..], &more].concat())).unwrap();
        assert!(seen["operations"].as_u64().unwrap() >= 20, "{seen}");
        assert!(seen["p99_us"].as_u64() >= seen["p50_us"].as_u64(), "{seen}");
    }
    service.done(&["handle", "revoke", "k.handle"]);
    let output = service.cli(&["bench", "--handle", "k.handle", "--seconds", "1"]);
    let said = crate::harness::text(&output.stderr);
    assert!(!output.status.success() && said.contains("handle-expired"), "{said}");
}
