//! The table as the pure core decides it, and the file that it is held to.

use std::fmt;
use std::path::PathBuf;

use chancery_api::http::replies::state_name;
use chancery_api::http::routes::{
    Authentication, CampaignKind, CommandKind, OrderKind, PublicKind, ROUTES, Route, Target,
};
use chancery_core::authority::{Authority, Fresh, Routing, Row, TenantRow, Use};
use chancery_core::automatic::{Rule, RuleFor};
use chancery_core::campaign::{CampaignOrder, Progress};
use chancery_core::census::{Declaration, Found, Scan};
use chancery_core::clock::{Quality, Reading, Served};
use chancery_core::command::{AuditQuery, CensusQuery, Command, NewHandle, NewKey, PruneAudit};
use chancery_core::context::Context;
use chancery_core::disclosure::{Disclosed, Disclosure};
use chancery_core::epoch::Epoch;
use chancery_core::handle::{self, Handle, HandleKeyId, LinkId, Operation, Operations, Root};
use chancery_core::id::{
    CampaignId, HandleId, KeyId, NodeId, OperationId, PrincipalId, ProposalId, RolloutId, TenantId,
};
use chancery_core::key::{Key, KeyVersion, Provenance};
use chancery_core::name::{Name, Scope};
use chancery_core::principal::{Principal, Role};
use chancery_core::proposal::Proposed;
use chancery_core::reason::Reason;
use chancery_core::record_group::{RecordGroup, RecordGroups};
use chancery_core::rollout::{Builtin, Cause, Order, Overridable, Rotation};
use chancery_core::state::{KeyEvent, KeyState};
use chancery_core::verifier::{NewVerifier, Report};
use chancery_crypto::mac::HandleMac;
use chancery_crypto::primitive::random;
use chancery_crypto::rollout::Sha256Cohorts;

use crate::harness::name;

/// What stands before the table in the file.
pub(super) const HEADER: &str = "\
# Who may do what, as decided by the pure core and held against the service by tests/authorization.rs.
# method | path | caller | operation | key state | outcome
";

/// The version that every key of the table has.
pub(super) const VERSION: u32 = 1;

/// Whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Caller {
    Role(Role),
    Handle,
    HandleWithout,
    Nobody,
}

pub(super) const CALLERS: [Caller; 6] = [
    Caller::Role(Role::Operator),
    Caller::Role(Role::Developer),
    Caller::Role(Role::Auditor),
    Caller::Handle,
    Caller::HandleWithout,
    Caller::Nobody,
];

/// The state of the key's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Is(u8),
    ScheduledForDestruction,
}

/// One line of the table without its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) route: &'static Route,
    pub(super) caller: Caller,
    pub(super) operation: Option<Operation>,
    pub(super) state: Option<State>,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Role(role) => role.name(),
            Self::Handle => "handle",
            Self::HandleWithout => "handle-without",
            Self::Nobody => "nobody",
        })
    }
}

impl State {
    pub(super) fn all() -> Vec<Self> {
        let states = (0..).zip(KeyState::ALL).map(|(position, _)| Self::Is(position));
        states.chain([Self::ScheduledForDestruction]).collect()
    }

    pub(super) fn of(state: KeyState) -> Self {
        let position = KeyState::ALL.iter().position(|other| *other == state).unwrap();
        Self::Is(u8::try_from(position).unwrap())
    }

    pub(super) fn key_state(self) -> KeyState {
        match self {
            Self::Is(position) => KeyState::ALL[usize::from(position)],
            Self::ScheduledForDestruction => KeyState::Deactivated,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Is(_) => state_name(self.key_state()),
            Self::ScheduledForDestruction => "destruction-scheduled",
        }
    }

    /// The events that bring a new key there over the wire; none if it cannot be reached.
    pub(super) fn events(self) -> Option<&'static [KeyEvent]> {
        match self.key_state() {
            KeyState::Active => Some(&[]),
            KeyState::Suspended => Some(&[KeyEvent::Suspend]),
            KeyState::Deactivated => Some(&[KeyEvent::Deactivate]),
            KeyState::Compromised => Some(&[KeyEvent::ReportCompromise]),
            KeyState::PreActivation | KeyState::Destroyed => None,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, caller, operation, state } = self;
        let operation = operation.map_or("-", Operation::name);
        let state = state.map_or("-", State::name);
        write!(f, "{} | {} | {caller} | {operation} | {state}", route.method, route.path)
    }
}

/// Every cell there is.
pub(super) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for route in &ROUTES {
        for caller in CALLERS {
            for operation in operations(route) {
                for state in states(route) {
                    cells.push(Cell { route, caller, operation, state });
                }
            }
        }
    }
    cells
}

pub(super) fn operations(route: &Route) -> Vec<Option<Operation>> {
    match route.target {
        Target::Use(operation) | Target::Batch(operation) => vec![Some(operation)],
        Target::Command(CommandKind::IssueHandle) => Operation::ALL.map(Some).to_vec(),
        _ => vec![None],
    }
}

pub(super) fn states(route: &Route) -> Vec<Option<State>> {
    let of_key = matches!(
        route.target,
        Target::Use(_) | Target::Batch(_) | Target::Command(CommandKind::IssueHandle)
    );
    if of_key || route.path.contains("{name}") {
        State::all().into_iter().map(Some).collect()
    } else {
        vec![None]
    }
}

/// Purpose and algorithm of a key that can do `operation`.
pub(super) fn kind_of_key(operation: Option<Operation>) -> (&'static str, &'static str) {
    match operation {
        Some(Operation::Mac | Operation::VerifyMac) => ("mac.bound:matrix", "hmac-sha-256"),
        Some(Operation::Encrypt | Operation::Decrypt | Operation::Rewrap) => {
            ("encrypt.aead:matrix", "aes-256-gcm")
        }
        Some(Operation::Derive) => ("derive.hkdf:matrix", "hkdf-sha-256"),
        Some(Operation::GenerateDataKey | Operation::Unwrap) => ("wrap.aead:matrix", "aes-256-gcm"),
        Some(Operation::Sign | Operation::Verify | Operation::Random) | None => {
            ("sign.bound:matrix", "ed25519")
        }
    }
}

/// What a handle of such a key is for: all that the key can do, `operation` included or left out.
pub(super) fn operations_of_handle(caller: Caller, operation: Operation) -> Operations {
    let purpose: chancery_core::purpose::Purpose = kind_of_key(Some(operation)).0.parse().unwrap();
    let suits = Operation::ALL.into_iter().filter(|other| other.suits(purpose.usage()));
    let suits = suits.filter(|other| caller == Caller::Handle || *other != operation);
    Operations::of(&suits.collect::<Vec<_>>())
}

/// What does not depend on who asks or what for: the route takes another kind of proof, or none.
pub(super) fn by_authentication(cell: &Cell) -> Option<&'static str> {
    // Keys of the table sign no tokens, and no bundle has the number that is asked for.
    match cell.route.target {
        Target::Public(PublicKind::KeyJwks) => return Some(Reason::Forbidden.code()),
        Target::Public(PublicKind::BundleEntries) => return Some(Reason::BundleUnknown.code()),
        _ => {}
    }
    match (cell.route.authentication(), cell.caller) {
        (Authentication::None, _) => Some("ok"),
        (Authentication::Handle, Caller::Role(_) | Caller::Nobody) => {
            Some(Reason::HandleInvalid.code())
        }
        (Authentication::Signature, Caller::Handle | Caller::HandleWithout | Caller::Nobody) => {
            Some(Reason::SignatureInvalid.code())
        }
        (Authentication::Handle | Authentication::Signature, _) => None,
    }
}

/// A public key that everybody knows to be one (RFC 7748, 4.1).
const X25519_BASE_POINT: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};

fn rotation(key: Name) -> Rotation {
    let plan = Builtin::Standard.plan().unwrap();
    Rotation { key, plan, cause: Cause::Requested, suite: None, version: None }
}

/// What a command's route asks for, of the key `key`.
pub(super) fn command(kind: CommandKind, key: &str, operation: Option<Operation>) -> Command {
    let key = || name(key);
    let version = VERSION;
    match kind {
        CommandKind::CreateKey => Command::CreateKey(fresh_key(key())),
        CommandKind::ImportKey => {
            Command::ImportKey { new: fresh_key(key()), one_time: [0; 16], sealed: Vec::new() }
        }
        CommandKind::ChangeVersion(event) => {
            Command::ChangeVersion { key: key(), version: Some(version), event }
        }
        CommandKind::ScheduleDestruction => Command::ScheduleDestruction { key: key(), version },
        CommandKind::CancelDestruction => Command::CancelDestruction { key: key(), version },
        CommandKind::IssueHandle => Command::IssueHandle(NewHandle {
            key: key(),
            operations: Operations::of(&operation.into_iter().collect::<Vec<_>>()),
            ttl_ms: 60_000,
            pins: Vec::new(),
            holder: Vec::new(),
            subject: None,
            max_uses: None,
        }),
        CommandKind::RevokeHandle => Command::RevokeHandle { link: LinkId([7; 16]) },
        CommandKind::RevokeIssued => Command::RevokeIssued { key: key() },
        CommandKind::RevokeIssuedOf => {
            Command::RevokeIssuedOf { principal: PrincipalId::from_bytes([5; 16]) }
        }
        CommandKind::CreatePrincipal => {
            let mut public = [0; 32];
            random(&mut public).unwrap();
            Command::CreatePrincipal { name: key(), role: Role::Auditor, public }
        }
        CommandKind::BeginImport => Command::BeginImport,
        CommandKind::ListKeys => Command::ListKeys { after: None },
        CommandKind::ShowKey => Command::ShowKey { key: key() },
        CommandKind::ReadStatus => Command::ReadStatus,
        CommandKind::ReadOperation => {
            Command::ReadOperation { id: OperationId::from_bytes([1; 16]) }
        }
        CommandKind::QueryAudit => {
            Command::QueryAudit(AuditQuery { limit: 1, ..AuditQuery::default() })
        }
        CommandKind::InspectStore => Command::InspectStore { after: Vec::new() },
        CommandKind::CountUses => Command::CountUses { key: key(), version: 1 },
        CommandKind::Disclose => Command::Disclose(disclosure()),
        CommandKind::Propose => Command::Propose { proposed: proposed(), ttl_ms: 60_000 },
        CommandKind::Approve => Command::Approve { proposal: PROPOSAL, proposed: proposed() },
        CommandKind::Withdraw => Command::Withdraw { proposal: PROPOSAL },
        CommandKind::CarryOut => Command::CarryOut { proposal: PROPOSAL, proposed: proposed() },
        // As it is, so that it stays possible to do everything else.
        CommandKind::RaiseApprovals => Command::RaiseApprovals { approvals: 0 },
        CommandKind::ListProposals => Command::ListProposals,
        CommandKind::Rotate => Command::Rotate(rotation(key())),
        CommandKind::SetRule => {
            Command::SetRule { rule_for: RuleFor::Key(key()), rule: Rule::Never }
        }
        CommandKind::ListRotations => Command::ListRotations { after: None },
        CommandKind::OrderRollout(order) => {
            let order = match order {
                OrderKind::Plain(order) => order,
                OrderKind::Override => Order::Override(Overridable::Quiet),
            };
            Command::OrderRollout { rollout: ROLLOUT, order }
        }
        CommandKind::ListRollouts => Command::ListRollouts { after: None },
        CommandKind::StillRollout => Command::StillRollout { rollout: ROLLOUT, for_ms: 1_000 },
        CommandKind::ReadSteps => Command::ReadSteps { rollout: ROLLOUT, from: 0 },
        CommandKind::ListKeptRollouts => Command::ListKeptRollouts { key: key() },
        CommandKind::ShowRollout => Command::ShowRollout { rollout: ROLLOUT },
        CommandKind::ListVerifiers => Command::ListVerifiers,
        CommandKind::RegisterVerifier => Command::RegisterVerifier(NewVerifier {
            principal: PrincipalId::from_bytes([5; 16]),
            keys: Vec::new(),
        }),
        CommandKind::RemoveVerifier => {
            Command::RemoveVerifier { principal: PrincipalId::from_bytes([5; 16]) }
        }
        CommandKind::Report => Command::Report(report()),
        CommandKind::DeclareInventory => Command::DeclareInventory(Declaration {
            key: key(),
            inventory: key(),
            found: scanned(),
        }),
        CommandKind::OrderCampaign(kind) => Command::OrderCampaign(campaign_order(kind, key())),
        CommandKind::ReportCampaign => {
            Command::ReportCampaign { campaign: CAMPAIGN, progress: Progress::default() }
        }
        CommandKind::ReadCensus => Command::ReadCensus(CensusQuery::After(None)),
        CommandKind::ReadKeyCensus => Command::ReadCensus(CensusQuery::Of(key())),
        // Nothing, so that it may be done anywhere.
        CommandKind::PruneAudit => Command::PruneAudit(PruneAudit {
            segments: 0,
            entry: [0; 32],
            location: "file:archive".into(),
        }),
        CommandKind::ReadFrames => Command::ReadFrames { from: 0, skip: 0 },
        CommandKind::OpenRecord => Command::OpenRecord {
            index: 0,
            groups: RecordGroups::of(&[RecordGroup::Time]).unwrap(),
        },
    }
}

/// No rollout has it.
const ROLLOUT: RolloutId = RolloutId::from_bytes([7; 16]);

/// No campaign has it.
const CAMPAIGN: CampaignId = CampaignId::from_bytes([7; 16]);

fn scanned() -> Found {
    let (as_of, counts) = (Epoch::default(), Vec::new());
    Found::Scanned(Scan { as_of, counts, others: 0, vouched: None })
}

fn campaign_order(kind: CampaignKind, key: Name) -> CampaignOrder {
    match kind {
        CampaignKind::Start => CampaignOrder::Start { inventory: key.clone(), key },
        CampaignKind::Pause => CampaignOrder::Pause(CAMPAIGN),
        CampaignKind::Resume => CampaignOrder::Resume(CAMPAIGN),
        CampaignKind::End => {
            CampaignOrder::End { campaign: CAMPAIGN, progress: Progress::default() }
        }
    }
}

/// No proposal has it.
const PROPOSAL: ProposalId = ProposalId::from_bytes([6; 16]);

fn report() -> Report {
    Report {
        bundle: Epoch::default(),
        as_of: Epoch::default(),
        digest: [0; 32],
        sequence: 1,
        since_ms: 1,
        counts: Vec::new(),
    }
}

fn disclosure() -> Disclosure {
    let what = Disclosed::Records { indices: vec![0] };
    Disclosure { what, recipient: X25519_BASE_POINT }
}

fn proposed() -> Proposed {
    Proposed::Disclose(disclosure())
}

pub(super) fn fresh_key(key: chancery_core::name::Name) -> NewKey {
    let (purpose, suite) = kind_of_key(None);
    NewKey {
        name: key,
        purpose: purpose.parse().unwrap(),
        suite: suite.parse().unwrap(),
        scope: scope(),
        witnessed: false,
    }
}

pub(super) fn scope() -> Scope {
    let part = || name("default");
    Scope { environment: part(), region: part(), service: part() }
}

/// What the pure core says, for one key in one state.
pub(super) struct Core {
    pub(super) authority: Authority,
    pub(super) key: Key,
    pub(super) mac: HandleMac,
}

pub(super) const TENANT: TenantId = TenantId::from_bytes([1; 16]);
pub(super) const HANDLE_KEY: HandleKeyId = HandleKeyId(1);
pub(super) const NOW: Reading = Reading {
    unix_ms: 1_000_000,
    quality: Quality::Plausible,
    served: Served::from_ms(0),
    wall_ms: 1_000_000,
};

impl Core {
    pub(super) fn new(cell: &Cell) -> Self {
        let mut authority = Authority::default();
        let epoch = Epoch::default();
        let tenant = TenantRow {
            id: TENANT,
            name: name("default"),
            epoch,
            min_issue_epoch: epoch,
            approvals: 0,
        };
        authority.apply(Row::Tenant(tenant)).unwrap();
        let key = key_in(cell.state.unwrap_or(State::of(KeyState::Active)), cell.operation);
        authority.apply(Row::Key(key.clone())).unwrap();
        Self { authority, key, mac: HandleMac::new([(HANDLE_KEY, &[3; 32])]) }
    }

    pub(super) fn outcome(&self, cell: &Cell) -> &'static str {
        let decided = match (cell.route.target, cell.caller) {
            (Target::Command(kind), Caller::Role(role)) => self.decide(role, kind, cell.operation),
            (Target::Use(operation) | Target::Batch(operation), caller) => {
                self.permit(caller, operation)
            }
            _ => Ok(()),
        };
        decided.map_or_else(Reason::code, |()| "ok")
    }

    pub(super) fn decide(
        &self,
        role: Role,
        kind: CommandKind,
        of: Option<Operation>,
    ) -> Result<(), Reason> {
        let of_new = matches!(kind, CommandKind::CreateKey | CommandKind::ImportKey);
        let asked = command(kind, if of_new { "new" } else { "matrix" }, of);
        let principal = Principal {
            id: PrincipalId::from_bytes([5; 16]),
            tenant: TENANT,
            name: name(role.name()),
            role,
            public: [5; 32],
            min_issue_epoch: Epoch::default(),
        };
        let fresh = Fresh {
            node: NodeId::from_bytes([4; 16]),
            key: KeyId::from_bytes([8; 16]),
            handle: HandleId::from_bytes([9; 16]),
            principal: PrincipalId::from_bytes([10; 16]),
            proposal: ProposalId::from_bytes([6; 16]),
            rollout: RolloutId::from_bytes([7; 16]),
            campaign: CAMPAIGN,
            plan_digest: [7; 32],
            public: Vec::new(),
        };
        let decided = self.authority.decide(&principal, &asked, fresh, NOW);
        decided.map(|_| ()).map_err(|refusal| refusal.reason)
    }

    pub(super) fn permit(&self, caller: Caller, operation: Operation) -> Result<(), Reason> {
        let root = Root {
            id: HandleId::from_bytes([9; 16]),
            tenant: TENANT,
            key: self.key.id,
            purpose: self.key.purpose.clone(),
            issuer: PrincipalId::from_bytes([5; 16]),
            subject: PrincipalId::from_bytes([5; 16]),
            issue_epoch: Epoch::default(),
            issued_ms: NOW.unix_ms,
            expires_ms: NOW.unix_ms + 1,
            operations: operations_of_handle(caller, operation),
        };
        let minted = handle::mint(HANDLE_KEY, &root, &self.mac).unwrap();
        let handle = Handle::open(&minted, &self.mac).unwrap();
        let context = Context::default();
        let asked = Use {
            handle: &handle,
            operation,
            context: &context,
            version: None,
            also: None,
            routing: Routing { key: &[], cohorts: &Sha256Cohorts },
            proven: &[],
            is_cosigned: false,
            now: NOW,
        };
        self.authority.permit(&asked).map(|_| ())
    }
}

pub(super) fn key_in(state: State, operation: Option<Operation>) -> Key {
    let (purpose, suite) = kind_of_key(operation);
    let scheduled = state == State::ScheduledForDestruction;
    let version = KeyVersion {
        number: VERSION,
        state: state.key_state(),
        created_ms: 1,
        provenance: Provenance::Generated,
        public: Vec::new(),
        destruction: scheduled.then_some(Served::from_ms(1)),
        published: None,
        active_from: None,
        active_at: None,
        given_up: None,
        suite: None,
    };
    Key {
        id: KeyId::from_bytes([7; 16]),
        tenant: TENANT,
        name: name("matrix"),
        scope: scope(),
        purpose: purpose.parse().unwrap(),
        suite: suite.parse().unwrap(),
        scheduled: VERSION,
        authority_epoch: Epoch::default(),
        min_issue_epoch: Epoch::default(),
        versions: vec![version],
        witnessed: false,
        moving: None,
    }
}

pub(super) fn outcome(cell: &Cell) -> &'static str {
    by_authentication(cell).unwrap_or_else(|| Core::new(cell).outcome(cell))
}

pub(super) fn table() -> String {
    let mut lines: Vec<_> =
        cells().iter().map(|cell| format!("{cell} | {}\n", outcome(cell))).collect();
    lines.sort();
    format!("{HEADER}{}", lines.concat())
}

pub(super) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/authorization.txt")
}

#[test]
fn the_table_in_the_file_is_what_the_core_decides() {
    let table = table();
    if std::env::var_os("CHANCERY_WRITE_AUTHORIZATION").is_some() {
        std::fs::write(path(), &table).unwrap();
    }
    let file = std::fs::read_to_string(path()).unwrap_or_default();
    for route in &ROUTES {
        let begins = format!("{} | {} | ", route.method, route.path);
        assert!(file.lines().any(|line| line.starts_with(&begins)), "not in the file: {begins}");
    }
    let (file, table): (Vec<_>, Vec<_>) = (file.lines().collect(), table.lines().collect());
    let differs = file.iter().zip(&table).find(|(one, other)| one != other);
    assert_eq!(differs, None, "the file, and what is decided");
    assert_eq!(file.len(), table.len());
}
