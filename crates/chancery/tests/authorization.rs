//! Who may do what: every route, caller, operation and key state, with what comes of it.
//!
//! `authorization.txt` holds the whole table, one cell a line and sorted. It is made by the pure core, where
//! authority is decided; a second test holds the running service to every line whose key state it can reach,
//! so that the file is what the service does. A route that is missing in the file fails the first test, and
//! so does any cell that changed: run with `CHANCERY_WRITE_AUTHORIZATION=1` to write the file anew, and
//! review the difference.
//!
//! | caller | shows |
//! |---|---|
//! | `operator`, `developer`, `auditor` | the signature of a principal of that role, and no handle |
//! | `handle` | a handle of the key for all that the key can do, and no signature |
//! | `handle-without` | a handle of the key for all of that but the operation |
//! | `nobody` | neither |
//!
//! The key is one that can do the operation; a route that names no key has no state. Not reached over the
//! wire: `pre-activation`, since keys are made Active, and `destroyed`, which takes 30 days.

mod harness;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use chancery_api::http::fields::Base64;
use chancery_api::http::replies::{AnswerObject, state_name};
use chancery_api::http::routes::{Authentication, CommandKind, ROUTES, Route, Target};
use chancery_client::{Client, KeyHandle, Profile, seal_import};
use chancery_core::authority::{Authority, Fresh, Row, TenantRow, Use};
use chancery_core::clock::{Quality, Reading, Served};
use chancery_core::command::{AuditQuery, Command, NewHandle, NewKey};
use chancery_core::context::Context;
use chancery_core::epoch::Epoch;
use chancery_core::handle::{self, Handle, HandleKeyId, LinkId, Operation, Operations, Root};
use chancery_core::id::{HandleId, KeyId, OperationId, PrincipalId, TenantId};
use chancery_core::key::{Key, KeyVersion, Provenance};
use chancery_core::name::Scope;
use chancery_core::principal::{Principal, Role};
use chancery_core::reason::Reason;
use chancery_core::state::{KeyEvent, KeyState};
use chancery_crypto::mac::HandleMac;
use chancery_crypto::primitive::random;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::harness::{Service, ask, committed, create_key, issue, name, new_handle};
use crate::wire::{Answer, Request, Stream, Wire, exchange};

/// What stands before the table in the file.
const HEADER: &str = "\
# Who may do what, as decided by the pure core and held against the service by tests/authorization.rs.
# method | path | caller | operation | key state | outcome
";

/// The version that every key of the table has.
const VERSION: u32 = 1;

/// Whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Role(Role),
    Handle,
    HandleWithout,
    Nobody,
}

const CALLERS: [Caller; 6] = [
    Caller::Role(Role::Operator),
    Caller::Role(Role::Developer),
    Caller::Role(Role::Auditor),
    Caller::Handle,
    Caller::HandleWithout,
    Caller::Nobody,
];

/// The state of the key's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Is(u8),
    ScheduledForDestruction,
}

/// One line of the table without its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    route: &'static Route,
    caller: Caller,
    operation: Option<Operation>,
    state: Option<State>,
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
    fn all() -> Vec<Self> {
        let states = (0..).zip(KeyState::ALL).map(|(position, _)| Self::Is(position));
        states.chain([Self::ScheduledForDestruction]).collect()
    }

    fn of(state: KeyState) -> Self {
        let position = KeyState::ALL.iter().position(|other| *other == state).unwrap();
        Self::Is(u8::try_from(position).unwrap())
    }

    fn key_state(self) -> KeyState {
        match self {
            Self::Is(position) => KeyState::ALL[usize::from(position)],
            Self::ScheduledForDestruction => KeyState::Deactivated,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Is(_) => state_name(self.key_state()),
            Self::ScheduledForDestruction => "destruction-scheduled",
        }
    }

    /// The events that bring a new key there over the wire; none if it cannot be reached.
    fn events(self) -> Option<&'static [KeyEvent]> {
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
fn cells() -> Vec<Cell> {
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

fn operations(route: &Route) -> Vec<Option<Operation>> {
    match route.target {
        Target::Use(operation) | Target::Batch(operation) => vec![Some(operation)],
        Target::Command(CommandKind::IssueHandle) => Operation::ALL.map(Some).to_vec(),
        _ => vec![None],
    }
}

fn states(route: &Route) -> Vec<Option<State>> {
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
fn kind_of_key(operation: Option<Operation>) -> (&'static str, &'static str) {
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
fn operations_of_handle(caller: Caller, operation: Operation) -> Operations {
    let purpose: chancery_core::purpose::Purpose = kind_of_key(Some(operation)).0.parse().unwrap();
    let suits = Operation::ALL.into_iter().filter(|other| other.suits(purpose.usage()));
    let suits = suits.filter(|other| caller == Caller::Handle || *other != operation);
    Operations::of(&suits.collect::<Vec<_>>())
}

/// What does not depend on who asks or what for: the route takes another kind of proof, or none.
fn by_authentication(cell: &Cell) -> Option<&'static str> {
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

/// What a command's route asks for, of the key `key`.
fn command(kind: CommandKind, key: &str, operation: Option<Operation>) -> Command {
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
        }),
        CommandKind::RevokeHandle => Command::RevokeHandle { link: LinkId([7; 16]) },
        CommandKind::RevokeIssued => Command::RevokeIssued { key: key() },
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
    }
}

fn fresh_key(key: chancery_core::name::Name) -> NewKey {
    let (purpose, suite) = kind_of_key(None);
    NewKey {
        name: key,
        purpose: purpose.parse().unwrap(),
        suite: suite.parse().unwrap(),
        scope: scope(),
    }
}

fn scope() -> Scope {
    let part = || name("default");
    Scope { environment: part(), region: part(), service: part() }
}

/// What the pure core says, for one key in one state.
struct Core {
    authority: Authority,
    key: Key,
    mac: HandleMac,
}

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const HANDLE_KEY: HandleKeyId = HandleKeyId(1);
const NOW: Reading =
    Reading { unix_ms: 1_000_000, quality: Quality::Plausible, served: Served::from_ms(0) };

impl Core {
    fn new(cell: &Cell) -> Self {
        let mut authority = Authority::default();
        let epoch = Epoch::default();
        let tenant = TenantRow { id: TENANT, name: name("default"), epoch, min_issue_epoch: epoch };
        authority.apply(Row::Tenant(tenant)).unwrap();
        let key = key_in(cell.state.unwrap_or(State::of(KeyState::Active)), cell.operation);
        authority.apply(Row::Key(key.clone())).unwrap();
        Self { authority, key, mac: HandleMac::new([(HANDLE_KEY, &[3; 32])]) }
    }

    fn outcome(&self, cell: &Cell) -> &'static str {
        let decided = match (cell.route.target, cell.caller) {
            (Target::Command(kind), Caller::Role(role)) => self.decide(role, kind, cell.operation),
            (Target::Use(operation) | Target::Batch(operation), caller) => {
                self.permit(caller, operation)
            }
            _ => Ok(()),
        };
        decided.map_or_else(Reason::code, |()| "ok")
    }

    fn decide(&self, role: Role, kind: CommandKind, of: Option<Operation>) -> Result<(), Reason> {
        let of_new = matches!(kind, CommandKind::CreateKey | CommandKind::ImportKey);
        let asked = command(kind, if of_new { "new" } else { "matrix" }, of);
        let principal = Principal {
            id: PrincipalId::from_bytes([5; 16]),
            tenant: TENANT,
            name: name(role.name()),
            role,
            public: [5; 32],
        };
        let fresh = Fresh {
            key: KeyId::from_bytes([8; 16]),
            handle: HandleId::from_bytes([9; 16]),
            principal: PrincipalId::from_bytes([10; 16]),
            public: Vec::new(),
        };
        let decided = self.authority.decide(&principal, &asked, fresh, NOW);
        decided.map(|_| ()).map_err(|refusal| refusal.reason)
    }

    fn permit(&self, caller: Caller, operation: Operation) -> Result<(), Reason> {
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
            proven: &[],
            now: NOW,
        };
        self.authority.permit(&asked).map(|_| ())
    }
}

fn key_in(state: State, operation: Option<Operation>) -> Key {
    let (purpose, suite) = kind_of_key(operation);
    let scheduled = state == State::ScheduledForDestruction;
    let version = KeyVersion {
        number: VERSION,
        state: state.key_state(),
        created_ms: 1,
        provenance: Provenance::Generated,
        public: Vec::new(),
        destruction: scheduled.then_some(Served::from_ms(1)),
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
    }
}

fn outcome(cell: &Cell) -> &'static str {
    by_authentication(cell).unwrap_or_else(|| Core::new(cell).outcome(cell))
}

fn table() -> String {
    let mut lines: Vec<_> =
        cells().iter().map(|cell| format!("{cell} | {}\n", outcome(cell))).collect();
    lines.sort();
    format!("{HEADER}{}", lines.concat())
}

fn path() -> PathBuf {
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

/// A running service, and what a caller needs.
struct Running {
    service: Service,
    wire: Wire,
    stream: Option<Stream>,
    operator: Client,
    profiles: BTreeMap<Role, Profile>,
    keys: BTreeMap<String, Ready>,
    made: u32,
}

/// A key brought into a state, with handles and inputs from before.
#[derive(Clone)]
struct Ready {
    key: String,
    handle: KeyHandle,
    without: KeyHandle,
    body: Value,
}

impl Running {
    fn start() -> Self {
        let service = Service::start();
        let wire = Wire::to(&service);
        let operator = service.client();
        let profiles = [Role::Developer, Role::Auditor].map(|role| (role, enrol(&service, role)));
        let profiles = profiles.into_iter().chain([(Role::Operator, service.profile())]).collect();
        let keys = BTreeMap::new();
        Self { service, wire, stream: None, operator, profiles, keys, made: 0 }
    }

    fn send(&mut self, request: &Request) -> Answer {
        let bytes = request.to_bytes();
        let kept = self.stream.as_mut().and_then(|stream| exchange(stream, &bytes));
        let answer = kept.unwrap_or_else(|| {
            let stream = self.stream.insert(self.wire.connect());
            exchange(stream, &bytes).expect("an answer")
        });
        if answer.head.contains("connection: close") {
            self.stream = None;
        }
        answer
    }

    fn fresh_name(&mut self) -> String {
        self.made += 1;
        format!("k{}", self.made)
    }

    /// A key in the state of the cell: one of its own if it is going to be changed.
    fn ready(&mut self, cell: &Cell, expected: &str) -> Ready {
        let changes = matches!(cell.route.target, Target::Command(_)) && expected == "ok";
        let of = format!("{:?} {:?}", cell.operation, cell.state);
        if let Some(ready) = self.keys.get(&of).filter(|_| !changes) {
            return ready.clone();
        }
        let ready = self.make(cell.operation, cell.state.unwrap_or(State::of(KeyState::Active)));
        if !changes {
            self.keys.insert(of, ready.clone());
        }
        ready
    }

    fn make(&mut self, operation: Option<Operation>, state: State) -> Ready {
        let key = self.fresh_name();
        let (purpose, suite) = kind_of_key(operation);
        let made = create_key(&self.operator, &key, purpose, suite);
        let operation = operation.unwrap_or(Operation::Sign);
        let handle = |caller| {
            let operations = operations_of_handle(caller, operation);
            issue(&self.operator, NewHandle { operations, ..new_handle(&made) })
        };
        let (handle, without) = (handle(Caller::Handle), handle(Caller::HandleWithout));
        let body = self.body(operation, &handle);
        for event in state.events().unwrap() {
            let change = command(CommandKind::ChangeVersion(*event), &key, None);
            if state == State::ScheduledForDestruction {
                break;
            }
            committed(ask(&self.operator, &change));
        }
        if state == State::ScheduledForDestruction {
            committed(ask(&self.operator, &command(CommandKind::ScheduleDestruction, &key, None)));
        }
        Ready { key, handle, without, body }
    }

    /// The body of a use; what it processes is made here.
    fn body(&mut self, operation: Operation, handle: &KeyHandle) -> Value {
        let message = Base64(b"message".to_vec()).to_text();
        let made = |service: &mut Self, path: &str, body: Value| {
            let request = Request::post(path, body.to_string()).with_handle(handle);
            let answer = service.send(&request);
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            serde_json::from_str::<Value>(&answer.body).unwrap()["output"].clone()
        };
        match operation {
            Operation::Sign | Operation::Mac | Operation::Encrypt => json!({ "message": message }),
            Operation::Verify => {
                let signature = made(self, "/v1/sign", json!({ "message": message }));
                json!({ "message": message, "signature": signature })
            }
            Operation::VerifyMac => {
                let mac = made(self, "/v1/mac", json!({ "message": message }));
                json!({ "message": message, "mac": mac })
            }
            Operation::Decrypt | Operation::Rewrap => {
                json!({ "message": made(self, "/v1/encrypt", json!({ "message": message })) })
            }
            Operation::Unwrap => {
                let pair = made(self, "/v1/generate-data-key", json!({}));
                let pair = Base64::from_text(pair.as_str().unwrap()).unwrap();
                json!({ "message": Base64(pair.0[32..].to_vec()).to_text() })
            }
            Operation::Derive | Operation::Random => json!({ "length": 16 }),
            Operation::GenerateDataKey => json!({}),
        }
    }

    /// What comes of a cell over the wire.
    fn outcome(&mut self, cell: &Cell, expected: &str) -> String {
        let ready = self.ready(cell, expected);
        let (request, command) = match cell.route.target {
            Target::Use(_) => (Request::post(cell.route.path, ready.body.to_string()), None),
            Target::Batch(_) => {
                let body = json!({ "items": [ready.body] });
                (Request::post(cell.route.path, body.to_string()), None)
            }
            Target::Command(kind) => {
                let command = self.command(kind, &ready.key, cell.operation);
                (Request::of(&command), Some(command))
            }
            Target::Health | Target::Metrics | Target::OpenApi | Target::Ready => {
                (Request::get(cell.route.path), None)
            }
        };
        let request = match cell.caller {
            Caller::Role(role) => {
                request.signed(&self.profiles[&role], &command.unwrap_or(Command::ReadStatus))
            }
            Caller::Handle => request.with_handle(&ready.handle),
            Caller::HandleWithout => request.with_handle(&ready.without),
            Caller::Nobody => request,
        };
        self.send(&request).outcome()
    }

    fn command(&mut self, kind: CommandKind, key: &str, operation: Option<Operation>) -> Command {
        let of_new = matches!(
            kind,
            CommandKind::CreateKey | CommandKind::ImportKey | CommandKind::CreatePrincipal
        );
        let key = if of_new { self.fresh_name() } else { key.to_owned() };
        let asked = command(kind, &key, operation);
        match asked {
            Command::ImportKey { new, .. } => self.import(new),
            other => other,
        }
    }

    fn import(&self, new: NewKey) -> Command {
        let begun = committed(ask(&self.operator, &Command::BeginImport)).answer;
        let AnswerObject::OneTimeKey(one_time) = begun else { panic!("no one-time key") };
        // RFC 8410, 7, with a seed that anybody knows.
        let pkcs8 = [
            &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..],
            &[7; 32],
        ];
        let sealed = seal_import(&new, &one_time, &pkcs8.concat()).unwrap();
        Command::ImportKey { new, one_time: one_time.id.0, sealed }
    }
}

/// Makes a principal of a role, and its profile.
fn enrol(service: &Service, role: Role) -> Profile {
    let mut seed = Zeroizing::new([0; 32]);
    random(seed.as_mut_slice()).unwrap();
    let suite = chancery_core::suite::Suite::Ed25519;
    let key = chancery_crypto::key::PrivateKey::from_secret(suite, seed.as_slice()).unwrap();
    let public = *key.public().unwrap().spki().last_chunk().unwrap();
    let asked = Command::CreatePrincipal { name: name(role.name()), role, public };
    let answer = committed(ask(&service.client(), &asked)).answer;
    let AnswerObject::Principal(principal) = answer else { panic!("no principal") };
    Profile { principal, role, signing_key: seed, ..service.profile() }
}

/// Whether a running service can be brought there, and whether that says more than another cell does.
fn is_served(cell: &Cell) -> bool {
    let is_active = cell.state.is_none_or(|state| state == State::of(KeyState::Active));
    let is_reachable = cell.state.is_none_or(|state| state.events().is_some());
    is_reachable && (is_active || by_authentication(cell).is_none())
}

#[test]
fn the_service_does_what_the_table_says() {
    let mut served = Running::start();
    let cells: Vec<_> = cells().into_iter().filter(is_served).collect();
    let mut differ = Vec::new();
    for cell in &cells {
        let expected = outcome(cell);
        let found = served.outcome(cell, expected);
        if found != expected {
            differ.push(format!("{cell}: decided `{expected}`, served `{found}`"));
        }
    }
    assert!(differ.is_empty(), "{} of {}:\n{}", differ.len(), cells.len(), differ.join("\n"));
    assert!(cells.len() > 600, "{} cells", cells.len());
    drop(served.service);
}
