//! The description of the API in OpenAPI 3.1, made from [`ROUTES`].
//!
//! The file `openapi.json` of this crate is the same document, for review; a test holds it to this code and
//! writes it anew where `CHANCERY_WRITE_OPENAPI` is set.

mod census;
mod public;
mod rollouts;
mod summaries;
mod views;

use chancery_core::action::Action;
use chancery_core::handle::Operation;
use chancery_core::limits::{
    APPROVALS_MAX, BATCH_ITEMS_MAX, CONTEXT_PAIRS_MAX, CONTEXT_VALUE_BYTES_MAX, DOMAIN_BYTES_MAX,
    NAME_BYTES_MAX,
};
use chancery_core::principal::Role;
use chancery_core::reason::Reason;
use chancery_core::record_group::RecordGroup;
use chancery_core::suite::SUITES;
use serde_json::{Map, Value, json};

use self::rollouts::rollouts;
use self::summaries::summary;
use self::views::views;
use crate::http::problem::Code;
use crate::http::routes::{
    Authentication, CampaignKind, CommandKind, OrderKind, ROUTES, Route, Target,
};
use crate::http::{
    COMMAND_DIGEST, HANDLE_PROOF, IDEMPOTENCY_KEY, MEDIA_BYTES, MEDIA_JSON, MEDIA_PROBLEM,
    SIGNATURE_INPUT,
};

/// The document.
#[must_use]
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Chancery",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Keys are used through handles and administered by signed commands. \
                An answer has one of three outcomes: committed, refused (nothing was done), or unknown, \
                which is resolved by repeating the request with its operation id.",
        },
        "paths": paths(),
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "handle": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "`Handle ` and the handle's text.",
                },
                "signature": {
                    "type": "apiKey", "in": "header", "name": "Signature",
                    "description": "An Ed25519 signature of a principal over the command (RFC 9421).",
                },
            },
        },
    })
}

fn paths() -> Value {
    let mut paths = Map::new();
    for route in &ROUTES {
        let entry = paths.entry(route.path).or_insert_with(|| Value::Object(Map::new()));
        if let Some(methods) = entry.as_object_mut() {
            methods.insert(route.method.to_lowercase(), operation(route));
        }
    }
    Value::Object(paths)
}

fn operation(route: &Route) -> Value {
    let mut operation = Map::new();
    operation.insert("operationId".into(), operation_id(route).into());
    operation.insert("summary".into(), summary(route.target).into());
    operation.insert("parameters".into(), parameters(route).into());
    operation.insert("security".into(), security(route));
    operation.insert("responses".into(), responses(route));
    if let Some(schema) = body_schema(route.target) {
        let body =
            json!({"required": true, "content": {(MEDIA_JSON): {"schema": reference(schema)}}});
        operation.insert("requestBody".into(), body);
    }
    Value::Object(operation)
}

fn operation_id(route: &Route) -> String {
    let words =
        route.path.split(['/', '.', '-', '{', '}']).filter(|word| !matches!(*word, "" | "v1"));
    let words: Vec<_> = words.collect();
    format!("{}_{}", route.method.to_lowercase(), words.join("_"))
}

fn security(route: &Route) -> Value {
    match route.authentication() {
        Authentication::Handle => json!([{"handle": []}]),
        Authentication::None => json!([]),
        Authentication::Signature => json!([{"signature": []}]),
    }
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters = Vec::new();
    for (variable, schema) in [("name", "Name"), ("id", "Id")] {
        if route.path.contains(&format!("{{{variable}}}")) {
            let schema = reference(schema);
            parameters
                .push(json!({"name": variable, "in": "path", "required": true, "schema": schema}));
        }
    }
    if route.path.ends_with("{file}") {
        let schema = json!({"type": "string"});
        parameters.push(json!({"name": "file", "in": "path", "required": true, "schema": schema}));
    }
    parameters.extend(public::query(route));
    let optional = |name: &str| json!({"name": name, "in": "header", "schema": {"type": "string"}});
    let required = |name: &str| json!({"name": name, "in": "header", "required": true, "schema": {"type": "string"}});
    match (route.target, route.authentication()) {
        (Target::Use(_), _) => parameters.extend([IDEMPOTENCY_KEY, HANDLE_PROOF].map(optional)),
        (_, Authentication::Handle) => parameters.push(optional(HANDLE_PROOF)),
        (_, Authentication::Signature) => {
            parameters.extend([IDEMPOTENCY_KEY, COMMAND_DIGEST, SIGNATURE_INPUT].map(required));
        }
        (_, Authentication::None) => {}
    }
    parameters
}

fn responses(route: &Route) -> Value {
    let (media, schema) = match route.target {
        Target::Batch(_) => (MEDIA_JSON, reference("BatchAnswer")),
        Target::Command(CommandKind::ReadFrames) | Target::Log => {
            (MEDIA_BYTES, json!({"type": "string"}))
        }
        Target::Command(_) => (MEDIA_JSON, reference("CommandAnswer")),
        Target::Health | Target::OpenApi | Target::Ready => (MEDIA_JSON, json!({"type": "object"})),
        Target::Metrics => ("text/plain; version=0.0.4", json!({"type": "string"})),
        Target::Public(kind) => public::answer(kind),
        Target::Use(_) => (MEDIA_JSON, reference("UseAnswer")),
    };
    json!({
        "200": {"description": "Done.", "content": {(media): {"schema": schema}}},
        "default": {
            "description": "Refused, or of unknown outcome.",
            "content": {(MEDIA_PROBLEM): {"schema": reference("Problem")}},
        },
    })
}

fn body_schema(target: Target) -> Option<&'static str> {
    let Target::Command(kind) = target else {
        return match target {
            Target::Batch(_) => Some("BatchBody"),
            Target::Use(_) => Some("UseBody"),
            _ => None,
        };
    };
    match kind {
        CommandKind::CreateKey => Some("CreateKeyBody"),
        CommandKind::ImportKey => Some("ImportKeyBody"),
        CommandKind::ChangeVersion(_) => Some("ChangeVersionBody"),
        CommandKind::ScheduleDestruction | CommandKind::CancelDestruction => Some("VersionBody"),
        CommandKind::IssueHandle => Some("IssueHandleBody"),
        CommandKind::RevokeHandle => Some("RevokeHandleBody"),
        CommandKind::RevokeIssued
        | CommandKind::RevokeIssuedOf
        | CommandKind::BeginImport
        | CommandKind::OrderRollout(OrderKind::Plain(_))
        | CommandKind::RemoveVerifier
        | CommandKind::OrderCampaign(CampaignKind::Pause | CampaignKind::Resume)
        | CommandKind::Withdraw => Some("EmptyBody"),
        CommandKind::Propose => Some("ProposeBody"),
        CommandKind::Approve | CommandKind::CarryOut => Some("ProposedBody"),
        CommandKind::RaiseApprovals => Some("RaiseApprovalsBody"),
        CommandKind::Rotate => Some("RotateBody"),
        CommandKind::SetRule => Some("RuleBody"),
        CommandKind::OrderRollout(OrderKind::Override) => Some("OverrideBody"),
        CommandKind::RegisterVerifier => Some("RegisterVerifierBody"),
        CommandKind::Report => Some("ReportBody"),
        CommandKind::DeclareInventory => Some("DeclareInventoryBody"),
        CommandKind::OrderCampaign(CampaignKind::Start) => Some("StartCampaignBody"),
        CommandKind::OrderCampaign(CampaignKind::End) | CommandKind::ReportCampaign => {
            Some("CampaignProgressBody")
        }
        CommandKind::CreatePrincipal => Some("CreatePrincipalBody"),
        CommandKind::QueryAudit => Some("AuditQueryBody"),
        CommandKind::InspectStore => Some("InspectStoreBody"),
        CommandKind::CountUses => Some("CountUsesBody"),
        CommandKind::PruneAudit => Some("PruneAuditBody"),
        CommandKind::OpenRecord => Some("OpenRecordBody"),
        CommandKind::ReadFrames => Some("ReadFramesBody"),
        CommandKind::ReadSteps => Some("ReadStepsBody"),
        CommandKind::StillRollout => Some("StillRolloutBody"),
        CommandKind::Disclose => Some("DiscloseBody"),
        CommandKind::ListKeys
        | CommandKind::ShowKey
        | CommandKind::ReadStatus
        | CommandKind::ReadOperation
        | CommandKind::ListProposals
        | CommandKind::ListRollouts
        | CommandKind::ListRotations
        | CommandKind::ShowRollout
        | CommandKind::ListKeptRollouts
        | CommandKind::ReadCensus
        | CommandKind::ReadKeyCensus
        | CommandKind::ListVerifiers => None,
    }
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// An object with these required and these optional properties, and no others.
fn object(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let properties = required.iter().chain(optional);
    let properties: Map<_, _> =
        properties.map(|(name, schema)| ((*name).into(), schema.clone())).collect();
    let names: Vec<_> = required.iter().map(|(name, _)| *name).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": names,
        "properties": properties,
    })
}

fn integer(maximum: u64) -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": maximum})
}

fn time() -> Value {
    integer(u64::MAX)
}

fn number() -> Value {
    integer(u64::from(u32::MAX))
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn word(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

fn string() -> Value {
    json!({"type": "string"})
}

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn schemas() -> Value {
    let mut schemas = Map::new();
    let own = values().into_iter().chain(requests()).chain(answers()).chain(views());
    for (name, schema) in own.chain(rollouts()).chain(public::verifiers()).chain(census::census()) {
        schemas.insert(name.into(), schema);
    }
    Value::Object(schemas)
}

fn values() -> Vec<(&'static str, Value)> {
    let suites = SUITES.map(|row| row.name);
    vec![
        ("Algorithm", word(&suites)),
        ("Bytes", json!({"type": "string", "contentEncoding": "base64"})),
        ("Code", word(&Code::all().map(Code::text).collect::<Vec<_>>())),
        (
            "Context",
            json!({
                "type": "object",
                "maxProperties": CONTEXT_PAIRS_MAX,
                "propertyNames": {"pattern": "^[a-z0-9_.-]{1,32}$"},
                "additionalProperties": {"type": "string", "maxLength": CONTEXT_VALUE_BYTES_MAX},
            }),
        ),
        ("Id", json!({"type": "string", "format": "uuid"})),
        (
            "Name",
            json!({"type": "string", "maxLength": NAME_BYTES_MAX, "pattern": "^[a-z0-9][a-z0-9_.-]*$"}),
        ),
        ("Operation", word(&Operation::ALL.map(Operation::name))),
        ("Purpose", json!({"type": "string", "maxLength": DOMAIN_BYTES_MAX + 32})),
    ]
}

fn requests() -> Vec<(&'static str, Value)> {
    let bytes = || reference("Bytes");
    let id = || reference("Id");
    let name = || reference("Name");
    let key = [
        ("name", name()),
        ("purpose", reference("Purpose")),
        ("algorithm", reference("Algorithm")),
        ("scope", reference("Scope")),
    ];
    let batch_items = json!({
        "type": "array", "minItems": 1, "maxItems": BATCH_ITEMS_MAX, "items": reference("UseBody"),
    });
    vec![
        ("BatchBody", object(&[("items", batch_items)], &[("receipt", boolean())])),
        ("ChangeVersionBody", object(&[], &[("version", number())])),
        ("CreateKeyBody", object(&key, &[("witnessed", boolean())])),
        ("EmptyBody", object(&[], &[])),
        (
            "ImportKeyBody",
            object(
                &[("key", reference("CreateKeyBody")), ("one_time_key", id()), ("sealed", bytes())],
                &[],
            ),
        ),
        ("RevokeHandleBody", object(&[("link", id())], &[])),
        ("Scope", object(&[("environment", name()), ("region", name()), ("service", name())], &[])),
        ("VersionBody", object(&[("version", number())], &[])),
        ("AuditQueryBody", audit_query_schema()),
        ("InspectStoreBody", object(&[], &[("after", reference("Bytes"))])),
        ("CountUsesBody", object(&[("key", name()), ("version", number())], &[])),
        ("DiscloseBody", disclose_schema()),
        (
            "PruneAuditBody",
            object(
                &[
                    ("segments", integer(u64::MAX)),
                    ("entry", reference("Bytes")),
                    ("location", string()),
                ],
                &[],
            ),
        ),
        ("OpenRecordBody", open_record_schema()),
        ("Proposed", proposed_schema()),
        ("ProposeBody", object(&[("proposed", reference("Proposed")), ("ttl_ms", time())], &[])),
        ("ProposedBody", object(&[("proposed", reference("Proposed"))], &[])),
        ("RaiseApprovalsBody", object(&[("approvals", approvals_schema())], &[])),
        ("ReadFramesBody", object(&[("from", time()), ("skip", number())], &[])),
        ("CreatePrincipalBody", principal_schema()),
        ("IssueHandleBody", handle_schema()),
        ("UseBody", use_schema()),
    ]
}

fn audit_query_schema() -> Value {
    object(
        &[("limit", number())],
        &[
            ("key", reference("Name")),
            ("actor", reference("Id")),
            ("outcome", word(&["committed", "refused"])),
            ("operation_id", reference("Id")),
            ("since_ms", time()),
            ("before", time()),
            ("after", time()),
            ("version", number()),
            ("handle", reference("Id")),
            ("code", word(&Reason::ALL.iter().map(|reason| reason.code()).collect::<Vec<_>>())),
            ("action", word(&Action::all().map(|(_, name)| name).collect::<Vec<_>>())),
            ("until_ms", time()),
            ("output_sha256", reference("Bytes")),
        ],
    )
}

fn principal_schema() -> Value {
    let roles = word(&Role::ALL.map(Role::name));
    object(&[("name", reference("Name")), ("role", roles), ("public_key", reference("Bytes"))], &[])
}

fn handle_schema() -> Value {
    object(
        &[
            ("key", reference("Name")),
            ("operations", list(&reference("Operation"))),
            ("ttl_ms", time()),
        ],
        &[
            ("pins", list(&json!({"type": "string", "pattern": "^[a-z0-9_.-]{1,32}="}))),
            ("holder", reference("Bytes")),
            ("subject", reference("Id")),
            ("max_uses", json!({"type": "integer", "minimum": 1, "maximum": u64::MAX})),
        ],
    )
}

fn use_schema() -> Value {
    object(
        &[],
        &[
            ("context", reference("Context")),
            ("message", reference("Bytes")),
            ("digest", reference("Bytes")),
            ("signature", reference("Bytes")),
            ("mac", reference("Bytes")),
            ("length", number()),
            ("routing_key", string()),
            ("receipt", boolean()),
            ("operation_id", reference("Id")),
        ],
    )
}

fn answers() -> Vec<(&'static str, Value)> {
    let code = || reference("Code");
    let id = || reference("Id");
    vec![
        ("Proposal", proposal_schema()),
        ("BatchAnswer", object(&[("results", list(&reference("UseAnswer")))], &[])),
        (
            "CommandAnswer",
            object(
                &[("outcome", word(&["committed"])), ("answer", answer_schema())],
                &[("log_index", time()), ("audit", word(&["pending"]))],
            ),
        ),
        (
            "Problem",
            object(
                &[
                    ("type", string()),
                    ("title", string()),
                    ("status", integer(599)),
                    ("code", code()),
                    ("outcome", word(&["committed", "refused", "unknown"])),
                ],
                &[("operation_id", id()), ("detail", string()), ("retry_after_ms", time())],
            ),
        ),
        (
            "UseAnswer",
            object(
                &[("outcome", word(&["committed", "refused", "unknown"]))],
                &[
                    ("operation_id", id()),
                    ("retry_after_ms", time()),
                    ("output", reference("Bytes")),
                    ("valid", json!({"const": true})),
                    ("version", number()),
                    ("log_index", time()),
                    ("receipt", reference("Bytes")),
                    ("code", code()),
                ],
            ),
        ),
    ]
}

fn open_record_schema() -> Value {
    let names = RecordGroup::ALL.map(RecordGroup::name);
    let groups = json!({
        "type": "array", "minItems": 1, "uniqueItems": true, "items": {"type": "string", "enum": names},
    });
    object(&[("log_index", time()), ("groups", groups)], &[])
}

fn disclose_schema() -> Value {
    let indices = list(&time());
    object(
        &[("recipient", reference("Bytes"))],
        &[
            ("first_month", number()),
            ("last_month", number()),
            ("log_indices", indices),
            ("event_month", number()),
            ("second_recipient", reference("Bytes")),
        ],
    )
}

fn approvals_schema() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": APPROVALS_MAX})
}

fn proposed_schema() -> Value {
    let one = |name: &'static str, body: &str| object(&[(name, reference(body))], &[]);
    json!({"oneOf": [
        one("create_principal", "CreatePrincipalBody"),
        one("disclose", "DiscloseBody"),
    ]})
}

fn proposal_schema() -> Value {
    object(
        &[
            ("id", reference("Id")),
            ("proposer", reference("Id")),
            ("proposed", reference("Proposed")),
            ("expires_ms", time()),
            ("approvals", list(&reference("Id"))),
        ],
        &[("ending", word(&["carried-out", "withdrawn"]))],
    )
}

fn answer_schema() -> Value {
    let one = |name: &'static str, schema: Value| object(&[(name, schema)], &[]);
    json!({"oneOf": [
        {"const": "done"},
        one("campaign", reference("Campaign")),
        one("census", reference("Census")),
        one("disclosure", reference("Bytes")),
        one("handle", string()),
        one("key", reference("Key")),
        one("keys", reference("Keys")),
        one("one_time_key", reference("OneTimeKey")),
        one("operation", reference("OperationView")),
        one("opening", reference("Bytes")),
        one("principal", reference("Id")),
        one("proposal", reference("Proposal")),
        one("proposals", list(&reference("Proposal"))),
        one("verifiers", list(&reference("Verifier"))),
        one("kept_rollouts", list(&reference("KeptRollout"))),
        one("records", list(&reference("Record"))),
        one("rollout", reference("Rollout")),
        one("rollouts", reference("Rollouts")),
        one("rotations", reference("Rotations")),
        one("status", reference("Status")),
        one("steps", reference("Steps")),
        one("store_rows", reference("StoreRows")),
    ]})
}

fn store_row_schema() -> Value {
    let bytes = || reference("Bytes");
    object(&[("name", bytes()), ("revision", time()), ("bytes", number()), ("head", bytes())], &[])
}

#[cfg(test)]
pub(crate) mod tests;
