//! The mapping: the reviewed events of every action, what their classes require, and the table of the document.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chancery_core::action::Action;
use chancery_core::id::{HandleId, PrincipalId};
use serde_json::Value;

use super::*;
use crate::event::Event;
use crate::testing::{record, source};

/// What OCSF 1.8.0 requires of the events of each class used here, by JSON pointer: of `base_event`, of the class, and of
/// the objects in it.
const REQUIRED: [(u32, &[&str]); 4] = [
    (
        0,
        &[
            "/activity_id",
            "/category_uid",
            "/class_uid",
            "/metadata/product/name",
            "/metadata/version",
            "/severity_id",
            "/time",
            "/type_uid",
        ],
    ),
    (6003, &["/actor/user", "/api/operation", "/src_endpoint/name"]),
    (6002, &["/app/name"]),
    (3004, &["/entity/name"]),
];

/// The attributes of `base_event` and of the three classes that are filled here. What is deliberately not, is not in it.
const ATTRIBUTES: [&str; 22] = [
    "activity_id",
    "activity_name",
    "actor",
    "api",
    "app",
    "category_name",
    "category_uid",
    "class_name",
    "class_uid",
    "count",
    "entity",
    "metadata",
    "resources",
    "severity",
    "severity_id",
    "src_endpoint",
    "status",
    "status_code",
    "status_id",
    "time",
    "type_name",
    "type_uid",
];

/// Each action done and refused, with all that its record may show; and one of nobody's, with as little as may be.
fn records() -> Vec<Record> {
    let names = Action::all().map(|(_, name)| name).chain(["read", "of-a-newer-service"]);
    let mut records = Vec::new();
    for name in names {
        let index = u64::try_from(records.len()).unwrap();
        let done = Record {
            operation: name.into(),
            actor: Some(PrincipalId::from_bytes([3; 16])),
            handle: Some(HandleId::from_bytes([4; 16])),
            ..record(index)
        };
        let counted = ["refusals", "count-uses"].contains(&name).then_some(12);
        let refused = Record {
            log_index: index + 1,
            outcome: Outcome::Refused,
            code: "forbidden".into(),
            key: None,
            version: None,
            use_index: None,
            actor: None,
            handle: None,
            count: counted,
            ..done.clone()
        };
        records.extend([done, refused]);
    }
    records
}

fn value(record: &Record) -> Value {
    Event::of(&mut Writer::new(source()), record).value()
}

fn golden() -> String {
    let mut writer = Writer::new(source());
    let lines = records().iter().map(|record| writer.event(record)).collect::<Vec<_>>();
    lines.join("\n") + "\n"
}

/// `CHANCERY_WRITE_OCSF` in the environment writes the file anew.
#[test]
fn the_events_are_those_that_were_reviewed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ocsf/golden.jsonl");
    if std::env::var_os("CHANCERY_WRITE_OCSF").is_some() {
        std::fs::write(path, golden()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    for (written, event) in written.lines().zip(golden().lines()) {
        assert_eq!(written, event);
    }
    assert_eq!(written.lines().count(), golden().lines().count());
}

#[test]
fn every_action_has_a_mapping_of_its_own() {
    let mapped: BTreeSet<_> = MAPPINGS.iter().map(|(name, _)| *name).collect();
    let actions: BTreeSet<_> =
        Action::all().map(|(_, name)| name).chain(std::iter::once("read")).collect();
    assert_eq!(mapped, actions);
    assert_eq!(mapped.len(), MAPPINGS.len());
}

#[test]
fn every_event_has_what_its_class_requires_and_nothing_that_is_not_filled() {
    let allowed: BTreeSet<_> = ATTRIBUTES.into_iter().chain(["unmapped"]).collect();
    for record in records() {
        let event = value(&record);
        let class = event["class_uid"].as_u64().unwrap();
        for (of, pointers) in REQUIRED {
            for pointer in pointers.iter().filter(|_| [0, class].contains(&u64::from(of))) {
                assert!(event.pointer(pointer).is_some(), "{pointer}: {event}");
            }
        }
        let names = event.as_object().unwrap().keys().map(String::as_str);
        let others: Vec<_> = names.filter(|name| !allowed.contains(name)).collect();
        assert_eq!(others, [""; 0], "{event}");
        let of_type = class * 100 + event["activity_id"].as_u64().unwrap();
        assert_eq!(event["type_uid"], of_type);
    }
}

#[test]
fn an_event_leads_to_the_proof_of_its_record() {
    let event = value(&record(7));
    assert_eq!(event["metadata"]["uid"], "log.example/1#7");
    assert_eq!(event["metadata"]["version"], "1.8.0");
    let unmapped = &event["unmapped"];
    assert_eq!(
        (&unmapped["log_index"], &unmapped["log_origin"]),
        (&7.into(), &"log.example/1".into())
    );
    assert_eq!(unmapped["leaf_hash"], leaf_text(&record(7).leaf));
}

/// One writer for all, in an order in which each form is made anew, found again, and found behind others.
#[test]
fn an_event_is_the_same_whatever_was_written_before_it() {
    let mut writer = Writer::new(source());
    let every = records();
    assert!(every.len() > FORMS_MAX);
    for record in every.iter().chain(every.iter().rev()).chain(every.iter().step_by(7)) {
        let alone = Writer::new(source()).event(record);
        assert_eq!(writer.event(record), alone);
        let other =
            Record { log_index: record.log_index + 1, time_ms: 7, leaf: [9; 32], ..record.clone() };
        assert_eq!(writer.event(&other), Writer::new(source()).event(&other));
        assert_ne!(writer.event(&other), alone);
    }
}

#[test]
fn every_field_of_a_record_makes_a_difference() {
    let full =
        Record { count: Some(3), actor: Some(PrincipalId::from_bytes([3; 16])), ..record(1) };
    let full = Record { handle: Some(HandleId::from_bytes([4; 16])), ..full };
    let mut writer = Writer::new(source());
    let mut seen = BTreeSet::from([writer.event(&full)]);
    for other in [
        Record { log_index: 2, ..full.clone() },
        Record { time_ms: 2, ..full.clone() },
        Record { operation: "verify".into(), ..full.clone() },
        Record { outcome: Outcome::Refused, ..full.clone() },
        Record { code: "forbidden".into(), ..full.clone() },
        Record { key: Some("other".into()), ..full.clone() },
        Record { key: None, ..full.clone() },
        Record { version: Some(2), ..full.clone() },
        Record { version: None, ..full.clone() },
        Record { use_index: Some(9), ..full.clone() },
        Record { use_index: None, ..full.clone() },
        Record { count: Some(4), ..full.clone() },
        Record { count: None, ..full.clone() },
        Record { actor: Some(PrincipalId::from_bytes([5; 16])), ..full.clone() },
        Record { actor: None, ..full.clone() },
        Record { handle: Some(HandleId::from_bytes([5; 16])), ..full.clone() },
        Record { handle: None, ..full.clone() },
        Record { leaf: [5; 32], ..full.clone() },
    ] {
        assert!(seen.insert(writer.event(&other)), "{other:?}");
    }
}

#[test]
fn an_event_is_written_in_the_order_of_its_names() {
    for record in records() {
        let written = Writer::new(source()).event(&record);
        assert_eq!(value(&record).to_string(), written);
        assert!(written.len() < EVENT_BYTES, "{} bytes", written.len());
    }
}

/// The table of `docs/formats/ocsf.md`.
fn table() -> String {
    let mut table = String::from("| action | class | activity | of |\n|---|---|---|---|\n");
    for (name, Mapping { class, activity, of }) in MAPPINGS {
        let (class, uid, activity, id) =
            (class.name(), class.uid(), activity.name(), activity.id());
        // Writing to a `String` cannot fail.
        let _ = writeln!(table, "| `{name}` | {class} ({uid}) | {activity} ({id}) | {of} |");
    }
    table
}

#[test]
fn the_document_has_the_table() {
    let document = include_str!("../../../../docs/formats/ocsf.md");
    assert!(document.contains(&table()), "docs/formats/ocsf.md needs this table:\n{}", table());
}
