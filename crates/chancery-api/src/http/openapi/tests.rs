//! The document against its golden file, and the schemas against real bodies.

use super::*;
use crate::http::fields::{Base64, ContextObject};
use crate::http::problem::{Outcome, Problem};
use crate::http::uses::{UseAnswer, UseBody};
use crate::message::UseResult;
use chancery_core::context::{Context, Pair};
use chancery_core::id::OperationId;
use chancery_core::reason::Reason;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

#[test]
fn the_file_is_the_document() {
    if std::env::var_os("CHANCERY_WRITE_OPENAPI").is_some() {
        std::fs::write(FILE, format!("{:#}\n", document())).unwrap();
    }
    let file: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    assert_eq!(file, document(), "set CHANCERY_WRITE_OPENAPI to write the file anew");
}

#[test]
fn every_reference_has_its_schema_and_every_schema_is_referred_to() {
    let document = document();
    let text = document.to_string();
    let named: std::collections::BTreeSet<_> = text
        .split("\"#/components/schemas/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert_eq!(named, schemas.keys().map(String::as_str).collect());
}

/// Whether a value is as the schema says, in the words of JSON Schema that this document uses.
fn is_valid(schema: &Value, value: &Value) -> bool {
    if let Some(name) = schema["$ref"].as_str() {
        return is_valid(&schemas()[name.rsplit('/').next().unwrap()], value);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().filter(|choice| is_valid(choice, value)).count() == 1;
    }
    if let Some(constant) = schema.get("const") {
        return value == constant;
    }
    match schema["type"].as_str().unwrap() {
        "array" => value
            .as_array()
            .is_some_and(|list| list.iter().all(|one| is_valid(&schema["items"], one))),
        "boolean" => value.is_boolean(),
        "integer" => {
            value.as_u64().is_some_and(|number| number <= schema["maximum"].as_u64().unwrap())
        }
        "object" => value.as_object().is_some_and(|fields| has_fields(schema, fields)),
        "string" => value
            .as_str()
            .is_some_and(|_| schema["enum"].as_array().is_none_or(|words| words.contains(value))),
        other => panic!("{other}"),
    }
}

fn has_fields(schema: &Value, fields: &Map<String, Value>) -> bool {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let others = &schema["additionalProperties"];
    required.iter().all(|name| fields.contains_key(name.as_str().unwrap()))
        && fields.iter().all(|(name, value)| match schema["properties"].get(name) {
            Some(property) => is_valid(property, value),
            None => others.is_object() && is_valid(others, value),
        })
}

/// Holds an object's bytes to a schema of the document.
pub(crate) fn assert_described(schema: &str, object: &[u8]) {
    let value: Value = serde_json::from_slice(object).unwrap();
    assert!(is_valid(&reference(schema), &value), "{schema}: {value:#}");
}

/// Holds a request's body to the schema of its route.
pub(crate) fn assert_body_described(target: Target, body: &[u8]) {
    assert_described(body_schema(target).unwrap(), body);
}

#[test]
fn what_a_schema_does_not_say_is_not_described() {
    let scope = json!({"environment": "a", "region": "b", "service": "c"});
    assert!(is_valid(&reference("Scope"), &scope));
    for other in [json!({}), json!([]), json!({"environment": "a", "region": "b", "service": 1})] {
        assert!(!is_valid(&reference("Scope"), &other));
    }
    assert!(!is_valid(&reference("VersionBody"), &json!({"version": 1, "other": 1})));
}

fn properties(schema: &str) -> Vec<String> {
    let schemas = schemas();
    schemas[schema]["properties"].as_object().unwrap().keys().cloned().collect()
}

fn fields(object: &impl serde::Serialize) -> Vec<String> {
    serde_json::to_value(object).unwrap().as_object().unwrap().keys().cloned().collect()
}

fn assert_whole(schema: &str, object: &impl serde::Serialize) {
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(fields(object)), sorted(properties(schema)));
    assert_described(schema, &crate::http::render(object));
}

#[test]
fn schemas_have_the_fields_of_their_objects() {
    let bytes = || Some(Base64(vec![1]));
    let id = Some(OperationId::from_bytes([1; 16]));
    let pair = Pair::parse("a=1").unwrap();
    let body = UseBody {
        context: ContextObject(Context::new(vec![pair]).unwrap()),
        message: bytes(),
        digest: bytes(),
        signature: bytes(),
        mac: bytes(),
        length: Some(1),
        routing_key: Some("a".into()),
        receipt: Some(true),
        operation_id: id,
    };
    assert_whole("UseBody", &body);
    let answer = UseAnswer {
        outcome: Outcome::Committed,
        operation_id: id,
        output: bytes(),
        valid: Some(true),
        version: Some(1),
        log_index: Some(1),
        receipt: bytes(),
        code: Some("malformed".into()),
        retry_after_ms: Some(1),
    };
    assert_whole("UseAnswer", &answer);
    let problem = Problem::refused(Code::Reason(Reason::Overloaded)).about(id).because("x");
    assert_whole("Problem", &problem);
}

#[test]
fn every_code_is_described_as_a_problem_and_as_an_item_of_a_batch() {
    for code in Code::all() {
        assert_described("Problem", &crate::http::render(&Problem::refused(code)));
    }
    for reason in Reason::ALL {
        let refused = UseResult::Refused { id: None, reason: *reason };
        let answer = UseAnswer::of(Operation::Sign, refused);
        assert_described("UseAnswer", &crate::http::render(&answer));
    }
}
