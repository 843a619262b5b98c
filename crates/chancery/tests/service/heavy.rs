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
