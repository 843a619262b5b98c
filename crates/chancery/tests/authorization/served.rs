//! Cells of the table against a running service.

use std::collections::BTreeMap;

use chancery_api::http::fields::Base64;
use chancery_api::http::replies::AnswerObject;
use chancery_api::http::routes::{CommandKind, Target};
use chancery_client::{Client, KeyHandle, Profile, seal_import};
use chancery_core::command::{Command, NewHandle, NewKey};
use chancery_core::handle::Operation;
use chancery_core::principal::Role;
use chancery_core::state::KeyState;
use chancery_crypto::primitive::random;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::harness::{Service, ask, committed, create_key, issue, name, new_handle};
use crate::wire::{Answer, Request, Stream, Wire, exchange};

use super::table::*;

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
            // It is there from the first start on.
            Target::Log => (Request::get("/log/policy"), None),
            Target::Public(_) => {
                let path = cell.route.path.replace("{file}", "0.0/0").replace("{name}", &ready.key);
                (Request::get(&path), None)
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
