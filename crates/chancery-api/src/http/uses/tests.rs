//! Requests and answers of uses, as JSON has them.

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
        let sets =
            (0..32_u32).map(|set| (0..5).filter(|bit| set >> bit & 1 == 1).collect::<Vec<usize>>());
        let sets = sets.filter(|set| {
            let value = |field: usize| if field == 4 { "7" } else { "\"AAAA\"" };
            let fields =
                set.iter().map(|field| format!("\"{}\":{}", FIELDS[*field], value(*field)));
            is_taken(operation, &format!("{{{}}}", fields.collect::<Vec<_>>().join(",")))
        });
        let names =
            sets.map(|set| set.iter().map(|field| FIELDS[*field]).collect::<Vec<_>>().join("+"));
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
    let batch =
        |count| Uses::batch(BatchBody { items: vec![UseBody::default(); count], receipt: false });
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
    let start = r#"{"outcome":"committed","operation_id":"01010101-0101-0101-0101-010101010101","#;
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
    assert_eq!(spelt(Operation::Sign, refused), r#"{"outcome":"refused","code":"key-unusable"}"#);
}
