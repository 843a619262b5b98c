//! A signer in this process, on a real directory: what its log says to the next start.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_api::message::CommandRequest;
use chancery_audit::journal::Entry;
use chancery_audit::verify::verify_disk;
use chancery_core::authority::Row;
use chancery_core::cbor;
use chancery_core::clock::Quality;
use chancery_core::command::{Command, NewKey, SignatureParameters};
use chancery_core::epoch::Epoch;
use chancery_core::handle::LinkId;
use chancery_core::idempotency::{Reservation, Room};
use chancery_core::name::{Name, Scope};
use chancery_core::principal::{Principal, Role};
use chancery_core::reason::Reason;
use chancery_core::state::KeyEvent;
use chancery_core::suite::Suite;
use chancery_crypto::primitive::sha256;

use super::*;
use crate::commands;
use crate::config::{CHECKPOINT_EVERY, IndexWish, LockRecordWish, RootSource};
use crate::housekeeping::keep_mark;

const DAY_MS: u64 = 86_400_000;

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
            others: None,
            checkpoint_every: CHECKPOINT_EVERY,
            index: IndexWish::On,
            retention_ms: None,
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

    /// The operator that a first start made.
    fn first(config: &SignerConfig, authority: &Authority) -> Self {
        let admin = std::fs::read_to_string(config.data.join("admin.toml")).unwrap();
        let seed = admin.split_once("signing_key = \"").unwrap().1.split_once('"').unwrap().0;
        let seed = STANDARD.decode(seed).unwrap();
        let key = PrivateKey::from_secret(Suite::Ed25519, &seed).unwrap();
        Self { key, id: authority.principals().next().unwrap().id }
    }

    /// A request that is signed, and named, at this time.
    fn request<'c>(&self, encoded: &'c [u8], command: &Command, at_ms: u64) -> CommandRequest<'c> {
        let parameters = SignatureParameters {
            principal: self.id,
            operation: OperationId::v7(at_ms, entropy::bytes().unwrap()),
            created_s: at_ms / 1_000,
            expires_s: at_ms / 1_000 + 60,
        };
        let base = parameters.base(command, &STANDARD.encode(sha256(&[encoded])));
        let signature = self.key.sign(base.as_bytes()).unwrap().try_into().unwrap();
        CommandRequest { command: encoded, parameters, signature }
    }

    /// Whether the service takes a command that is signed, and named, at this time.
    fn asks(&self, shared: &Shared, command: &Command, at_ms: u64) -> Result<(), Reason> {
        let encoded = cbor::encode(command);
        let verified = commands::verify(shared, &self.request(&encoded, command, at_ms))?;
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
    let scratch = Scratch::new("suspect");
    let shared = start(scratch.config(), Arena::new().unwrap()).unwrap();
    let operator = Signs::made_known_to(&shared);
    let part = || "default".parse::<Name>().unwrap();
    let create = Command::CreateKey(NewKey {
        name: "k".parse().unwrap(),
        purpose: "sign.bound:invoice".parse().unwrap(),
        suite: Suite::Ed25519,
        scope: Scope { environment: part(), region: part(), service: part() },
        witnessed: false,
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

#[test]
fn a_read_that_was_kept_for_long_is_not_answered_because_the_clock_went_back() {
    let scratch = Scratch::new("old-read");
    let shared = start(scratch.config(), Arena::new().unwrap()).unwrap();
    let operator = Signs::made_known_to(&shared);
    let sample = entropy::sample();
    for (ahead_ms, answer) in [(DAY_MS / 2, Ok(())), (2 * DAY_MS, Err(Reason::SignatureExpired))] {
        let mark = Some(sample.wall_ms + ahead_ms);
        lock(&shared.core).clock = Clock::start(mark, Served::default(), sample);
        assert_eq!(operator.asks(&shared, &Command::ReadStatus, sample.wall_ms), answer);
    }
}

#[test]
fn a_journaled_reduction_that_is_dated_ahead_applies_once() {
    let scratch = Scratch::new("ahead");
    let (config, arena) = (scratch.config(), Arena::new().unwrap());
    let loaded = load(&config, &arena).unwrap();
    let operator = Signs::first(&config, &loaded.authority);
    let receipt = PrivateKey::from_secret(Suite::Ed25519, &loaded.secrets.receipt).unwrap();
    drop(loaded);
    let log_id = Origin::of_signer(&receipt).unwrap().log_id;
    let revoke = Command::RevokeHandle { link: LinkId([1; 16]) };
    let (encoded, ahead_ms) = (cbor::encode(&revoke), entropy::sample().wall_ms + DAY_MS);
    let request = operator.request(&encoded, &revoke, ahead_ms);
    {
        let disk = reduce_only::open_directory(&config.data).unwrap();
        let entry = Entry { alive_ms: ahead_ms, request: cbor::encode(&request) };
        Journal::open(&disk, log_id).unwrap().0.append(&entry).unwrap();
    }
    let shared = start(config, arena).unwrap();
    let mut core = lock(&shared.core);
    let principal = core.authority.principal(operator.id).unwrap().clone();
    let when = crate::signature::When::Known(ahead_ms);
    let verified = commands::verify_at(&shared, &request, principal, when).unwrap();
    let now = core.now(entropy::sample());
    let again = core.reserve_again(&verified.claimed, now);
    assert!(matches!(again, Ok(Reservation::Done(_))), "{again:?}");
}

#[test]
fn a_start_after_a_suspect_clock_takes_no_time_back() {
    let scratch = Scratch::new("mark");
    let shared = start(scratch.config(), Arena::new().unwrap()).unwrap();
    let now = lock(&shared.core).now(entropy::sample());
    let written = || Roots::read(&shared.reductions, &shared.origin).unwrap().written_ms;
    let before = written();
    keep_mark(&shared, now);
    assert_eq!(written(), before, "a clock that is believed needs no mark");
    let sample = entropy::sample();
    let mark = Some(sample.wall_ms + 9 * DAY_MS);
    lock(&shared.core).clock = Clock::start(mark, Served::default(), sample);
    let now = lock(&shared.core).now(entropy::sample());
    keep_mark(&shared, now);
    assert!(written() >= sample.wall_ms + 9 * DAY_MS);
    assert_eq!(last_known_ms(None, &shared.reductions, &shared.origin), Some(written()));
    let later = Some(written() + 1);
    assert_eq!(last_known_ms(later, &shared.reductions, &shared.origin), later);
}
