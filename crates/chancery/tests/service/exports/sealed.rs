//! What an export reads are sealed frames: it says what a query shows, believes nothing that was altered on its way, and is
//! on record for the keys that it was given.

use std::fs;
use std::ops::Range;

use chancery_api::http::fields::Base64;
use chancery_api::http::replies::RecordObject;
use chancery_core::command::{AuditQuery, Command};
use chancery_core::disclosure::{Disclosed, Disclosure};
use chancery_core::principal::Role;
use serde_json::Value;

use super::scene::{AUDITOR, Scene, indices_of, lines};
use crate::harness::{Options, ask, committed, eventually, fresh, refused, sign, text};
use crate::service::middleman::Middleman;
use crate::service::people::{Person, query};

/// The bytes of a page before its frames, and of a frame before its items.
const HEADS: [usize; 2] = [160, 224];

fn every() -> AuditQuery {
    AuditQuery { limit: 1_000, ..AuditQuery::default() }
}

/// What an event says, in the fields of a record.
fn told(event: &Value) -> RecordObject {
    let unmapped = &event["unmapped"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = |value: &Value| value.as_str().map(str::to_owned);
    let entity = &event["entity"];
    let of_key = entity["type"] == "key" && entity["name"] != "key";
    let key = if of_key { entity } else { &event["resources"][0] };
    let named = (key["name"] != Value::Null).then_some(key);
    let of_other = text(&entity["data"]["key"]);
    RecordObject {
        log_index: unmapped["log_index"].as_u64().unwrap(),
        time_ms: event["time"].as_u64().unwrap(),
        operation: text(&event["metadata"]["event_code"]),
        outcome: if event["status_id"] == 1 { "committed" } else { "refused" }.into(),
        code: text(&event["status_code"]),
        key: named.map_or(of_other, |key| text(&key["name"])),
        version: named.and_then(|key| text(&key["version"]).parse().ok()),
        use_index: unmapped["use_index"].as_u64(),
        actor: id(&event["actor"]["user"]["uid"]).map(|id| id.parse().unwrap()),
        handle: id(&unmapped["handle"]).map(|id| id.parse().unwrap()),
        count: event["count"].as_u64().or(unmapped["counted"].as_u64()),
        leaf: serde_json::from_value::<Base64>(unmapped["leaf_hash"].clone()).unwrap(),
    }
}

/// Each record as a query shows it, and as its event says it, in a log of several starts whose segments are dense but for the
/// last ones, with frames of one record and of many.
#[test]
fn events_say_what_a_query_shows() {
    let options = Options { segment_bytes: Some(64 * 1024), ..Options::default() };
    let mut scene = Scene::over(options);
    scene.sign(30);
    let id = fresh();
    committed(sign(&scene.client, &scene.handle, b"m", id));
    refused(sign(&scene.client, &scene.handle, b"another", id));
    scene.sign_batch(100);
    scene.make_key("later");
    scene.service.done(&["key", "suspend", "later"]);
    scene.service.restart();
    scene.sign(1);
    let shown = query(&scene.client, every());
    let audit = scene.service.data().join("audit");
    let is_dense = |name: std::io::Result<fs::DirEntry>| {
        name.unwrap().path().extension().is_some_and(|ending| ending == "dense")
    };
    eventually("segments are dense", || fs::read_dir(&audit).unwrap().any(is_dense));
    scene.exported("file:a.jsonl", &["--cursor", "c"]);
    let events: Vec<_> = lines(&scene.read("a.jsonl")).iter().map(told).collect();
    let shown: Vec<_> =
        shown
            .into_iter()
            // Of what is no key, an event says the version of none.
            .map(|it| {
                if it.operation == "issue-handle" {
                    RecordObject { version: None, ..it }
                } else {
                    it
                }
            })
            .collect();
    assert_eq!(events, shown);
    assert!(events.len() > 130);
}

/// Alters a page and makes the checksum of its first frame right again.
fn flipped(answer: &mut [u8], at: usize) {
    let body = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
    let page = &mut answer[body..];
    page[at] ^= 1;
    let frame = &mut page[HEADS[0]..];
    let length = u32::from_be_bytes(*frame[8..].first_chunk().unwrap());
    let frame = &mut frame[..usize::try_from(length).unwrap()];
    let (body, sum) = frame.split_last_chunk_mut::<4>().unwrap();
    *sum = crc32c::crc32c(body).to_be_bytes();
}

#[test]
fn frames_that_were_altered_are_refused_and_named() {
    let scene = Scene::with(3);
    let middleman = Middleman::before_as(&scene.service, AUDITOR);
    let item = HEADS[0] + HEADS[1];
    let masked_use_index: Range<usize> = item + 32..item + 40;
    let first_section = item + 92;
    for (at, said) in [
        (0, "no page of frames"),
        (20, "another log"),
        (70, "not signed"),
        (100, "not signed"),
        (HEADS[0] + 20, "one of them was altered"),
        (HEADS[0] + 70, "one of them was altered"),
        (masked_use_index.start, "one of them was altered"),
        (item + 50, "other records than its root says"),
        (first_section, "one of them was altered"),
    ] {
        let arguments = ["audit", "export", "--to", "file:a.jsonl", "--once", "--cursor", "c"];
        let alter = |answer: &mut Vec<u8>| flipped(answer, at);
        let output = middleman.alter(("/v1/audit/frames", alter), &arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "byte {at}: {stderr}");
        assert!(stderr.contains(said), "byte {at}: {stderr}");
        assert_eq!(scene.read("a.jsonl"), "", "byte {at}");
    }
    // Unaltered, the same goes through.
    let arguments = ["audit", "export", "--to", "file:a.jsonl", "--once", "--cursor", "c"];
    let output = middleman.alter(("/v1/audit/frames", |_| {}), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(indices_of(&lines(&scene.read("a.jsonl")))[..3], [0, 1, 2]);
}

#[test]
fn an_export_is_on_record_for_the_keys_that_it_was_given_and_an_auditor_is_given_no_others() {
    let scene = Scene::with(1);
    let disclosed = || {
        let action = Some("disclose".parse().unwrap());
        query(&scene.client, AuditQuery { action, ..every() })
    };
    assert!(disclosed().is_empty());
    scene.exported("file:a.jsonl", &["--cursor", "c"]);
    let records = disclosed();
    let asked: Vec<_> = records.iter().map(|it| (it.outcome.as_str(), it.actor)).collect();
    assert_eq!(asked, [("committed", Some(scene.auditor))]);
    // What is new alone is opened, by keys that are asked for again.
    scene.exported("file:a.jsonl", &["--cursor", "c"]);
    assert_eq!(disclosed().len(), 2);
    let auditor = Person::new(&scene.service, "second", Role::Auditor, 21).client();
    let developer = Person::new(&scene.service, "third", Role::Developer, 22).client();
    let asked = |what| Command::Disclose(Disclosure { what, recipient: [9; 32] });
    for what in [Disclosed::Months { first: 0, last: 0 }, Disclosed::Records { indices: vec![0] }] {
        assert_eq!(refused(ask(&auditor, &asked(what))), "forbidden");
    }
    for command in
        [asked(Disclosed::Events { month: 682 }), Command::ReadFrames { from: 0, skip: 0 }]
    {
        assert_eq!(refused(ask(&developer, &command)), "forbidden");
    }
}

/// Uses of one request stand in one frame; an export that begins within it sends the rest.
#[test]
fn an_export_begins_within_a_frame() {
    let scene = Scene::with(0);
    scene.sign_batch(50);
    let every = scene.indices();
    let from = every[every.len() - 20];
    let cursor = format!("chancery-export-cursor 1\norigin {}\nnext {from}\n", scene.origin());
    let sum = crc32c::crc32c(cursor.as_bytes());
    fs::write(scene.path("c"), format!("{cursor}crc32c {sum:08x}\n")).unwrap();
    scene.exported("file:a.jsonl", &["--cursor", "c", "--batch", "7"]);
    assert_eq!(indices_of(&lines(&scene.read("a.jsonl"))), every[every.len() - 20..]);
}
