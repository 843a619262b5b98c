//! What an audit record is as an event of the Open Cybersecurity Schema Framework.
//!
//! After OCSF 1.8.0 (16 March 2026): uses of keys are events of API Activity (6003), changes of authority of Entity
//! Management (3004), and starts of the service of Application Lifecycle (6002). `docs/formats/ocsf.md` has the table,
//! which a test holds to this one.
//!
//! **Invariant:** an event says what the record says and no more. It is a pure function of the record as the
//! auditor reads it, of the log's origin and of the product's version.
//!
//! What is deliberately not filled: `message`, `comment`, `status_detail` and `raw_data`, which are text for people;
//! and addresses, which no record holds. `src_endpoint`, which API Activity requires, says so.

use chancery_api::http::replies::RecordObject;
use serde_json::{Map, Value, json};

use crate::event::Outcome;

/// The version of the schema: 1.8.0 of 16 March 2026.
pub const OCSF_VERSION: &str = "1.8.0";

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The log's origin.
    pub origin: String,
    /// The version of the product that says so.
    pub version: String,
}

/// A class of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// API Activity, of the category Application Activity.
    ApiActivity,
    /// Application Lifecycle, of the category Application Activity.
    ApplicationLifecycle,
    /// Entity Management, of the category Identity & Access Management.
    EntityManagement,
}

impl Class {
    /// Its number.
    #[must_use]
    pub const fn uid(self) -> u32 {
        match self {
            Self::ApiActivity => 6003,
            Self::ApplicationLifecycle => 6002,
            Self::EntityManagement => 3004,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiActivity => "API Activity",
            Self::ApplicationLifecycle => "Application Lifecycle",
            Self::EntityManagement => "Entity Management",
        }
    }

    const fn category(self) -> (u32, &'static str) {
        match self {
            Self::ApiActivity | Self::ApplicationLifecycle => (6, "Application Activity"),
            Self::EntityManagement => (3, "Identity & Access Management"),
        }
    }
}

/// An activity of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Of API Activity and Entity Management.
    Create,
    /// Of Entity Management.
    Delete,
    /// Of Entity Management.
    Disable,
    /// Of all classes; then the event's `activity_name` is the name in the audit.
    Other,
    /// Of API Activity and Entity Management.
    Read,
    /// Of Application Lifecycle.
    Start,
    /// Of API Activity and Entity Management.
    Update,
}

impl Activity {
    /// Its number.
    #[must_use]
    pub const fn id(self) -> u32 {
        match self {
            Self::Create => 1,
            Self::Read => 2,
            // In Application Lifecycle 3 is Start, elsewhere Update.
            Self::Start | Self::Update => 3,
            Self::Delete => 4,
            Self::Disable => 9,
            Self::Other => 99,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Delete => "Delete",
            Self::Disable => "Disable",
            Self::Other => "Other",
            Self::Read => "Read",
            Self::Start => "Start",
            Self::Update => "Update",
        }
    }
}

/// What an action is as an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its class.
    pub class: Class,
    /// Its activity.
    pub activity: Activity,
    /// What it is done to.
    pub of: &'static str,
}

/// Each action by its name in the audit.
const MAPPINGS: [(&str, Mapping); 37] = [
    ("sign", api(Activity::Other)),
    ("verify", api(Activity::Other)),
    ("mac", api(Activity::Other)),
    ("verify-mac", api(Activity::Other)),
    ("encrypt", api(Activity::Other)),
    ("decrypt", api(Activity::Other)),
    ("rewrap", api(Activity::Other)),
    ("generate-data-key", api(Activity::Create)),
    ("unwrap", api(Activity::Other)),
    ("derive", api(Activity::Other)),
    ("random", api(Activity::Other)),
    ("use-of-link", api(Activity::Other)),
    ("count-uses", api(Activity::Read)),
    ("refusals", api(Activity::Other)),
    ("read", entity(Activity::Read, "service")),
    ("genesis", entity(Activity::Create, "service")),
    ("create-key", entity(Activity::Create, "key")),
    ("import-key", entity(Activity::Create, "key")),
    // Which change it was stands in no field that a query shows.
    ("change-version", entity(Activity::Update, "key")),
    ("schedule-destruction", entity(Activity::Update, "key")),
    ("cancel-destruction", entity(Activity::Update, "key")),
    ("destroy-version", entity(Activity::Delete, "key")),
    ("issue-handle", entity(Activity::Create, "handle")),
    ("revoke-handle", entity(Activity::Disable, "handle")),
    ("revoke-issued", entity(Activity::Disable, "handle")),
    ("revoke-issued-of", entity(Activity::Disable, "handle")),
    ("create-principal", entity(Activity::Create, "principal")),
    ("prune-audit", entity(Activity::Delete, "audit log segments")),
    ("retire-origin", entity(Activity::Update, "audit log")),
    ("propose", entity(Activity::Create, "proposal")),
    ("approve", entity(Activity::Update, "proposal")),
    ("withdraw", entity(Activity::Disable, "proposal")),
    ("carry-out", entity(Activity::Update, "proposal")),
    ("raise-approvals", entity(Activity::Update, "posture")),
    ("begin-import", entity(Activity::Create, "one-time key")),
    ("disclose", entity(Activity::Read, "audit")),
    ("start", START),
];

const START: Mapping =
    Mapping { class: Class::ApplicationLifecycle, activity: Activity::Start, of: "service" };

const fn api(activity: Activity) -> Mapping {
    Mapping { class: Class::ApiActivity, activity, of: "key" }
}

const fn entity(activity: Activity, of: &'static str) -> Mapping {
    Mapping { class: Class::EntityManagement, activity, of }
}

/// What an action is as an event; what a newer service names is API Activity, Other.
#[must_use]
pub fn mapping(action: &str) -> Mapping {
    let found = MAPPINGS.iter().find(|(name, _)| *name == action);
    found.map_or(api(Activity::Other), |(_, mapping)| *mapping)
}

/// Whether what a record tells of was done. What is none of the two outcomes is not taken for done.
#[must_use]
pub fn outcome(record: &RecordObject) -> Outcome {
    if record.outcome == "committed" { Outcome::Committed } else { Outcome::Refused }
}

/// The event of a record.
#[must_use]
pub fn event(source: &Source, record: &RecordObject) -> Value {
    let mapping = mapping(&record.operation);
    let mut event = classification(mapping, &record.operation);
    event.extend(result(record));
    event.extend(subject(source, mapping, record));
    event.insert("time".into(), record.time_ms.into());
    event.insert("actor".into(), actor(record));
    event.insert("metadata".into(), metadata(source, record));
    event.insert("unmapped".into(), unmapped(source, record));
    if let Some(count) = record.count.filter(|_| record.operation == "refusals") {
        event.insert("count".into(), count.into());
    }
    Value::Object(event)
}

fn classification(mapping: Mapping, action: &str) -> Map<String, Value> {
    let Mapping { class, activity, .. } = mapping;
    let (category_uid, category_name) = class.category();
    let name = if activity == Activity::Other { action } else { activity.name() };
    fields([
        ("category_uid", category_uid.into()),
        ("category_name", category_name.into()),
        ("class_uid", class.uid().into()),
        ("class_name", class.name().into()),
        ("activity_id", activity.id().into()),
        ("activity_name", name.into()),
        ("type_uid", (class.uid() * 100 + activity.id()).into()),
        ("type_name", format!("{}: {}", class.name(), activity.name()).into()),
    ])
}

fn result(record: &RecordObject) -> Map<String, Value> {
    let ((severity_id, severity), (status_id, status)) = match outcome(record) {
        Outcome::Committed => ((1, "Informational"), (1, "Success")),
        Outcome::Refused => ((2, "Low"), (2, "Failure")),
    };
    let mut result = fields([
        ("severity_id", severity_id.into()),
        ("severity", severity.into()),
        ("status_id", status_id.into()),
        ("status", status.into()),
    ]);
    if !record.code.is_empty() {
        result.insert("status_code".into(), record.code.clone().into());
    }
    result
}

/// What it was done to, in the form of its class.
fn subject(source: &Source, mapping: Mapping, record: &RecordObject) -> Map<String, Value> {
    match mapping.class {
        Class::ApplicationLifecycle => fields([("app", product(source))]),
        Class::EntityManagement => fields([("entity", managed_entity(mapping.of, record))]),
        Class::ApiActivity => {
            let mut subject = fields([
                (
                    "api",
                    json!({ "operation": record.operation, "service": { "name": "chancery" } }),
                ),
                ("src_endpoint", json!({ "name": "not recorded" })),
            ]);
            if !record.key.is_empty() {
                subject.insert("resources".into(), json!([key(record)]));
            }
            subject
        }
    }
}

fn key(record: &RecordObject) -> Value {
    let mut key = fields([
        ("type", "key".into()),
        ("name", record.key.clone().into()),
        ("role_id", 1.into()),
        ("role", "Target".into()),
    ]);
    if let Some(version) = record.version {
        key.insert("version".into(), version.to_string().into());
    }
    key.into()
}

/// Its type is `Other` throughout: the schema has none for keys, handles and principals that are no users of its own.
fn managed_entity(of: &str, record: &RecordObject) -> Value {
    let is_key = of == "key" && !record.key.is_empty();
    let name = if is_key { record.key.as_str() } else { of };
    let mut entity = fields([("type_id", 99.into()), ("type", of.into()), ("name", name.into())]);
    if let Some(version) = record.version.filter(|_| is_key) {
        entity.insert("version".into(), version.to_string().into());
    }
    if let Some(handle) = record.handle.filter(|_| of == "handle") {
        entity.insert("uid".into(), handle.to_string().into());
    }
    if !is_key && !record.key.is_empty() {
        entity.insert("data".into(), json!({ "key": record.key }));
    }
    entity.into()
}

/// Who did it. The schema asks for somebody, so that where nobody was known this is said by a name.
fn actor(record: &RecordObject) -> Value {
    let user = match (record.actor, record.operation.as_str()) {
        (Some(actor), _) => {
            json!({ "uid": actor.to_string(), "type_id": 99, "type": "Principal" })
        }
        (None, "start" | "genesis") => {
            json!({ "name": "chancery", "type_id": 3, "type": "System" })
        }
        (None, _) => json!({ "name": "unknown", "type_id": 0, "type": "Unknown" }),
    };
    json!({ "user": user })
}

fn product(source: &Source) -> Value {
    json!({ "name": "Chancery", "vendor_name": "Chancery", "version": source.version })
}

fn metadata(source: &Source, record: &RecordObject) -> Value {
    json!({
        "version": OCSF_VERSION,
        "product": product(source),
        "uid": format!("{}#{}", source.origin, record.log_index),
        "sequence": record.log_index,
        "log_name": source.origin,
        "event_code": record.operation,
    })
}

/// What leads to a proof of the record, and what the schema has no place for.
fn unmapped(source: &Source, record: &RecordObject) -> Value {
    let mut unmapped = fields([
        ("log_origin", source.origin.clone().into()),
        ("log_index", record.log_index.into()),
        ("leaf_hash", record.leaf.to_text().into()),
    ]);
    if let Some(use_index) = record.use_index {
        unmapped.insert("use_index".into(), use_index.into());
    }
    if let Some(count) = record.count.filter(|_| record.operation != "refusals") {
        unmapped.insert("counted".into(), count.into());
    }
    if let Some(handle) = record.handle {
        unmapped.insert("handle".into(), handle.to_string().into());
    }
    unmapped.into()
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests;
