//! What is refused for its form or its size; the signer sees none of it.

use chancery_api::chancery_core::limits::{BATCH_ITEMS_MAX, REQUEST_BYTES_MAX};

use super::client::{connect, exchange, get, problem, put, request, use_bytes};
use super::signer::{Site, committed};

/// A body of this many bytes that is a use.
fn padded(length: usize) -> String {
    let body = r#"{"message":""}"#;
    format!("{body}{}", " ".repeat(length - body.len()))
}

#[test]
fn the_longest_body_is_taken_and_one_byte_more_is_not() {
    let site = Site::new(committed);
    assert_eq!(put(&site, "/v1/sign", &padded(REQUEST_BYTES_MAX)).status, 200);
    let longer = put(&site, "/v1/sign", &padded(REQUEST_BYTES_MAX + 1));
    assert_eq!(longer.problem(), problem(413, "too-large", "refused"));
    assert_eq!(site.frames(), 1);
}

#[test]
fn a_body_that_does_not_say_its_length_is_cut_at_the_same_bound() {
    let site = Site::new(committed);
    for (length, status) in [(REQUEST_BYTES_MAX, 200), (REQUEST_BYTES_MAX + 1, 413)] {
        let head = use_bytes("/v1/sign", "transfer-encoding: chunked\r\n", "");
        let head = String::from_utf8(head).unwrap().replace("content-length: 0\r\n", "");
        let text = format!("{head}{length:x}\r\n{}\r\n0\r\n\r\n", padded(length));
        assert_eq!(request(&site, text.as_bytes()).status, status);
    }
}

#[test]
fn a_body_that_says_it_is_a_gibibyte_is_refused_unread() {
    let site = Site::new(committed);
    let head = String::from_utf8(use_bytes("/v1/sign", "", "")).unwrap();
    let head = head.replace("content-length: 0", &format!("content-length: {}", 1_u64 << 30));
    assert_eq!(request(&site, head.as_bytes()).problem(), problem(413, "too-large", "refused"));
}

#[test]
fn the_most_items_are_taken_and_one_more_is_not() {
    let site = Site::new(committed);
    for (count, status) in [(0, 400), (1, 200), (BATCH_ITEMS_MAX, 200), (BATCH_ITEMS_MAX + 1, 413)]
    {
        let items = vec![r#"{"message":""}"#; count].join(",");
        let answer = put(&site, "/v1/sign/batch", &format!("{{\"items\":[{items}]}}"));
        assert_eq!(answer.status, status, "{count}");
    }
    assert_eq!(site.frames(), 2);
}

#[test]
fn the_most_header_fields_are_taken_and_one_more_is_not() {
    let site = Site::new(committed);
    for (count, status) in [(64, 200), (65, 431)] {
        // Four fields are there already.
        let fields = "x: a\r\n".repeat(count - 4);
        let answer = request(&site, &use_bytes("/v1/sign", &fields, r#"{"message":""}"#));
        assert_eq!(answer.status, status, "{count}");
    }
}

#[test]
fn the_longest_head_is_taken_and_a_longer_one_is_not() {
    let site = Site::new(committed);
    let head = use_bytes("/v1/sign", "x: \r\n", "").len();
    for (length, status) in [(16 * 1024 - 64, 200), (16 * 1024 + 64, 431)] {
        let field = format!("x: {}\r\n", "a".repeat(length - head));
        let answer = request(&site, &use_bytes("/v1/sign", &field, r#"{"message":""}"#));
        assert_eq!(answer.status, status, "{length}");
    }
}

#[test]
fn json_that_is_not_the_object_is_refused() {
    let site = Site::new(committed);
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (body, status, code) in [
        (nested.as_str(), 413, "too-large"),
        ("", 400, "malformed"),
        ("[]", 400, "malformed"),
        ("{}", 400, "malformed"),
        (r#"{"message":"","other":1}"#, 400, "malformed"),
        (r#"{"message":"","message":""}"#, 400, "malformed"),
        (r#"{"message":"","digest":""}"#, 400, "malformed"),
        (r#"{"message":null}"#, 400, "malformed"),
        (r#"{"message":"AQ"}"#, 400, "malformed"),
        (r#"{"message":"","context":{"A":""}}"#, 400, "malformed"),
        ("{\"message\":\"\"}\0", 400, "malformed"),
        ("{\"message\":\"\"", 400, "malformed"),
    ] {
        let answer = put(&site, "/v1/sign", body);
        assert_eq!(answer.problem(), problem(status, code, "refused"), "{body:.40}");
    }
    assert_eq!(site.frames(), 0);
}

#[test]
fn a_body_that_is_not_declared_as_plain_json_is_refused() {
    let site = Site::new(committed);
    let with = |from: &str, to: &str| {
        let text = String::from_utf8(use_bytes("/v1/sign", "", r#"{"message":""}"#)).unwrap();
        request(&site, text.replace(from, to).as_bytes())
    };
    let media = "content-type: application/json\r\n";
    for other in [
        "",
        "content-type: application/json; charset=utf-8\r\n",
        "content-type: text/plain\r\n",
        "content-type: APPLICATION/JSON\r\n",
        "content-type: application/json\r\ncontent-encoding: gzip\r\n",
        "content-type: application/json\r\ncontent-encoding: identity, gzip\r\n",
    ] {
        assert_eq!(
            with(media, other).problem(),
            problem(415, "unsupported-media-type", "refused"),
            "{other}"
        );
    }
    assert_eq!(with(media, &format!("{media}{media}")).status, 400);
    assert_eq!(with(media, &format!("{media}content-encoding: identity\r\n")).status, 200);
}

#[test]
fn fields_that_say_who_or_what_are_refused_in_other_spellings() {
    let site = Site::new(committed);
    let send = |fields: &str| request(&site, &use_bytes("/v1/sign", fields, r#"{"message":""}"#));
    let id = "01010101-0101-0101-0101-010101010101";
    for (fields, status) in [
        (format!("authorization: {}\r\n", "Handle chancery-handle-1.AA"), 400),
        (format!("idempotency-key: {id}\r\nidempotency-key: {id}\r\n"), 400),
        (format!("idempotency-key: {{{id}}}\r\n"), 400),
        ("handle-proof: \r\n".into(), 401),
        ("handle-proof: gA==\r\n".into(), 401),
        (format!("idempotency-key: {id}\r\n"), 200),
    ] {
        assert_eq!(send(&fields).status, status, "{fields}");
    }
    assert_eq!(site.frames(), 1);
}

#[test]
fn a_query_or_a_body_where_none_belongs_is_refused() {
    let site = Site::new(committed);
    for path in ["/v1/status?", "/v1/status?a=b", "/healthz?a", "/v1/keys/invoices?after=a"] {
        assert_eq!(get(&site, path).problem(), problem(400, "malformed", "refused"), "{path}");
    }
    assert_eq!(put(&site, "/v1/sign?a=b", r#"{"message":""}"#).status, 400);
    let body = b"GET /healthz HTTP/1.1\r\nhost: front.test\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(request(&site, body).problem(), problem(400, "malformed", "refused"));
}

/// Spellings of `/v1/keys/invoices` that some server somewhere takes for it.
fn spellings() -> Vec<Vec<u8>> {
    let path = "/v1/keys/invoices";
    let inserts: [&[u8]; 12] = [
        b"/",
        b"%2f",
        b"%69",
        b";",
        b";a=b",
        b"\\",
        b"%00",
        b"./",
        b"../",
        b"A",
        b"\xc3\xa9",
        b"\x7f",
    ];
    let mut all = Vec::new();
    for position in 0..=path.len() {
        let (before, after) = path.as_bytes().split_at(position);
        all.extend(inserts.iter().map(|insert| [before, insert, after].concat()));
    }
    for whole in [
        "/v1/keys/invoices/",
        "/v1/keys/invoices/.",
        "/v1/keys/invoices/..",
        "/v1/keys/../keys/invoices",
        "/V1/keys/invoices",
        "/v1/KEYS/invoices",
        "/v1/keys/INVOICES",
        "/v1/keys/Invoices",
        "//v1/keys/invoices",
        "/./v1/keys/invoices",
        "/v1/keys/%69nvoices",
        "/%76%31/keys/invoices",
        "/v1/keys/invoices%20",
        "/v1/keys/invoices%23",
        "/v1/keys%2finvoices",
        "/v1/keys/-invoices",
        "v1/keys/invoices",
        "*",
    ] {
        all.push(whole.into());
    }
    all
}

#[test]
fn no_other_spelling_of_a_path_reaches_its_route() {
    let site = Site::new(committed);
    let send = |path: &[u8]| {
        let text = [b"GET ".as_slice(), path, b" HTTP/1.1\r\nhost: front.test\r\n\r\n"].concat();
        exchange(&mut connect(&site), &text).status
    };
    // The route itself asks for a signature.
    assert_eq!(send(b"/v1/keys/invoices"), 401);
    let spellings = spellings();
    assert!(spellings.len() > 200);
    for path in spellings {
        // A slash or a dot segment in the right place names another path, or another key that is spelt well.
        let status = send(&path);
        assert!(matches!(status, 400 | 404 | 405), "{} {status}", String::from_utf8_lossy(&path));
    }
}
