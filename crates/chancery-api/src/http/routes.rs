//! The table of routes: what is served, with which method, and what it asks of its caller.
//!
//! A path has one spelling. It is compared byte for byte, and whatever could be another spelling of
//! something, such as an escape, a dot segment, an empty segment or an upper-case letter, is malformed
//! before it is looked up.

use chancery_core::handle::Operation;
use chancery_core::id::OperationId;
use chancery_core::name::Name;
use chancery_core::rollout::Order;
use chancery_core::state::KeyEvent;

use crate::http::HttpError;

/// What a request has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// A handle, in `Authorization`.
    Handle,
    /// Nothing.
    None,
    /// A principal's signature.
    Signature,
}

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Uses of a key, several at once.
    Batch(Operation),
    /// A command.
    Command(CommandKind),
    /// Whether the front is alive.
    Health,
    /// A published file of the log.
    Log,
    /// Counters, as Prometheus reads them.
    Metrics,
    /// The description of this API.
    OpenApi,
    /// What anybody may know of keys.
    Public(PublicKind),
    /// Whether the signer can serve.
    Ready,
    /// One use of a key.
    Use(Operation),
}

/// What anybody may know of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublicKind {
    /// The head of the latest trust bundle.
    Bundle,
    /// Entries of a trust bundle.
    BundleEntries,
    /// The versions of every key that verify tokens.
    Jwks,
    /// Those of one key.
    KeyJwks,
}

/// A command, without what it says. In the order of [`chancery_core::command::Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandKind {
    /// Make a key.
    CreateKey,
    /// Bring a key in.
    ImportKey,
    /// Move a version along the state table.
    ChangeVersion(KeyEvent),
    /// Schedule a version's destruction.
    ScheduleDestruction,
    /// Take a scheduled destruction back.
    CancelDestruction,
    /// Issue a handle.
    IssueHandle,
    /// Revoke a handle.
    RevokeHandle,
    /// Revoke every handle of a key.
    RevokeIssued,
    /// Revoke every handle of a principal that was issued before now.
    RevokeIssuedOf,
    /// Make a principal.
    CreatePrincipal,
    /// Ask for a one-time key.
    BeginImport,
    /// Read the keys.
    ListKeys,
    /// Read one key.
    ShowKey,
    /// Read how the service stands.
    ReadStatus,
    /// Read one operation.
    ReadOperation,
    /// Read audit records.
    QueryAudit,
    /// Read the store's sealed rows.
    InspectStore,
    /// Open groups of an audit record.
    OpenRecord,
    /// Read sealed frames of the audit log.
    ReadFrames,
    /// Put on record how many uses of a key version there are.
    CountUses,
    /// Hand out what opens audit records.
    Disclose,
    /// Remove archived segments of the audit log.
    PruneAudit,
    /// Propose what takes approvals.
    Propose,
    /// Approve it.
    Approve,
    /// Take it off the table.
    Withdraw,
    /// Do what was proposed and approved.
    CarryOut,
    /// Raise the number of approvals.
    RaiseApprovals,
    /// Read the proposals.
    ListProposals,
    /// Bring another version of a key in.
    Rotate,
    /// Order something of a rollout.
    OrderRollout(OrderKind),
    /// Have the service not look at the rollout of a scratch key.
    StillRollout,
    /// Read the latest rollout of each key.
    ListRollouts,
    /// Read one rollout.
    ShowRollout,
    /// Say by which rule keys are rotated.
    SetRule,
    /// Read which keys are rotated by rules.
    ListRotations,
    /// Read its steps.
    ReadSteps,
    /// Read the rollouts of a key of which steps are kept.
    ListKeptRollouts,
    /// Register a verifier.
    RegisterVerifier,
    /// Remove it.
    RemoveVerifier,
    /// Say which bundle a verifier uses, and what came of its verifying.
    Report,
    /// Read the registered verifiers.
    ListVerifiers,
    /// Declare an inventory of ciphertexts.
    DeclareInventory,
    /// Order something of a campaign.
    OrderCampaign(CampaignKind),
    /// Read what is known of the ciphertexts of keys that have inventories.
    ReadCensus,
    /// Read what is known of those of one key.
    ReadKeyCensus,
    /// Say how far a campaign is.
    ReportCampaign,
}

/// An order to a campaign, without what its body says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CampaignKind {
    /// To begin.
    Start,
    /// To stay where it is.
    Pause,
    /// To go on.
    Resume,
    /// To be over.
    End,
}

/// An order to a rollout, without what its body says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderKind {
    /// One that says nothing besides.
    Plain(Order),
    /// To go past the gate that the body names.
    Override,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path; a segment in braces stands for a name or an id, `{file}` for the rest of the path.
    pub path: &'static str,
    /// What it asks for.
    pub target: Target,
}

impl Route {
    /// What a request has to show.
    #[must_use]
    pub const fn authentication(&self) -> Authentication {
        match self.target {
            Target::Use(_) | Target::Batch(_) => Authentication::Handle,
            Target::Command(_) => Authentication::Signature,
            Target::Health
            | Target::Log
            | Target::Metrics
            | Target::OpenApi
            | Target::Public(_)
            | Target::Ready => Authentication::None,
        }
    }

    /// Whether a query may follow its path.
    #[must_use]
    pub const fn has_query(&self) -> bool {
        matches!(
            self.target,
            Target::Command(
                CommandKind::ListKeys
                    | CommandKind::ListRollouts
                    | CommandKind::ListRotations
                    | CommandKind::ReadCensus
            ) | Target::Public(PublicKind::Bundle)
        )
    }

    /// The value of its one variable segment in `path`, or `""` if it has none; `None` if it is another path.
    fn matches<'p>(&self, path: &'p str) -> Option<&'p str> {
        if let Some(directory) = self.path.strip_suffix("{file}") {
            return path.strip_prefix(directory).filter(|file| !file.is_empty());
        }
        let mut variable = "";
        let mut segments = path.split('/');
        for expected in self.path.split('/') {
            let segment = segments.next()?;
            if expected.starts_with('{') {
                variable = segment;
            } else if expected != segment {
                return None;
            }
        }
        segments.next().is_none().then_some(variable)
    }
}

const fn get(path: &'static str, target: Target) -> Route {
    Route { method: "GET", path, target }
}

const fn post(path: &'static str, target: Target) -> Route {
    Route { method: "POST", path, target }
}

const fn event(path: &'static str, event: KeyEvent) -> Route {
    post(path, Target::Command(CommandKind::ChangeVersion(event)))
}

const fn command(path: &'static str, kind: CommandKind) -> Route {
    post(path, Target::Command(kind))
}

const fn order(path: &'static str, order: Order) -> Route {
    command(path, CommandKind::OrderRollout(OrderKind::Plain(order)))
}

const fn campaign(path: &'static str, kind: CampaignKind) -> Route {
    command(path, CommandKind::OrderCampaign(kind))
}

const fn read(path: &'static str, kind: CommandKind) -> Route {
    get(path, Target::Command(kind))
}

const fn public(path: &'static str, kind: PublicKind) -> Route {
    get(path, Target::Public(kind))
}

/// Everything that is served.
pub const ROUTES: [Route; 86] = [
    post("/v1/sign", Target::Use(Operation::Sign)),
    post("/v1/sign/batch", Target::Batch(Operation::Sign)),
    post("/v1/verify", Target::Use(Operation::Verify)),
    post("/v1/verify/batch", Target::Batch(Operation::Verify)),
    post("/v1/mac", Target::Use(Operation::Mac)),
    post("/v1/mac/batch", Target::Batch(Operation::Mac)),
    post("/v1/verify-mac", Target::Use(Operation::VerifyMac)),
    post("/v1/verify-mac/batch", Target::Batch(Operation::VerifyMac)),
    post("/v1/encrypt", Target::Use(Operation::Encrypt)),
    post("/v1/encrypt/batch", Target::Batch(Operation::Encrypt)),
    post("/v1/decrypt", Target::Use(Operation::Decrypt)),
    post("/v1/decrypt/batch", Target::Batch(Operation::Decrypt)),
    post("/v1/derive", Target::Use(Operation::Derive)),
    post("/v1/generate-data-key", Target::Use(Operation::GenerateDataKey)),
    post("/v1/unwrap", Target::Use(Operation::Unwrap)),
    post("/v1/rewrap", Target::Use(Operation::Rewrap)),
    post("/v1/rewrap/batch", Target::Batch(Operation::Rewrap)),
    post("/v1/random", Target::Use(Operation::Random)),
    command("/v1/keys", CommandKind::CreateKey),
    read("/v1/keys", CommandKind::ListKeys),
    command("/v1/keys/import", CommandKind::ImportKey),
    read("/v1/keys/{name}", CommandKind::ShowKey),
    event("/v1/keys/{name}/activate", KeyEvent::Activate),
    event("/v1/keys/{name}/suspend", KeyEvent::Suspend),
    event("/v1/keys/{name}/resume", KeyEvent::Resume),
    event("/v1/keys/{name}/deactivate", KeyEvent::Deactivate),
    event("/v1/keys/{name}/compromise", KeyEvent::ReportCompromise),
    event("/v1/keys/{name}/destroy-now", KeyEvent::Destroy),
    command("/v1/keys/{name}/destroy", CommandKind::ScheduleDestruction),
    command("/v1/keys/{name}/cancel-destroy", CommandKind::CancelDestruction),
    command("/v1/keys/{name}/revoke-handles", CommandKind::RevokeIssued),
    command("/v1/keys/{name}/rotate", CommandKind::Rotate),
    command("/v1/rotations", CommandKind::SetRule),
    read("/v1/rotations", CommandKind::ListRotations),
    command("/v1/keys/{name}/inventories", CommandKind::DeclareInventory),
    read("/v1/keys/{name}/census", CommandKind::ReadKeyCensus),
    read("/v1/census", CommandKind::ReadCensus),
    campaign("/v1/campaigns", CampaignKind::Start),
    campaign("/v1/campaigns/{id}/pause", CampaignKind::Pause),
    campaign("/v1/campaigns/{id}/resume", CampaignKind::Resume),
    campaign("/v1/campaigns/{id}/end", CampaignKind::End),
    command("/v1/campaigns/{id}/report", CommandKind::ReportCampaign),
    read("/v1/keys/{name}/rollouts", CommandKind::ListKeptRollouts),
    read("/v1/rollouts", CommandKind::ListRollouts),
    read("/v1/rollouts/{id}", CommandKind::ShowRollout),
    command("/v1/rollouts/{id}/steps", CommandKind::ReadSteps),
    command("/v1/rollouts/{id}/still", CommandKind::StillRollout),
    order("/v1/rollouts/{id}/pause", Order::Pause),
    order("/v1/rollouts/{id}/resume", Order::Resume),
    order("/v1/rollouts/{id}/advance", Order::Advance),
    order("/v1/rollouts/{id}/rollback", Order::RollBack),
    order("/v1/rollouts/{id}/abort", Order::Abort),
    command("/v1/rollouts/{id}/override", CommandKind::OrderRollout(OrderKind::Override)),
    command("/v1/imports", CommandKind::BeginImport),
    command("/v1/handles", CommandKind::IssueHandle),
    command("/v1/handles/revoke", CommandKind::RevokeHandle),
    command("/v1/principals", CommandKind::CreatePrincipal),
    command("/v1/principals/{id}/revoke-handles", CommandKind::RevokeIssuedOf),
    command("/v1/proposals", CommandKind::Propose),
    read("/v1/proposals", CommandKind::ListProposals),
    command("/v1/proposals/{id}/approve", CommandKind::Approve),
    command("/v1/proposals/{id}/withdraw", CommandKind::Withdraw),
    command("/v1/proposals/{id}/carry-out", CommandKind::CarryOut),
    command("/v1/posture/approvals", CommandKind::RaiseApprovals),
    read("/v1/status", CommandKind::ReadStatus),
    read("/v1/operations/{id}", CommandKind::ReadOperation),
    command("/v1/audit/query", CommandKind::QueryAudit),
    command("/v1/audit/open", CommandKind::OpenRecord),
    command("/v1/audit/frames", CommandKind::ReadFrames),
    command("/v1/audit/count", CommandKind::CountUses),
    command("/v1/audit/disclose", CommandKind::Disclose),
    command("/v1/audit/prune", CommandKind::PruneAudit),
    command("/v1/store/inspect", CommandKind::InspectStore),
    command("/v1/verifiers", CommandKind::RegisterVerifier),
    read("/v1/verifiers", CommandKind::ListVerifiers),
    command("/v1/verifiers/report", CommandKind::Report),
    command("/v1/verifiers/{id}/remove", CommandKind::RemoveVerifier),
    public("/v1/bundle", PublicKind::Bundle),
    public("/v1/bundle/entries/{file}", PublicKind::BundleEntries),
    public("/v1/jwks", PublicKind::Jwks),
    public("/v1/keys/{name}/jwks", PublicKind::KeyJwks),
    get("/log/{file}", Target::Log),
    get("/healthz", Target::Health),
    get("/readyz", Target::Ready),
    get("/metrics", Target::Metrics),
    get("/openapi.json", Target::OpenApi),
];

/// A route, and the value of its variable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'p> {
    /// The row.
    pub route: &'static Route,
    /// What stands in the path where the row has a variable; `""` if it has none.
    pub variable: &'p str,
}

/// A request line as it came, without its query.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'p> {
    /// The method.
    pub method: &'p str,
    /// The path.
    pub path: &'p str,
}

/// Finds the row of a request.
///
/// # Errors
///
/// [`HttpError::Malformed`] if the path is spelt as no path of ours is, [`HttpError::UnknownRoute`] if no
/// row has it, [`HttpError::MethodNotAllowed`] if rows have it with other methods alone.
pub fn find(line: RequestLine<'_>) -> Result<Found<'_>, HttpError> {
    check_spelling(line.path)?;
    let mut error = HttpError::UnknownRoute;
    for route in &ROUTES {
        let Some(variable) = route.matches(line.path) else { continue };
        if route.method == line.method {
            check_variable(route, variable)?;
            return Ok(Found { route, variable });
        }
        error = HttpError::MethodNotAllowed;
    }
    Err(error)
}

/// Refuses a name or an id that is none, before anything else is looked at.
fn check_variable(route: &Route, variable: &str) -> Result<(), HttpError> {
    let is_well = match route.path {
        path if path.contains("{name}") => variable.parse::<Name>().is_ok(),
        path if path.contains("{id}") => variable.parse::<OperationId>().is_ok(),
        _ => true,
    };
    if is_well {
        Ok(())
    } else {
        Err(HttpError::Malformed("the path names something by what is no name or id"))
    }
}

/// The methods that a path is served with, for `Allow` (RFC 9110, 10.2.1).
#[must_use]
pub fn methods_of(path: &str) -> Vec<&'static str> {
    let rows = ROUTES.iter().filter(|route| route.matches(path).is_some());
    rows.map(|route| route.method).collect()
}

/// Refuses every spelling that no path of ours has.
fn check_spelling(path: &str) -> Result<(), HttpError> {
    let is_ours =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-_.".contains(&byte);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..");
    let segments = path.strip_prefix('/').ok_or(MISSPELT)?;
    if path.bytes().all(is_ours) && segments.split('/').all(is_segment) {
        Ok(())
    } else {
        Err(MISSPELT)
    }
}

const MISSPELT: HttpError = HttpError::Malformed(
    "a path here has lower-case letters, digits, `-`, `_` and `.`, and neither escapes nor empty or dot segments",
);

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01010101-0101-0101-0101-010101010101";

    #[test]
    fn a_variable_that_is_no_name_or_id_is_malformed() {
        for path in [
            "/v1/keys/-a",
            "/v1/keys/_a",
            "/v1/keys/-a/suspend",
            "/v1/operations/a",
            "/v1/operations/import",
        ] {
            let method = if path.ends_with("suspend") { "POST" } else { "GET" };
            assert!(
                matches!(find(RequestLine { method, path }), Err(HttpError::Malformed(_))),
                "{path}"
            );
        }
    }

    #[test]
    fn every_row_is_found_and_under_no_other_method() {
        for route in &ROUTES {
            let path = route.path.replace("{name}", "invoices").replace("{id}", ID);
            let path = path.replace("{file}", "tile/0/x001/067.p/5");
            let found = find(RequestLine { method: route.method, path: &path }).unwrap();
            assert_eq!(found.route, route);
            assert_eq!(found.variable.is_empty(), !route.path.contains('{'));
            for method in ["HEAD", "OPTIONS", "PUT", "DELETE", "get", ""] {
                assert_eq!(
                    find(RequestLine { method, path: &path }),
                    Err(HttpError::MethodNotAllowed)
                );
            }
        }
    }

    #[test]
    fn every_operation_has_its_route() {
        for operation in Operation::ALL {
            let path = format!("/v1/{}", operation.name());
            let found = find(RequestLine { method: "POST", path: &path }).unwrap();
            assert_eq!(found.route.target, Target::Use(operation));
        }
    }

    #[test]
    fn no_two_rows_serve_one_request() {
        for (position, one) in ROUTES.iter().enumerate() {
            for other in &ROUTES[position + 1..] {
                assert!(
                    one.method != other.method || one.matches(other.path).is_none(),
                    "{}",
                    other.path
                );
            }
        }
    }

    #[test]
    fn other_spellings_are_malformed() {
        for path in [
            "",
            "v1/keys",
            "/v1/keys/",
            "//v1/keys",
            "/v1//keys",
            "/v1/./keys",
            "/v1/../v1/keys",
            "/V1/keys",
            "/v1/keys/%61",
            "/v1/keys;a",
            "/v1\\keys",
            "/v1/keys/é",
            "/v1/keys/a b",
            "/v1/keys?x",
            "*",
            "/",
        ] {
            let found = find(RequestLine { method: "GET", path });
            assert!(matches!(found, Err(HttpError::Malformed(_))), "{path}");
        }
    }
}
