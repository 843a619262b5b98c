//! What goes out and comes back.

use bytes::Bytes;
use chancery_api::chancery_core::cbor;
use chancery_api::chancery_core::command::{Command, SignatureParameters};
use chancery_api::chancery_core::handle::Operation;
use chancery_api::chancery_core::id::{OperationId, PrincipalId};
use chancery_api::chancery_core::limits::BATCH_ITEMS_MAX;
use chancery_api::chancery_core::reason::Reason;
use chancery_api::chancery_core::state::KeyEvent;
use chancery_api::frame::Kind;
use chancery_api::http::commands::request_of;
use chancery_api::http::openapi;
use chancery_api::http::routes::{Authentication, ROUTES};
use chancery_api::http::signature::signature_fields;
use chancery_api::http::uses::{authorization_field, proof_field};
use chancery_api::message::{CommandRequest, HolderProof, UseReply, UseRequest, UseResult};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::version::{TLS12, TLS13};
use serde_json::json;

use super::client::{
    config, connect, connect_with, exchange, get, problem, put, request, use_bytes,
};
use super::signer::{Act, Site, committed};

#[test]
fn a_use_goes_out_and_its_answer_comes_back() {
    let site = Site::new(committed);
    let answer = put(&site, "/v1/sign", r#"{"message":"AQI=","context":{"a":"1"},"receipt":true}"#);
    let expected = json!({
        "outcome": "committed", "operation_id": "09090909-0909-0909-0909-090909090909",
        "output": "AQI=", "version": 1, "log_index": 7, "receipt": "BQ==",
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert!(answer.head.contains("cache-control: no-store"));
    let frames = site.signer.frames.lock().unwrap();
    let asked: UseRequest<'_> = cbor::decode(&frames[0].1, "request").unwrap();
    assert_eq!((asked.operation, asked.handle), (Operation::Sign, b"handle".as_slice()));
    assert_eq!(
        (asked.items[0].input, asked.items[0].context.pairs().len()),
        ([1, 2].as_slice(), 1)
    );
}

#[test]
fn operation_id_and_proofs_reach_the_signer() {
    let site = Site::new(committed);
    let proofs =
        vec![HolderProof { holder: [1; 32], nonce: [2; 16], made_ms: 3, signature: [4; 64] }];
    let id = OperationId::from_bytes([6; 16]);
    let fields = format!("idempotency-key: {id}\r\nhandle-proof: {}\r\n", proof_field(&proofs));
    let answer = request(&site, &use_bytes("/v1/mac", &fields, r#"{"message":""}"#));
    assert_eq!(answer.json()["operation_id"], id.to_string());
    let frames = site.signer.frames.lock().unwrap();
    let asked: UseRequest<'_> = cbor::decode(&frames[0].1, "request").unwrap();
    assert_eq!((asked.proofs, asked.items[0].id), (proofs, Some(id)));
}

#[test]
fn a_refusal_is_a_problem_about_its_operation() {
    let id = OperationId::from_bytes([6; 16]);
    let refused =
        move |reason| UseReply { results: vec![UseResult::Refused { id: Some(id), reason }] };
    let site = Site::new(move |_, _| Act::Answer(refused(Reason::OperationInFlight)));
    let body = format!(r#"{{"message":"","operation_id":"{id}"}}"#);
    let answer = put(&site, "/v1/sign", &body);
    assert_eq!(answer.problem(), problem(409, "operation-in-flight", "unknown"));
    assert_eq!(answer.json()["operation_id"], id.to_string());
    assert!(answer.json()["retry_after_ms"].is_u64() && answer.head.contains("retry-after: 1"));
}

#[test]
fn a_batch_is_one_frame() {
    let site = Site::new(committed);
    let items = vec![r#"{"message":"AQI="}"#; BATCH_ITEMS_MAX].join(",");
    let answer = put(&site, "/v1/sign/batch", &format!("{{\"items\":[{items}]}}"));
    assert_eq!(answer.json()["results"].as_array().unwrap().len(), BATCH_ITEMS_MAX);
    let frames = site.signer.frames.lock().unwrap();
    assert_eq!(frames.len(), 1);
    let asked: UseRequest<'_> = cbor::decode(&frames[0].1, "request").unwrap();
    assert_eq!(asked.items.len(), BATCH_ITEMS_MAX);
}

#[test]
fn fewer_answers_than_items_are_an_unknown_outcome() {
    let site = Site::new(|_, _| Act::Answer(UseReply { results: Vec::new() }));
    let answer = put(&site, "/v1/sign/batch", r#"{"items":[{"message":""}]}"#);
    assert_eq!(answer.problem(), problem(503, "signer-unavailable", "unknown"));
}

#[test]
fn a_command_reaches_the_signer_as_it_was_signed() {
    let site = Site::new(committed);
    let command = Command::ChangeVersion {
        key: "invoices".parse().unwrap(),
        version: Some(1),
        event: KeyEvent::Suspend,
    };
    let parameters = SignatureParameters {
        principal: PrincipalId::from_bytes([1; 16]),
        operation: OperationId::from_bytes([2; 16]),
        created_s: 100,
        expires_s: 160,
    };
    let http = request_of(&command).unwrap();
    let fields = signature_fields(&parameters, &[3; 32], &[4; 64]);
    let fields = fields.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let body = String::from_utf8(http.body.unwrap()).unwrap();
    let answer = request(&site, &use_bytes(&http.target, &fields, &body));
    assert_eq!(answer.json(), json!({"outcome": "committed", "log_index": 3, "answer": "done"}));
    let frames = site.signer.frames.lock().unwrap();
    assert_eq!(frames[0].0.kind, Kind::Command);
    let asked: CommandRequest<'_> = cbor::decode(&frames[0].1, "request").unwrap();
    assert_eq!(asked.command, cbor::encode(&command));
    assert_eq!((asked.parameters, asked.signature), (parameters, [4; 64]));
}

#[test]
fn without_what_a_route_asks_for_nothing_reaches_the_signer() {
    let site = Site::new(committed);
    for route in ROUTES.iter().filter(|route| route.authentication() != Authentication::None) {
        let path = route
            .path
            .replace("{name}", "invoices")
            .replace("{id}", "01010101-0101-0101-0101-010101010101");
        let media = if route.method == "POST" {
            "content-type: application/json\r\ncontent-length: 2\r\n"
        } else {
            ""
        };
        let body = if route.method == "POST" { "{}" } else { "" };
        let text =
            format!("{} {path} HTTP/1.1\r\nhost: front.test\r\n{media}\r\n{body}", route.method);
        let answer = request(&site, text.as_bytes());
        let code = if route.authentication() == Authentication::Handle {
            "handle-invalid"
        } else {
            "signature-invalid"
        };
        assert_eq!(answer.problem(), problem(401, code, "refused"), "{path}");
    }
    assert_eq!(site.frames(), 0);
}

#[test]
fn other_methods_are_told_which_are_served() {
    let site = Site::new(committed);
    for method in ["HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"] {
        let text =
            format!("{method} /v1/keys HTTP/1.1\r\nhost: front.test\r\nconnection: close\r\n\r\n");
        let mut stream = connect(&site);
        std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = std::io::Read::read_to_string(&mut stream, &mut answer);
        assert!(
            answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: POST, GET"),
            "{answer}"
        );
    }
}

#[test]
fn the_front_says_how_it_is() {
    let site = Site::new(committed);
    assert_eq!(get(&site, "/healthz").json(), json!({"state": "alive"}));
    assert_eq!(get(&site, "/readyz").json(), json!({"mode": "normal"}));
    assert_eq!(get(&site, "/openapi.json").json(), openapi::document());
    put(&site, "/v1/sign", r#"{"message":""}"#);
    put(&site, "/v1/sign", "{}");
    let metrics = get(&site, "/metrics").body;
    for line in [
        "chancery_front_requests_total{routes=\"use\",status=\"2xx\"} 1",
        "chancery_front_requests_total{routes=\"service\",status=\"2xx\"} 3",
        "chancery_front_refusals_total{code=\"malformed\"} 1",
        "chancery_front_request_seconds_count{operation=\"sign\"} 2",
        "chancery_front_signer_links 1",
        "chancery_signer_uses_total 3",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} in\n{metrics}");
    }
}

#[test]
fn one_connection_carries_one_request_after_another() {
    let site = Site::new(committed);
    let mut stream = connect(&site);
    for _ in 0..3 {
        let answer = exchange(&mut stream, &use_bytes("/v1/sign", "", r#"{"message":"AQI="}"#));
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn one_http2_connection_carries_many_requests_at_once() {
    let site = Site::new(committed);
    let stream = tokio::net::TcpStream::connect(site.address).await.unwrap();
    let connector =
        tokio_rustls::TlsConnector::from(config(&site, &[b"h2", b"http/1.1"], &[&TLS13]));
    let stream = connector.connect("front.test".try_into().unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let requests = (0..64_u8).map(|number| {
        let mut sender = sender.clone();
        tokio::spawn(async move {
            let message = chancery_api::http::fields::Base64(vec![number]).to_text();
            let body = Full::new(Bytes::from(format!(r#"{{"message":"{message}"}}"#)));
            let request = hyper::Request::post("https://front.test/v1/sign")
                .header("authorization", authorization_field(b"handle"))
                .header("content-type", "application/json")
                .body(body)
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(answer["output"], message);
        })
    });
    for request in requests.collect::<Vec<_>>() {
        request.await.unwrap();
    }
    assert_eq!(site.frames(), 64);
    driver.abort();
}

#[test]
fn tls_is_of_version_1_3_with_a_hybrid_exchange() {
    let site = Site::new(committed);
    let mut stream = connect(&site);
    exchange(&mut stream, b"GET /healthz HTTP/1.1\r\nhost: front.test\r\n\r\n");
    let group = stream.conn.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    let mut stream = connect_with(&site, &[&TLS12]);
    assert!(std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\n\r\n").is_err());
}
