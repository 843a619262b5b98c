//! Commands: one JSON request each way, and the same [`Command`] on both sides.
//!
//! The principal signs the canonical encoding of the command, so that [`request_of`] and
//! [`command_from_request`] are inverses; pins are a list, since their order is in what is signed.

use std::fmt;
use std::str::FromStr;

use chancery_core::command::{CensusQuery, Command, NewHandle, NewKey};
use chancery_core::context::Pair;
use chancery_core::handle::{LinkId, Operation, Operations};
use chancery_core::id::{HandleId, IdError, OperationId, PrincipalId};
use chancery_core::name::{Name, Scope};
use chancery_core::principal::Role;
use chancery_core::purpose::Purpose;
use chancery_core::state::KeyEvent;
use chancery_core::suite::Suite;
use serde::{Deserialize, Serialize};

pub use audit_query::{AuditQueryBody, QueriedOutcome};
use audit_query::{audit_query, audit_query_body};
pub use campaigns::{
    CampaignProgressBody, DeclareInventoryBody, FoundObject, ScanObject, StartCampaignBody,
    VersionCountObject, VouchedWord,
};
pub use disclose::DiscloseBody;
use disclose::disclosure;
pub use log::{CountUsesBody, InspectStoreBody, OpenRecordBody, PruneAuditBody, ReadFramesBody};
use log::{inspect_store, open_record, prune_audit};
pub use proposals::{ProposeBody, ProposedBody, ProposedObject, RaiseApprovalsBody};
pub use rotate::{
    OverrideBody, ReadStepsBody, RotateBody, StillRolloutBody, overridable_name, overridable_of,
};
pub(crate) use rotations::rule_words;
pub use rotations::{AutomaticObject, RuleBody, RuleWord};
pub use verifiers::{RegisterVerifierBody, ReportBody, VersionCountsObject};

use crate::http::fields::{Base64, object, spelt, text};
use crate::http::routes::{CommandKind, Found, Target};
use crate::http::{HttpError, parse, render};

mod audit_query;
mod campaigns;
mod disclose;
mod log;
mod proposals;
mod rotate;
mod rotations;
mod verifiers;

/// The query of a list: `after=NAME`.
const AFTER: &str = "after=";

spelt!(role: Role, role_name, role_of);

fn role_name(role: Role) -> &'static str {
    role.name()
}

fn role_of(name: &str) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.name() == name)
}

/// Names sixteen bytes as a UUID's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdText(pub [u8; 16]);

impl fmt::Display for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HandleId::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IdText {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Ok(Self(*text.parse::<HandleId>()?.as_bytes()))
    }
}

/// A [`Scope`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeObject {
    /// Such as `production`.
    #[serde(with = "text")]
    pub environment: Name,
    /// Such as `eu-west`.
    #[serde(with = "text")]
    pub region: Name,
    /// Such as `billing`.
    #[serde(with = "text")]
    pub service: Name,
}

impl From<ScopeObject> for Scope {
    fn from(object: ScopeObject) -> Self {
        Self { environment: object.environment, region: object.region, service: object.service }
    }
}

impl From<&Scope> for ScopeObject {
    fn from(scope: &Scope) -> Self {
        let Scope { environment, region, service } = scope.clone();
        Self { environment, region, service }
    }
}

/// The body that makes a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateKeyBody {
    /// Its name.
    #[serde(with = "text")]
    pub name: Name,
    /// What it is for.
    #[serde(with = "text")]
    pub purpose: Purpose,
    /// Its algorithm.
    #[serde(with = "text")]
    pub algorithm: Suite,
    /// Environment, region and service.
    #[serde(deserialize_with = "object")]
    pub scope: ScopeObject,
    /// Whether an answer leaves only when a quorum of witnesses has cosigned its record.
    #[serde(default)]
    pub witnessed: bool,
}

/// The body that brings a key in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportKeyBody {
    /// What it is to be.
    #[serde(deserialize_with = "object")]
    pub key: CreateKeyBody,
    /// The one-time key that it is sealed to.
    #[serde(with = "text")]
    pub one_time_key: IdText,
    /// The PKCS#8 bytes, sealed.
    pub sealed: Base64,
}

/// The body that moves a version along the state table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeVersionBody {
    /// The version; the scheduled one if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// The body that schedules a version's destruction, or takes it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionBody {
    /// The version.
    pub version: u32,
}

/// The body that issues a handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueHandleBody {
    /// The key.
    #[serde(with = "text")]
    pub key: Name,
    /// What may be done, each once.
    pub operations: Vec<String>,
    /// How long it lives, in milliseconds.
    pub ttl_ms: u64,
    /// What the context must contain, each as `name=value`. The order is signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<String>,
    /// The Ed25519 key whose possession its user must prove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Base64>,
    /// To whom; the issuer itself if not said.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub subject: Option<PrincipalId>,
    /// How often it may be used, all that is narrowed from it included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u64>,
}

/// The body that revokes a handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeHandleBody {
    /// The link.
    #[serde(with = "text")]
    pub link: IdText,
}

/// The body that makes a principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreatePrincipalBody {
    /// Its name.
    #[serde(with = "text")]
    pub name: Name,
    /// Its role.
    #[serde(with = "role")]
    pub role: Role,
    /// Its Ed25519 public key.
    pub public_key: Base64,
}

/// The body of a command that says nothing: `{}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptyBody {}

/// A command as a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandHttp {
    /// The method.
    pub method: &'static str,
    /// The path, and the query if there is one.
    pub target: String,
    /// The JSON body; `None` of a `GET`.
    pub body: Option<Vec<u8>>,
}

/// The request of a command.
///
/// # Errors
///
/// [`HttpError::Malformed`] if the command says what JSON has no word for.
pub fn request_of(command: &Command) -> Result<CommandHttp, HttpError> {
    let (method, path) = command.route();
    let target = match command {
        Command::ListKeys { after: Some(name) }
        | Command::ListRollouts { after: Some(name) }
        | Command::ListRotations { after: Some(name) }
        | Command::ReadCensus(CensusQuery::After(Some(name))) => {
            format!("{path}?{AFTER}{name}")
        }
        _ => path,
    };
    Ok(CommandHttp { method, target, body: body_of(command)? })
}

fn body_of(command: &Command) -> Result<Option<Vec<u8>>, HttpError> {
    let body = match command {
        Command::CreateKey(new) => render(&create_key_body(new)),
        Command::ImportKey { new, one_time, sealed } => render(&ImportKeyBody {
            key: create_key_body(new),
            one_time_key: IdText(*one_time),
            sealed: Base64(sealed.clone()),
        }),
        Command::ChangeVersion { version, .. } => render(&ChangeVersionBody { version: *version }),
        Command::ScheduleDestruction { version, .. }
        | Command::CancelDestruction { version, .. } => render(&VersionBody { version: *version }),
        Command::IssueHandle(new) => render(&issue_handle_body(new)),
        Command::RevokeHandle { link } => render(&RevokeHandleBody { link: IdText(link.0) }),
        Command::RevokeIssued { .. }
        | Command::RevokeIssuedOf { .. }
        | Command::BeginImport
        | Command::RemoveVerifier { .. }
        | Command::Withdraw { .. } => render(&EmptyBody {}),
        Command::RegisterVerifier(new) => render(&verifiers::register_body(new)),
        Command::Report(report) => render(&verifiers::report_body(report)),
        Command::DeclareInventory(declaration) => render(&campaigns::declare_body(declaration)),
        Command::OrderCampaign(order) => campaigns::order_body(order),
        Command::ReportCampaign { progress, .. } => render(&CampaignProgressBody::from(*progress)),
        Command::CreatePrincipal { name, role, public } => {
            render(&create_principal_body(name, *role, public))
        }
        Command::Propose { proposed, ttl_ms } => {
            render(&ProposeBody { proposed: proposed.into(), ttl_ms: *ttl_ms })
        }
        Command::Approve { proposed, .. } | Command::CarryOut { proposed, .. } => {
            render(&ProposedBody { proposed: proposed.into() })
        }
        Command::RaiseApprovals { approvals } => {
            render(&RaiseApprovalsBody { approvals: *approvals })
        }
        Command::Rotate(rotation) => rotate::rotate_body(rotation),
        Command::SetRule { rule_for, rule } => render(&rotations::rule_body(rule_for, rule)),
        Command::OrderRollout { order, .. } => rotate::order_body(*order),
        Command::QueryAudit(query) => render(&audit_query_body(query)?),
        Command::InspectStore { after } => {
            render(&InspectStoreBody { after: Base64::unless_empty(after) })
        }
        Command::CountUses { key, version } => {
            render(&CountUsesBody { key: key.clone(), version: *version })
        }
        Command::Disclose(disclosure) => render(&DiscloseBody::from(disclosure)),
        Command::PruneAudit(prune) => render(&PruneAuditBody {
            segments: prune.segments,
            entry: Base64(prune.entry.to_vec()),
            location: prune.location.clone(),
        }),
        Command::OpenRecord { index, groups } => render(&OpenRecordBody {
            log_index: *index,
            groups: groups.iter().map(|group| group.name().to_owned()).collect(),
        }),
        Command::StillRollout { for_ms, .. } => render(&StillRolloutBody { for_ms: *for_ms }),
        Command::ReadSteps { from, .. } => render(&ReadStepsBody { from: *from }),
        Command::ReadFrames { from, skip } => render(&ReadFramesBody { from: *from, skip: *skip }),
        Command::ListKeys { .. }
        | Command::ShowKey { .. }
        | Command::ReadStatus
        | Command::ReadOperation { .. }
        | Command::ListProposals
        | Command::ListRollouts { .. }
        | Command::ListRotations { .. }
        | Command::ShowRollout { .. }
        | Command::ListKeptRollouts { .. }
        | Command::ReadCensus(_)
        | Command::ListVerifiers => return Ok(None),
    };
    Ok(Some(body))
}

fn create_principal_body(name: &Name, role: Role, public: &[u8; 32]) -> CreatePrincipalBody {
    CreatePrincipalBody { name: name.clone(), role, public_key: Base64(public.to_vec()) }
}

fn create_key_body(new: &NewKey) -> CreateKeyBody {
    CreateKeyBody {
        name: new.name.clone(),
        purpose: new.purpose.clone(),
        algorithm: new.suite,
        scope: ScopeObject::from(&new.scope),
        witnessed: new.witnessed,
    }
}

fn issue_handle_body(new: &NewHandle) -> IssueHandleBody {
    let pin = |pair: &Pair| format!("{}={}", pair.name(), pair.value());
    IssueHandleBody {
        key: new.key.clone(),
        operations: new.operations.iter().map(|operation| operation.name().into()).collect(),
        ttl_ms: new.ttl_ms,
        pins: new.pins.iter().map(pin).collect(),
        holder: Base64::unless_empty(&new.holder),
        subject: new.subject,
        max_uses: new.max_uses,
    }
}

/// A request that may be a command's.
#[derive(Clone, Copy, Debug)]
pub struct CommandParts<'r> {
    /// The route that was found.
    pub found: Found<'r>,
    /// The query, without its question mark.
    pub query: Option<&'r str>,
    /// The body.
    pub body: &'r [u8],
}

/// The command of a request.
///
/// # Errors
///
/// [`HttpError`] if the route is no command's, or query or body are not of the form that it takes.
pub fn command_from_request(parts: CommandParts<'_>) -> Result<Command, HttpError> {
    let Target::Command(kind) = parts.found.route.target else {
        return Err(HttpError::UnknownRoute);
    };
    if parts.query.is_some() && !parts.found.route.has_query() {
        return Err(HttpError::Malformed("this route takes no query"));
    }
    if parts.found.route.method == "GET" {
        return read_from(kind, parts);
    }
    change_from(kind, parts)
}

fn read_from(kind: CommandKind, parts: CommandParts<'_>) -> Result<Command, HttpError> {
    if !parts.body.is_empty() {
        return Err(HttpError::Malformed("this route takes no body"));
    }
    Ok(match kind {
        CommandKind::ListKeys => Command::ListKeys { after: parts.query.map(after).transpose()? },
        CommandKind::ShowKey => Command::ShowKey { key: key_in(parts.found)? },
        CommandKind::ReadStatus => Command::ReadStatus,
        CommandKind::ReadOperation => Command::ReadOperation { id: operation_in(parts.found)? },
        CommandKind::ListProposals => Command::ListProposals,
        CommandKind::ListRollouts => {
            Command::ListRollouts { after: parts.query.map(after).transpose()? }
        }
        CommandKind::ListRotations => {
            Command::ListRotations { after: parts.query.map(after).transpose()? }
        }
        CommandKind::ShowRollout => {
            Command::ShowRollout { rollout: rotate::rollout_in(parts.found)? }
        }
        CommandKind::ListKeptRollouts => Command::ListKeptRollouts { key: key_in(parts.found)? },
        CommandKind::ListVerifiers => Command::ListVerifiers,
        CommandKind::ReadCensus => {
            Command::ReadCensus(CensusQuery::After(parts.query.map(after).transpose()?))
        }
        CommandKind::ReadKeyCensus => Command::ReadCensus(CensusQuery::Of(key_in(parts.found)?)),
        _ => return Err(HttpError::UnknownRoute),
    })
}

fn change_from(kind: CommandKind, parts: CommandParts<'_>) -> Result<Command, HttpError> {
    let CommandParts { found, body, .. } = parts;
    Ok(match kind {
        CommandKind::CreateKey => Command::CreateKey(new_key(parse(body)?)),
        CommandKind::ImportKey => import_key(parse(body)?),
        CommandKind::ChangeVersion(event) => change_version(found, event, &parse(body)?)?,
        CommandKind::ScheduleDestruction => {
            let VersionBody { version } = parse(body)?;
            Command::ScheduleDestruction { key: key_in(found)?, version }
        }
        CommandKind::CancelDestruction => {
            let VersionBody { version } = parse(body)?;
            Command::CancelDestruction { key: key_in(found)?, version }
        }
        CommandKind::IssueHandle => Command::IssueHandle(new_handle(parse(body)?)?),
        CommandKind::RevokeHandle => {
            let RevokeHandleBody { link } = parse(body)?;
            Command::RevokeHandle { link: LinkId(link.0) }
        }
        CommandKind::RevokeIssued => {
            let EmptyBody {} = parse(body)?;
            Command::RevokeIssued { key: key_in(found)? }
        }
        CommandKind::RevokeIssuedOf => {
            let EmptyBody {} = parse(body)?;
            Command::RevokeIssuedOf { principal: principal_in(found)? }
        }
        CommandKind::CreatePrincipal => {
            let (name, role, public) = create_principal(parse(body)?)?;
            Command::CreatePrincipal { name, role, public }
        }
        CommandKind::Propose => proposals::propose(parse(body)?)?,
        CommandKind::Approve => proposals::approve(found, parse(body)?)?,
        CommandKind::CarryOut => proposals::carry_out(found, parse(body)?)?,
        CommandKind::Withdraw => {
            let EmptyBody {} = parse(body)?;
            Command::Withdraw { proposal: proposals::proposal_in(found)? }
        }
        CommandKind::RaiseApprovals => {
            let RaiseApprovalsBody { approvals } = parse(body)?;
            Command::RaiseApprovals { approvals }
        }
        CommandKind::Rotate => rotate::rotate(found, parse(body)?)?,
        CommandKind::SetRule => rotations::set_rule(parse(body)?)?,
        CommandKind::OrderRollout(kind) => rotate::order(found, kind, body)?,
        CommandKind::RegisterVerifier => verifiers::register(&parse(body)?)?,
        CommandKind::RemoveVerifier => {
            let EmptyBody {} = parse(body)?;
            Command::RemoveVerifier { principal: principal_in(found)? }
        }
        CommandKind::Report => verifiers::report(parse(body)?)?,
        CommandKind::DeclareInventory => campaigns::declare(key_in(found)?, parse(body)?),
        CommandKind::OrderCampaign(kind) => campaigns::order(found, kind, body)?,
        CommandKind::ReportCampaign => campaigns::report(found, parse(body)?)?,
        CommandKind::BeginImport => {
            let EmptyBody {} = parse(body)?;
            Command::BeginImport
        }
        CommandKind::QueryAudit => Command::QueryAudit(audit_query(parse(body)?)?),
        CommandKind::InspectStore => inspect_store(parse(body)?),
        CommandKind::OpenRecord => open_record(parse(body)?)?,
        CommandKind::StillRollout => {
            let StillRolloutBody { for_ms } = parse(body)?;
            Command::StillRollout { rollout: rotate::rollout_in(found)?, for_ms }
        }
        CommandKind::ReadSteps => {
            let ReadStepsBody { from } = parse(body)?;
            Command::ReadSteps { rollout: rotate::rollout_in(found)?, from }
        }
        CommandKind::ReadFrames => {
            let ReadFramesBody { from, skip } = parse(body)?;
            Command::ReadFrames { from, skip }
        }
        CommandKind::Disclose => Command::Disclose(disclosure(parse(body)?)?),
        CommandKind::PruneAudit => prune_audit(parse(body)?)?,
        CommandKind::CountUses => {
            let CountUsesBody { key, version } = parse(body)?;
            Command::CountUses { key, version }
        }
        _ => return Err(HttpError::UnknownRoute),
    })
}

fn key_in(found: Found<'_>) -> Result<Name, HttpError> {
    let error = HttpError::Malformed(
        "the path names a key by 1 to 64 lower-case letters, digits, `-`, `_` or `.`",
    );
    found.variable.parse().map_err(|_| error)
}

fn operation_in(found: Found<'_>) -> Result<OperationId, HttpError> {
    let error =
        HttpError::Malformed("the path names an operation by a UUID in lower case with hyphens");
    found.variable.parse().map_err(|_| error)
}

fn principal_in(found: Found<'_>) -> Result<PrincipalId, HttpError> {
    let error =
        HttpError::Malformed("the path names a principal by a UUID in lower case with hyphens");
    found.variable.parse().map_err(|_| error)
}

fn after(query: &str) -> Result<Name, HttpError> {
    let error = HttpError::Malformed("the query of a list is `after=` and a key's name");
    query.strip_prefix(AFTER).and_then(|name| name.parse().ok()).ok_or(error)
}

fn new_key(body: CreateKeyBody) -> NewKey {
    NewKey {
        name: body.name,
        purpose: body.purpose,
        suite: body.algorithm,
        scope: body.scope.into(),
        witnessed: body.witnessed,
    }
}

fn import_key(body: ImportKeyBody) -> Command {
    Command::ImportKey {
        new: new_key(body.key),
        one_time: body.one_time_key.0,
        sealed: body.sealed.0,
    }
}

fn change_version(
    found: Found<'_>,
    event: KeyEvent,
    body: &ChangeVersionBody,
) -> Result<Command, HttpError> {
    Ok(Command::ChangeVersion { key: key_in(found)?, version: body.version, event })
}

fn new_handle(body: IssueHandleBody) -> Result<NewHandle, HttpError> {
    let no_pin = HttpError::Malformed("a pin is `name=value`, as a context has it");
    let pins = body.pins.iter().map(|pin| Pair::parse(pin).map_err(|_| no_pin));
    Ok(NewHandle {
        key: body.key,
        operations: operations(&body.operations)?,
        ttl_ms: body.ttl_ms,
        pins: pins.collect::<Result<_, _>>()?,
        holder: body.holder.map(holder).transpose()?.unwrap_or_default(),
        subject: body.subject,
        max_uses: body.max_uses,
    })
}

fn holder(key: Base64) -> Result<Vec<u8>, HttpError> {
    if key.0.len() == 32 {
        Ok(key.0)
    } else {
        Err(HttpError::Malformed("`holder` is an Ed25519 key of 32 bytes"))
    }
}

fn operations(names: &[String]) -> Result<Operations, HttpError> {
    let unknown = HttpError::Malformed("`operations` names an operation that there is not");
    let operations = names.iter().map(|name| Operation::from_name(name).ok_or(unknown));
    let operations = operations.collect::<Result<Vec<_>, _>>()?;
    let set = Operations::of(&operations);
    if set.iter().count() != operations.len() {
        return Err(HttpError::Malformed("`operations` names each operation once"));
    }
    Ok(set)
}

fn create_principal(body: CreatePrincipalBody) -> Result<(Name, Role, [u8; 32]), HttpError> {
    let error = HttpError::Malformed("`public_key` is an Ed25519 key of 32 bytes");
    let public = body.public_key.0.try_into().map_err(|_| error)?;
    Ok((body.name, body.role, public))
}

#[cfg(test)]
mod tests;
