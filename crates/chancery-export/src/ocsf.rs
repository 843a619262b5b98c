//! What an audit record is as an event of the Open Cybersecurity Schema Framework.
//!
//! After OCSF 1.8.0 (16 March 2026): uses of keys are events of API Activity (6003), changes of authority of Entity
//! Management (3004), and starts of the service of Application Lifecycle (6002). `docs/formats/ocsf.md` has the table,
//! which a test holds to this one.
//!
//! **Invariant:** an event says what the record says and no more. It is a pure function of the record as an
//! auditor opens it, of the log's origin and of the product's version. The text that is written here is the one
//! form of it: what a sink wants otherwise is read from that.
//!
//! What is deliberately not filled: `message`, `comment`, `status_detail` and `raw_data`, which are text for people;
//! and addresses, which no record holds. `src_endpoint`, which API Activity requires, says so.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::json::{self, Object, Pattern};
use crate::record::{Outcome, Record};

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
const MAPPINGS: [(&str, Mapping); 48] = [
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
    ("rotate", entity(Activity::Create, "rollout")),
    ("order-rollout", entity(Activity::Update, "rollout")),
    ("set-rotation", entity(Activity::Update, "rotation rule")),
    ("stand-by", entity(Activity::Create, "key version")),
    ("still-rollout", entity(Activity::Update, "rollout")),
    ("step-rollout", entity(Activity::Update, "rollout")),
    ("declare-inventory", entity(Activity::Update, "inventory")),
    ("order-campaign", entity(Activity::Update, "campaign")),
    ("register-verifier", entity(Activity::Create, "verifier")),
    ("remove-verifier", entity(Activity::Delete, "verifier")),
    ("issue-bundle", entity(Activity::Create, "trust bundle")),
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

/// A class and an activity, as the schema names their type.
struct TypeName(Mapping);

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mapping { class, activity, .. } = self.0;
        write!(f, "{}: {}", class.name(), activity.name())
    }
}

/// What differs from one event to the next of its pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Actor,
    Count,
    Handle,
    Index,
    Leaf,
    Time,
    UseIndex,
}

/// The text of an event, with open places.
#[derive(Debug)]
struct Form {
    /// A record that the pattern was made of.
    record: Record,
    pattern: Pattern<Place>,
}

type Fields<'o> = Object<'o, Place>;

/// So many forms are kept at hand: 64, for some keys and what is done with each. Then all are made anew.
const FORMS_MAX: usize = 64;

/// The room that an event takes: 1 280 bytes, more than one of a signature.
const EVENT_BYTES: usize = 1_280;

/// Writes events.
#[derive(Debug)]
pub struct Writer {
    source: Source,
    /// The one that was used last is the first.
    forms: Vec<Form>,
}

impl Writer {
    /// Of records from there.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self { source, forms: Vec::new() }
    }

    /// The event of a record, as JSON. Its fields are in the order of their names.
    pub fn event(&mut self, record: &Record) -> String {
        match self.forms.iter().position(|form| form.fits(record)) {
            Some(0) => {}
            Some(at) => self.forms.swap(0, at),
            None => {
                if self.forms.len() >= FORMS_MAX {
                    self.forms.clear();
                }
                self.forms.push(Form::of(&self.source, record));
                let last = self.forms.len() - 1;
                self.forms.swap(0, last);
            }
        }
        let mut out = String::with_capacity(EVENT_BYTES);
        if let Some(form) = self.forms.first() {
            form.pattern.fill(&mut out, |place, out| place.fill(record, out));
        }
        out
    }
}

impl Form {
    fn of(source: &Source, record: &Record) -> Self {
        Self { record: record.clone(), pattern: pattern(source, record) }
    }

    /// Whether a record's event differs from this one's in nothing but what is filled in.
    fn fits(&self, record: &Record) -> bool {
        let known = &self.record;
        known.operation == record.operation
            && known.outcome == record.outcome
            && known.code == record.code
            && known.key == record.key
            && known.version == record.version
            && known.use_index.is_some() == record.use_index.is_some()
            && known.actor.is_some() == record.actor.is_some()
            && known.handle.is_some() == record.handle.is_some()
            && known.count.is_some() == record.count.is_some()
    }
}

impl Place {
    fn fill(self, record: &Record, out: &mut String) {
        match self {
            Self::Actor => shown(out, record.actor),
            Self::Count => json::push_number(out, record.count.unwrap_or_default()),
            Self::Handle => shown(out, record.handle),
            Self::Index => json::push_number(out, record.log_index),
            Self::Leaf => STANDARD.encode_string(record.leaf, out),
            Self::Time => json::push_number(out, record.time_ms),
            Self::UseIndex => json::push_number(out, record.use_index.unwrap_or_default()),
        }
    }
}

fn shown(out: &mut String, id: Option<impl fmt::Display>) {
    if let Some(id) = id {
        // Writing to a `String` cannot fail.
        let _ = write!(out, "{id}");
    }
}

fn pattern(source: &Source, record: &Record) -> Pattern<Place> {
    let mapping = mapping(&record.operation);
    Pattern::object(|event| {
        activity(event, mapping, record);
        event.object("actor", |it| it.object("user", |it| user(it, record)));
        subject(event, mapping, (source, record));
        event.object("metadata", |it| metadata(it, source, record));
        result(event, mapping.class, record);
        event.open_number("time", Place::Time);
        event.shown("type_name", TypeName(mapping));
        event.number("type_uid", mapping.class.uid() * 100 + mapping.activity.id());
        event.object("unmapped", |it| unmapped(it, source, record));
    })
}

fn activity(event: &mut Fields<'_>, Mapping { activity, .. }: Mapping, record: &Record) {
    let name = if activity == Activity::Other { &record.operation } else { activity.name() };
    event.number("activity_id", activity.id());
    event.text("activity_name", name);
}

/// Who did it. The schema asks for somebody, so that where nobody was known this is said by a name.
fn user(user: &mut Fields<'_>, record: &Record) {
    let (name, kind, id) = match (record.actor, &*record.operation) {
        (Some(_), _) => (None, "Principal", 99),
        (None, "start" | "genesis") => (Some("chancery"), "System", 3),
        (None, _) => (Some("unknown"), "Unknown", 0),
    };
    if let Some(name) = name {
        user.text("name", name);
    }
    user.text("type", kind);
    user.number("type_id", id);
    if record.actor.is_some() {
        user.open_text("uid", "", Place::Actor);
    }
}

/// What was called, the class, and what it was done to in the form of that.
fn subject(event: &mut Fields<'_>, mapping: Mapping, (source, record): (&Source, &Record)) {
    match mapping.class {
        Class::ApiActivity => event.object("api", |api| {
            api.text("operation", &record.operation);
            api.object("service", |service| service.text("name", "chancery"));
        }),
        Class::ApplicationLifecycle => event.object("app", |app| product(app, source)),
        Class::EntityManagement => {}
    }
    let (category_uid, category_name) = mapping.class.category();
    event.text("category_name", category_name);
    event.number("category_uid", category_uid);
    event.text("class_name", mapping.class.name());
    event.number("class_uid", mapping.class.uid());
    if record.count.is_some() && record.operation == "refusals" {
        event.open_number("count", Place::Count);
    }
    if mapping.class == Class::EntityManagement {
        event.object("entity", |entity| managed_entity(entity, mapping.of, record));
    }
}

/// Its type is `Other` throughout: the schema has none for keys, handles and principals that are no users of its own.
fn managed_entity(entity: &mut Fields<'_>, of: &str, record: &Record) {
    let key = record.key.as_deref();
    let own = key.filter(|_| of == "key");
    if let Some(key) = key.filter(|_| own.is_none()) {
        entity.object("data", |data| data.text("key", key));
    }
    entity.text("name", own.unwrap_or(of));
    entity.text("type", of);
    entity.number("type_id", 99);
    if record.handle.is_some() && of == "handle" {
        entity.open_text("uid", "", Place::Handle);
    }
    if let Some(version) = record.version.filter(|_| own.is_some()) {
        entity.shown("version", version);
    }
}

fn product(object: &mut Fields<'_>, source: &Source) {
    object.text("name", "Chancery");
    object.text("vendor_name", "Chancery");
    object.text("version", &source.version);
}

fn metadata(metadata: &mut Fields<'_>, source: &Source, record: &Record) {
    metadata.text("event_code", &record.operation);
    metadata.text("log_name", &source.origin);
    metadata.object("product", |it| product(it, source));
    metadata.open_number("sequence", Place::Index);
    metadata.open_text("uid", &format!("{}#", source.origin), Place::Index);
    metadata.text("version", OCSF_VERSION);
}

/// What came of it, and the key of API Activity.
fn result(event: &mut Fields<'_>, class: Class, record: &Record) {
    let key = record.key.as_deref().filter(|_| class == Class::ApiActivity);
    if let Some(name) = key {
        event.list("resources", |it| resource(it, name, record.version));
    }
    let ((severity_id, severity), (status_id, status)) = match record.outcome {
        Outcome::Committed => ((1, "Informational"), (1, "Success")),
        Outcome::Refused => ((2, "Low"), (2, "Failure")),
    };
    event.text("severity", severity);
    event.number("severity_id", severity_id);
    if class == Class::ApiActivity {
        event.object("src_endpoint", |it| it.text("name", "not recorded"));
    }
    event.text("status", status);
    if !record.code.is_empty() {
        event.text("status_code", &record.code);
    }
    event.number("status_id", status_id);
}

fn resource(key: &mut Fields<'_>, name: &str, version: Option<u32>) {
    key.text("name", name);
    key.text("role", "Target");
    key.number("role_id", 1);
    key.text("type", "key");
    if let Some(version) = version {
        key.shown("version", version);
    }
}

/// What leads to a proof of the record, and what the schema has no place for.
fn unmapped(unmapped: &mut Fields<'_>, source: &Source, record: &Record) {
    if record.count.is_some() && record.operation != "refusals" {
        unmapped.open_number("counted", Place::Count);
    }
    if record.handle.is_some() {
        unmapped.open_text("handle", "", Place::Handle);
    }
    unmapped.open_text("leaf_hash", "", Place::Leaf);
    unmapped.open_number("log_index", Place::Index);
    unmapped.text("log_origin", &source.origin);
    if record.use_index.is_some() {
        unmapped.open_number("use_index", Place::UseIndex);
    }
}

/// A leaf hash, in base64.
#[must_use]
pub fn leaf_text(leaf: &[u8; 32]) -> String {
    STANDARD.encode(leaf)
}

#[cfg(test)]
mod tests;
