//! OTLP logs over HTTP in JSON (OTLP 1.9.0, `ExportLogsServiceRequest`).
//!
//! A record's event is the body of its log record, as a list of keys and values; 64-bit numbers are text, as the JSON form of
//! Protocol Buffers has them.
//!
//! An answer with `partialSuccess` that rejects some of a batch says neither which nor may the batch be sent again: all of it
//! becomes dead letters, a superset of what was rejected, so that nothing is lost.

use serde_json::{Value, json};

use super::SinkError;
use super::http::printable;
use crate::event::Event;
use crate::record::Outcome;

/// The request for a batch.
pub(super) fn request(batch: &[Event], version: &str) -> Value {
    let records: Vec<_> = batch.iter().map(log_record).collect();
    json!({ "resourceLogs": [{
        "resource": { "attributes": [attribute("service.name", &"chancery".into())] },
        "scopeLogs": [{
            "scope": { "name": "chancery.audit", "version": version },
            "logRecords": records,
        }],
    }] })
}

fn log_record(event: &Event) -> Value {
    // Severity numbers of the OpenTelemetry log data model: INFO and WARN.
    let (number, text) = match event.outcome {
        Outcome::Committed => (9, "INFO"),
        Outcome::Refused => (13, "WARN"),
    };
    let time = format!("{}000000", event.time_ms);
    let body = event.value();
    let uid = body.pointer("/metadata/uid").cloned().unwrap_or_default();
    json!({
        "timeUnixNano": time,
        "observedTimeUnixNano": time,
        "severityNumber": number,
        "severityText": text,
        "eventName": format!("chancery.audit.{}", event.action),
        "attributes": [attribute("log.record.uid", &uid)],
        "body": any_value(&body),
    })
}

fn attribute(key: &str, value: &Value) -> Value {
    json!({ "key": key, "value": any_value(value) })
}

/// A JSON value as `AnyValue`.
fn any_value(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(it) => json!({ "boolValue": it }),
        Value::Number(it) if it.is_i64() => json!({ "intValue": it.to_string() }),
        Value::Number(it) => json!({ "doubleValue": it.as_f64() }),
        Value::String(it) => json!({ "stringValue": it }),
        Value::Array(it) => {
            let values: Vec<_> = it.iter().map(any_value).collect();
            json!({ "arrayValue": { "values": values } })
        }
        Value::Object(it) => {
            let values: Vec<_> = it.iter().map(|(key, value)| attribute(key, value)).collect();
            json!({ "kvlistValue": { "values": values } })
        }
    }
}

/// What an answer of success means for a batch.
///
/// # Errors
///
/// [`SinkError::PartlyRefused`] if some of it was rejected.
pub fn verdict(answer: &[u8], records: usize) -> Result<(), SinkError> {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return Ok(()) };
    let Some(rejected) = answer.pointer("/partialSuccess/rejectedLogRecords") else {
        return Ok(());
    };
    let rejected = rejected.as_str().map_or_else(|| rejected.to_string(), str::to_owned);
    if rejected == "0" {
        return Ok(());
    }
    let said = answer.pointer("/partialSuccess/errorMessage").and_then(Value::as_str);
    let said = printable(said.unwrap_or("no reason given"));
    let why = format!("{} of {records} rejected: {said}", printable(&rejected));
    Err(SinkError::PartlyRefused { why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;

    #[test]
    fn a_record_of_a_batch_has_its_time_severity_and_event() {
        let request = request(&[event(7)], "1.2.3");
        let record = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(record["timeUnixNano"], "1763964305007000000");
        assert_eq!(
            (&record["severityNumber"], &record["severityText"]),
            (&9.into(), &"INFO".into())
        );
        assert_eq!(record["eventName"], "chancery.audit.sign");
        let attribute = &record["attributes"][0];
        assert_eq!(attribute["value"], json!({ "stringValue": "log.example/1#7" }));
        let values = record["body"]["kvlistValue"]["values"].as_array().unwrap();
        let class = values.iter().find(|it| it["key"] == "class_uid").unwrap();
        assert_eq!(class["value"], json!({ "intValue": "6003" }));
    }

    #[test]
    fn an_answer_that_rejects_some_refuses_the_batch_for_good() {
        for answer in [&b""[..], b"{}", b"no JSON", br#"{"partialSuccess":{}}"#] {
            assert_eq!(verdict(answer, 2), Ok(()));
        }
        let zero = br#"{"partialSuccess":{"rejectedLogRecords":"0","errorMessage":"slow down"}}"#;
        assert_eq!(verdict(zero, 2), Ok(()));
        for answer in [
            br#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"bad"}}"#.as_slice(),
            br#"{"partialSuccess":{"rejectedLogRecords":1}}"#,
        ] {
            assert!(matches!(verdict(answer, 2), Err(SinkError::PartlyRefused { .. })));
        }
    }
}
