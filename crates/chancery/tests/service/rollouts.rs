//! Rotations of a served key, stage by stage: under load, through kills, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use chancery_api::http::replies::{AnswerObject, KeyObject, RolloutObject};
use chancery_client::{Client, Input, KeyHandle, Manner, Outcome, Receipt, Used};
use chancery_core::command::Command;
use chancery_core::context::Context;
use chancery_core::id::RolloutId;
use chancery_core::rollout::{
    Advance, Bounds, Builtin, Cause, Comparator, Lacking, Metric, Order, Path, Paths, Plan,
    Response, Rotation, StageName, Trigger,
};
use chancery_core::schedule::Fraction;
use chancery_core::state::KeyState;

use crate::harness::{
    Service, ask, binary, committed, eventually, fresh, key_and_handle, name, refused,
};

/// How long a stage of the plans here takes at least, in milliseconds.
const STAGE_MS: u64 = 300;

/// Answers of the new version that a stage here asks for: 12 without a failure bound a rate under a quarter at 95 %.
const SAMPLES: u64 = 12;

/// The standard plan, with times of a test and one trigger that needs no verifiers.
pub(super) fn quick() -> Plan {
    let mut plan = Builtin::Standard.plan().unwrap();
    plan.bounds = Bounds {
        propagation_ms: STAGE_MS,
        verifier_cache_ms: STAGE_MS,
        reprotect_ms: 0,
        artefact_life_ms: STAGE_MS,
        safety_ms: 2 * STAGE_MS,
        quiet_ms: STAGE_MS,
        cryptoperiod_ms: 30 * 86_400_000,
    };
    let errors = Trigger {
        metric: Metric::ErrorRate,
        comparator: Comparator::Above,
        threshold: 250_000,
        window_ms: 60_000,
        short_window_ms: None,
        stale_ms: 60_000,
        response: Response::RollBack,
        reporters: 0,
    };
    // Canary, half of all, full, soak, retire, destroy.
    plan.stages.retain(|stage| stage.fraction.ppm() != 500_000);
    for stage in &mut plan.stages {
        stage.min_ms = match stage.name {
            StageName::Ready => 3 * STAGE_MS,
            StageName::Soak => 4 * STAGE_MS,
            _ => STAGE_MS,
        };
        stage.max_ms = 3_600_000;
        if stage.name.is_trial() {
            stage.min_samples = SAMPLES;
            stage.triggers = vec![errors.clone()];
            (stage.on_no_data, stage.on_inconclusive) = (Lacking::Wait, Lacking::Wait);
        }
        match stage.name {
            StageName::Canary => stage.fraction = Fraction::from_ppm(100_000).unwrap(),
            StageName::Ramp => stage.fraction = Fraction::from_ppm(500_000).unwrap(),
            StageName::Soak => stage.exercised = Paths::NONE.with(Path::NewVerified),
            _ => {}
        }
    }
    assert_eq!(plan.check(), []);
    plan
}

/// A key that is served, and what is done with it.
pub(super) struct Rolled {
    pub(super) service: Service,
    pub(super) client: Client,
    pub(super) handle: KeyHandle,
    /// Every signature, with its message and who it was made for.
    pub(super) signed: Vec<(String, Used)>,
}

/// Consumers; a tenth of a hundred is ten, and none of fewer than one is likely.
pub(super) const CONSUMERS: usize = 100;

impl Rolled {
    pub(super) fn new() -> Self {
        let service = Service::start();
        let client = service.client();
        let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
        Self { service, client, handle, signed: Vec::new() }
    }

    pub(super) fn rotate(&self, plan: Plan) -> RolloutObject {
        let (key, cause) = (name("invoices"), Cause::Requested);
        let rotation = Rotation { key, plan, cause, suite: None, version: None };
        rollout_of(committed(ask(&self.client, &Command::Rotate(rotation))).answer)
    }

    pub(super) fn order(&self, rollout: RolloutId, order: Order) -> RolloutObject {
        let asked = Command::OrderRollout { rollout, order };
        rollout_of(committed(ask(&self.client, &asked)).answer)
    }

    pub(super) fn shown(&self, rollout: RolloutId) -> RolloutObject {
        rollout_of(committed(ask(&self.client, &Command::ShowRollout { rollout })).answer)
    }

    pub(super) fn key(&self) -> KeyObject {
        let shown = ask(&self.client, &Command::ShowKey { key: name("invoices") });
        let AnswerObject::Key(key) = committed(shown).answer else { panic!("no key") };
        key
    }

    pub(super) fn sign_for(&mut self, consumer: usize) -> u32 {
        let consumer = format!("consumer-{consumer}");
        let used = committed(self.use_for(&consumer, |client, handle, manner| {
            client.sign_with(handle, Input::Message(consumer.as_bytes()), manner)
        }));
        let version = used.version;
        self.signed.push((consumer, used));
        version
    }

    pub(super) fn use_for(
        &self,
        consumer: &str,
        perform: impl FnOnce(&Client, &KeyHandle, &Manner<'_>) -> Outcome<Used>,
    ) -> Outcome<Used> {
        let context = Context::default();
        let manner = Manner {
            operation: fresh(),
            context: &context,
            receipt: Receipt::Unwanted,
            holders: &[],
            routing_key: Some(consumer),
        };
        perform(&self.client, &self.handle, &manner)
    }

    /// Signs for everybody, once each: which version each of them got.
    pub(super) fn sign_for_all(&mut self) -> BTreeMap<usize, u32> {
        (0..CONSUMERS).map(|consumer| (consumer, self.sign_for(consumer))).collect()
    }

    fn verifies(&self, (consumer, used): &(String, Used)) -> Outcome<Used> {
        self.use_for(consumer, |client, handle, manner| {
            client.verify(handle, Input::Message(consumer.as_bytes()), &used.output, manner)
        })
    }

    /// Everything that was signed so far verifies.
    pub(super) fn verify_all(&self) {
        for signed in &self.signed {
            committed(self.verifies(signed));
        }
    }

    /// Something of each version verifies, which a stage asks for.
    pub(super) fn verify_one_of_each(&self) {
        let one_of = |version| self.signed.iter().rfind(|(_, it)| it.version == version);
        for signed in [1, 2].into_iter().filter_map(one_of) {
            committed(self.verifies(signed));
        }
    }

    /// Uses the key until the rollout is in that stage.
    pub(super) fn until(&mut self, rollout: RolloutId, stage: StageName) -> RolloutObject {
        let mut last = self.shown(rollout);
        eventually(&format!("{} comes", stage.code()), || {
            if stage_of(&last) == stage {
                return true;
            }
            for consumer in 0..CONSUMERS {
                self.sign_for(consumer);
            }
            self.verify_one_of_each();
            last = self.shown(rollout);
            assert!(stage_of(&last) <= stage, "{last:?}");
            false
        });
        last
    }
}

pub(super) fn rollout_of(answer: AnswerObject) -> RolloutObject {
    let AnswerObject::Rollout(rollout) = answer else { panic!("no rollout") };
    *rollout
}

pub(super) fn stage_of(rollout: &RolloutObject) -> StageName {
    rollout.plan.stages[usize::from(rollout.stage)].name
}

pub(super) fn is_open(rollout: &RolloutObject, gate: &str) -> bool {
    rollout.gates.iter().find(|it| it.gate == gate).unwrap().open
}

#[test]
fn a_rotation_goes_through_and_no_request_fails() {
    let mut rolled = Rolled::new();
    rolled.sign_for_all();
    let id = rolled.rotate(quick()).id;
    assert_eq!(rolled.sign_for_all().into_values().collect::<BTreeSet<_>>(), [1].into());
    let mut moved = BTreeSet::new();
    for stage in [StageName::Canary, StageName::Ramp, StageName::Full, StageName::Soak] {
        rolled.until(id, stage);
        let now: BTreeSet<_> =
            rolled.sign_for_all().into_iter().filter(|(_, it)| *it == 2).collect();
        let now: BTreeSet<_> = now.into_iter().map(|(consumer, _)| consumer).collect();
        // One who has the new version keeps it, and each stage is for more.
        assert!(now.is_superset(&moved), "{stage:?}");
        let share = match stage {
            StageName::Canary => 1..30,
            StageName::Ramp => 30..70,
            _ => CONSUMERS..CONSUMERS + 1,
        };
        assert!(share.contains(&now.len()), "{stage:?}: {}", now.len());
        moved = now;
        rolled.verify_all();
    }
    assert_eq!(rolled.key().versions[0].state, KeyState::Active);
    eventually("the soak waits for a person alone", || {
        let shown = rolled.shown(id);
        shown.gates.iter().all(|gate| gate.open || gate.gate == "person")
    });
    assert_eq!(stage_of(&rolled.order(id, Order::Advance)), StageName::Retire);
    assert_eq!(rolled.key().versions[0].state, KeyState::Deactivated);
    // What it made stays verifiable after it is retired too.
    rolled.verify_all();
    let back = ask(&rolled.client, &Command::OrderRollout { rollout: id, order: Order::RollBack });
    assert_eq!(refused(back), "illegal-transition");
    std::thread::sleep(Duration::from_millis(2 * STAGE_MS));
    assert_eq!(rolled.order(id, Order::Advance).status, "done");
    let key = rolled.key();
    assert!(key.versions[0].destruction_served_ms.is_some());
    assert_eq!((key.scheduled_version, key.rollout), (2, None));
}

#[test]
fn one_command_takes_it_back_and_what_the_new_version_made_stays_verifiable() {
    let mut rolled = Rolled::new();
    let id = rolled.rotate(quick()).id;
    rolled.until(id, StageName::Ramp);
    assert!(rolled.sign_for_all().into_values().any(|version| version == 2));
    assert_eq!(rolled.order(id, Order::RollBack).status, "rolled-back");
    // The very next one, and all after it.
    assert_eq!(rolled.sign_for_all().into_values().collect::<BTreeSet<_>>(), [1].into());
    rolled.verify_all();
    let key = rolled.key();
    assert!(key.versions[1].published_epoch.is_some());
    assert_eq!(key.versions[1].state, KeyState::Active);
    let again = ask(&rolled.client, &Command::OrderRollout { rollout: id, order: Order::Resume });
    assert_eq!(refused(again), "illegal-transition");
    // The version is a standby, and can be brought in again.
    let (key, cause) = (name("invoices"), Cause::Requested);
    let rotation = Rotation { key, plan: quick(), cause, suite: None, version: Some(2) };
    let second = rollout_of(committed(ask(&rolled.client, &Command::Rotate(rotation))).answer);
    assert_eq!((second.from, second.to), (1, 2));
}

#[test]
fn whoever_kills_the_service_at_a_stage_skips_no_gate() {
    let mut rolled = Rolled::new();
    let id = rolled.rotate(quick()).id;
    let stages = [
        StageName::Publish,
        StageName::Ready,
        StageName::Canary,
        StageName::Ramp,
        StageName::Full,
        StageName::Soak,
    ];
    for stage in stages {
        let before = rolled.until(id, stage);
        rolled.service.kill_all();
        rolled.service.restart();
        rolled.client = rolled.service.client();
        let after = rolled.shown(id);
        assert_eq!(after.plan, before.plan);
        assert!(after.epoch.number >= before.epoch.number, "{stage:?}");
        let is_next = stage_of(&after) > stage;
        if !is_next && stage.is_trial() {
            // What was seen before is forgotten, and is seen again before it goes on.
            assert!(!is_open(&after, "sampled"), "{after:?}");
        }
        rolled.verify_all();
    }
    assert_eq!(rolled.shown(id).status, "running");
}

#[test]
fn a_pause_holds_through_a_restart_until_somebody_ends_it() {
    let mut rolled = Rolled::new();
    let id = rolled.rotate(quick()).id;
    assert_eq!(rolled.order(id, Order::Pause).status, "paused");
    rolled.service.restart();
    rolled.client = rolled.service.client();
    std::thread::sleep(Duration::from_millis(4 * STAGE_MS));
    let shown = rolled.shown(id);
    assert_eq!((stage_of(&shown), shown.status.as_str()), (StageName::Publish, "paused"));
    rolled.order(id, Order::Resume);
    rolled.until(id, StageName::Canary);
}

#[test]
fn who_watches_goes_on_watching_through_a_restart() {
    let mut rolled = Rolled::new();
    let id = rolled.rotate(quick()).id;
    rolled.order(id, Order::Pause);
    let mut watching = binary()
        .args(["rollout", "watch", "invoices", "--context-file"])
        .arg(rolled.service.data().join("admin.toml"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("publish paused: person"), "{first}");
    rolled.service.restart();
    rolled.client = rolled.service.client();
    rolled.order(id, Order::Abort);
    let last = lines.map(Result::unwrap).last().unwrap();
    assert!(last.contains("aborted: person"), "{last}");
    assert_eq!(watching.wait().unwrap().code(), Some(1));
}

#[test]
fn a_stage_that_a_person_ends_waits_for_one() {
    let mut rolled = Rolled::new();
    let mut plan = quick();
    plan.stages[2].advance = Advance::Person;
    let id = rolled.rotate(plan).id;
    rolled.until(id, StageName::Canary);
    let early = ask(&rolled.client, &Command::OrderRollout { rollout: id, order: Order::Advance });
    assert_eq!(refused(early), "illegal-transition");
    eventually("the canary waits for a person alone", || {
        rolled.sign_for_all();
        rolled.verify_one_of_each();
        let shown = rolled.shown(id);
        shown.gates.iter().all(|gate| gate.open || gate.gate == "person")
    });
    assert_eq!(stage_of(&rolled.shown(id)), StageName::Canary);
    assert_eq!(stage_of(&rolled.order(id, Order::Advance)), StageName::Ramp);
}

#[test]
fn what_is_encrypted_again_is_under_the_version_of_the_cohort() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "cards", "encrypt.aead:card", "aes-256-gcm");
    let context = Context::default();
    let manner = |consumer| Manner {
        operation: fresh(),
        context: &context,
        receipt: Receipt::Unwanted,
        holders: &[],
        routing_key: Some(consumer),
    };
    let old = committed(client.encrypt(&handle, b"4111", &manner("c")));
    let (key, cause) = (name("cards"), Cause::Requested);
    let rotation = Rotation { key, plan: quick(), cause, suite: None, version: None };
    let id = rollout_of(committed(ask(&client, &Command::Rotate(rotation))).answer).id;
    let shown =
        || rollout_of(committed(ask(&client, &Command::ShowRollout { rollout: id })).answer);
    eventually("the canary comes", || stage_of(&shown()) == StageName::Canary);
    let consumers: Vec<_> = (0..CONSUMERS).map(|number| format!("consumer-{number}")).collect();
    let encrypted: Vec<_> = consumers
        .iter()
        .map(|consumer| (consumer, committed(client.encrypt(&handle, b"4111", &manner(consumer)))))
        .collect();
    for (consumer, used) in &encrypted {
        let again = committed(client.rewrap(&handle, &old.output, &manner(consumer)));
        assert_eq!(again.version, used.version, "{consumer}");
        // Whatever version it is under, anybody decrypts it.
        assert_eq!(committed(client.decrypt(&handle, &again.output, &manner("d"))).output, b"4111");
    }
    let versions: BTreeSet<_> = encrypted.iter().map(|(_, used)| used.version).collect();
    assert_eq!(versions, [1, 2].into());
}
