//! A signer in this process, on a real directory: what its log says to the next start.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;

use chancery_api::message::CommandRequest;
use chancery_audit::verify::verify_disk;
use chancery_core::authority::Row;
use chancery_core::cbor;
use chancery_core::clock::Quality;
use chancery_core::command::{Command, NewKey, SignatureParameters};
use chancery_core::epoch::Epoch;
use chancery_core::name::{Name, Scope};
use chancery_core::principal::{Principal, Role};
use chancery_core::reason::Reason;
use chancery_core::state::KeyEvent;

use super::*;
use crate::commands;
use crate::config::RootSource;
use crate::signature::base64;

/// A directory of this process, removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("chancery-{name}-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    fn config(&self) -> SignerConfig {
        SignerConfig {
            data: self.0.clone(),
            root_key: RootSource::Keyfile(self.0.join("root.key")),
            recovery_key: self.0.join("recovery.key"),
            endpoint: "https://127.0.0.1:1".into(),
            names: vec!["localhost".into()],
            segment_bytes: 1 << 20,
            wall_clock: WallClock::Checked,
            lock_directory: self.0.clone(),
            lock_record: LockRecordWish::Kept,
            front_user: None,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a first start leaves in the outbox: the record of how it began.
fn outbox_of(config: &SignerConfig, arena: &Arena) -> Vec<(u64, OutboxEntry)> {
    load(config, arena).unwrap().outbox
}

/// What the next start would find in the log.
fn read_again(shared: &Shared) -> Result<Opened, SignerError> {
    let vault = lock(&shared.vault);
    let core = lock(&shared.core);
    audit::open(&shared.disk, &shared.origin, &vault, &core.authority)
}

#[test]
fn an_outbox_that_is_drained_twice_condemns_its_signer() {
    let scratch = Scratch::new("drained-twice");
    let (config, arena) = (scratch.config(), Arena::new().unwrap());
    let outbox = outbox_of(&config, &arena);
    assert_eq!(outbox.len(), 1);
    let shared = start(config, arena).unwrap();
    let once = read_again(&shared).unwrap();
    assert_eq!(once.last_command, 1);
    verify_disk(&*shared.disk).unwrap();
    // The planted fault: what is on record is recorded again.
    open_log(&shared, None, &outbox).unwrap();
    let error = read_again(&shared).map(|_| ()).unwrap_err();
    let SignerError::Audit(error) = error else { panic!("{error}") };
    assert!(error.to_string().contains("twice"), "{error}");
    verify_disk(&*shared.disk).unwrap_err();
}

/// An operator whose key is at hand.
struct Signs {
    key: PrivateKey,
    id: PrincipalId,
}

impl Signs {
    fn made_known_to(shared: &Shared) -> Self {
        let key = PrivateKey::from_secret(Suite::Ed25519, &[7; 32]).unwrap();
        let id = PrincipalId::from_bytes([7; 16]);
        let mut core = lock(&shared.core);
        let tenant = core.authority.tenants().find(|id| *id != TenantId::SYSTEM).unwrap();
        let public = *key.public().unwrap().spki().last_chunk().unwrap();
        let name: Name = "second".parse().unwrap();
        let principal = Principal {
            id,
            tenant,
            name,
            role: Role::Operator,
            public,
            min_issue_epoch: Epoch::default(),
        };
        core.authority.apply(Row::Principal(principal)).unwrap();
        Self { key, id }
    }

    /// Whether the service takes a command that is signed, and named, at this time.
    fn asks(&self, shared: &Shared, command: &Command, at_ms: u64) -> Result<(), Reason> {
        let encoded = cbor::encode(command);
        let parameters = SignatureParameters {
            principal: self.id,
            operation: OperationId::v7(at_ms, entropy::bytes().unwrap()),
            created_s: at_ms / 1_000,
            expires_s: at_ms / 1_000 + 60,
        };
        let base = parameters.base(command, &base64(&sha256(&[&encoded])));
        let signature = self.key.sign(base.as_bytes()).unwrap().try_into().unwrap();
        let request = CommandRequest { command: &encoded, parameters, signature };
        let verified = commands::verify(shared, &request)?;
        let room = if command.is_reduction() { Room::Reduction } else { Room::Command };
        let mut core = lock(&shared.core);
        let now = core.now(entropy::sample());
        core.reserve(&verified.claimed, now, room).map(|_| ())
    }
}

#[test]
fn a_wall_clock_that_is_vouched_for_and_not_taken_is_said() {
    let now = entropy::sample();
    for (mark_ms, is_said) in [(now.wall_ms + 1, true), (now.wall_ms, false)] {
        let mut clock = Clock::start(Some(mark_ms), Served::default(), now);
        let said = vouch(&mut clock, now);
        assert_eq!(said.is_some_and(|said| said.contains("time does not go back")), is_said);
    }
}

#[test]
fn commands_go_on_while_the_clock_is_suspect() {
    const DAY_MS: u64 = 86_400_000;
    let scratch = Scratch::new("suspect");
    let shared = start(scratch.config(), Arena::new().unwrap()).unwrap();
    let operator = Signs::made_known_to(&shared);
    let part = || "default".parse::<Name>().unwrap();
    let create = Command::CreateKey(NewKey {
        name: "k".parse().unwrap(),
        purpose: "sign.bound:invoice".parse().unwrap(),
        suite: Suite::Ed25519,
        scope: Scope { environment: part(), region: part(), service: part() },
    });
    let suspend = Command::ChangeVersion {
        key: "k".parse().unwrap(),
        version: None,
        event: KeyEvent::Suspend,
    };
    // The machine was off for longer than is believed, or its clock stands in the past.
    for mark in [|wall: u64| wall - 30 * DAY_MS, |wall: u64| wall + DAY_MS / 2] {
        let sample = entropy::sample();
        let mark_ms = mark(sample.wall_ms);
        lock(&shared.core).clock = Clock::start(Some(mark_ms), Served::default(), sample);
        assert_eq!(lock(&shared.core).now(entropy::sample()).quality, Quality::Suspect);
        // Whoever goes by either time is heard; with a reduction also who goes by a third one.
        for at_ms in [mark_ms, sample.wall_ms] {
            assert_eq!(operator.asks(&shared, &create, at_ms), Ok(()));
            assert_eq!(operator.asks(&shared, &suspend, at_ms), Ok(()));
        }
        let ahead_ms = mark_ms.max(sample.wall_ms) + 3 * DAY_MS;
        assert_eq!(operator.asks(&shared, &create, ahead_ms), Err(Reason::SignatureExpired));
        assert_eq!(operator.asks(&shared, &suspend, ahead_ms), Ok(()));
    }
}
