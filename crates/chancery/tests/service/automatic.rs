//! Keys that are rotated without anybody asking: by age, by use, with a version that stands by, and many at once through
//! a kill.

use std::collections::BTreeSet;

use chancery_api::http::replies::{AnswerObject, KeyObject, RolloutObject, RotationsObject};
use chancery_client::Client;
use chancery_core::automatic::{Automatic, Rule, RuleFor};
use chancery_core::command::{AuditQuery, Command};
use chancery_core::name::Name;
use chancery_core::purpose::Usage;
use chancery_core::rollout::Cause;
use chancery_core::state::KeyState;

use super::evidence::{export, second_agrees, shown as evidence, whys};
use super::rollouts::{CONSUMERS, Rolled, quick};
use crate::harness::{Service, ask, committed, create_key, eventually, name};

/// A rule that makes nothing due for a year.
fn yearly() -> Automatic {
    let mut plan = quick();
    plan.bounds.cryptoperiod_ms = 400 * 86_400_000;
    Automatic {
        every_ms: 365 * 86_400_000,
        spread_ms: 0,
        uses: None,
        suite: None,
        replaces_imported: false,
        stands_by: false,
        plan,
    }
}

fn set(client: &Client, rule_for: RuleFor, rule: Rule) {
    committed(ask(client, &Command::SetRule { rule_for, rule }));
}

fn set_for_key(client: &Client, rule: Automatic) {
    set(client, RuleFor::Key(name("invoices")), Rule::Automatic(Box::new(rule)));
}

fn rollouts(client: &Client) -> Vec<RolloutObject> {
    let mut all: Vec<RolloutObject> = Vec::new();
    loop {
        let after = all.last().map(|rollout| rollout.key.clone());
        let answer = committed(ask(client, &Command::ListRollouts { after })).answer;
        let AnswerObject::Rollouts(page) = answer else { panic!("no rollouts") };
        all.extend(page.rollouts);
        if !page.more {
            return all;
        }
    }
}

fn rotations(client: &Client) -> RotationsObject {
    match committed(ask(client, &Command::ListRotations { after: None })).answer {
        AnswerObject::Rotations(rotations) => rotations,
        other => panic!("{other:?}"),
    }
}

fn key(client: &Client, key: &Name) -> KeyObject {
    match committed(ask(client, &Command::ShowKey { key: key.clone() })).answer {
        AnswerObject::Key(key) => key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_that_is_old_enough_is_rotated_and_what_it_signed_verifies() {
    let mut rolled = Rolled::new();
    let every_ms = rolled_every_ms();
    set_for_key(&rolled.client, Automatic { every_ms, ..yearly() });
    let listed = rotations(&rolled.client).keys.remove(0);
    assert_eq!((listed.rule_of.as_deref(), listed.version), (Some("key"), 1));
    assert!(listed.left_ms.is_some_and(|left| left <= every_ms));
    let mut turn = 0;
    eventually("it was rotated", || {
        for _ in 0..10 {
            let _ = rolled.sign_for(turn % CONSUMERS);
            turn += 1;
        }
        rolled.verify_one_of_each();
        // Behind `full` a person goes on.
        rollouts(&rolled.client).first().is_some_and(|rollout| rollout.stage >= 5)
    });
    assert_eq!((0..CONSUMERS).map(|it| rolled.sign_for(it)).collect::<BTreeSet<_>>(), [2].into());
    set(&rolled.client, RuleFor::Key(name("invoices")), Rule::Never);
    let rollout = rollouts(&rolled.client).remove(0);
    assert_eq!((rollout.by, rollout.reason), (None, Cause::Cryptoperiod));
    assert_eq!((rollout.from, rollout.to), (1, 2));
    rolled.verify_all();
    let file = export(&rolled, rollout.id, "automatic.evidence");
    let proved = evidence(&rolled.service, &file);
    assert_eq!(whys(&proved)[..2], ["cryptoperiod", "gates-open"]);
    second_agrees(&rolled.service, &file, &proved);
    let query =
        AuditQuery { action: Some("rotate".parse().unwrap()), limit: 9, ..AuditQuery::default() };
    let answer = committed(ask(&rolled.client, &Command::QueryAudit(query))).answer;
    let AnswerObject::Records(records) = answer else { panic!("no records") };
    assert!(!records.is_empty() && records.iter().all(|record| record.actor.is_none()));
    assert_eq!(rotations(&rolled.client).keys[0].rule_of, None);
}

/// Longer than `quick` takes until the new version protects for all.
fn rolled_every_ms() -> u64 {
    quick().shortest_ms() + 1_200
}

#[test]
fn a_version_stands_by_and_comes_in_when_the_one_before_is_worn() {
    let mut rolled = Rolled::new();
    set_for_key(&rolled.client, Automatic { stands_by: true, ..yearly() });
    let stands_by = |client: &Client| rotations(client).keys[0].standby == Some(2);
    eventually("a version stands by", || stands_by(&rolled.client));
    let before = rolled.key();
    assert_eq!((before.versions.len(), before.scheduled_version), (2, 1));
    assert_eq!(before.versions[1].state, KeyState::PreActivation);
    assert!(before.versions[1].published_epoch.is_some());
    for consumer in 0..10 {
        assert_eq!(rolled.sign_for(consumer), 1);
    }
    assert!(rollouts(&rolled.client).is_empty());
    // Ten uses were enough.
    set_for_key(&rolled.client, Automatic { stands_by: true, uses: Some(10), ..yearly() });
    eventually("a rollout begins", || !rollouts(&rolled.client).is_empty());
    let rollout = rollouts(&rolled.client).remove(0);
    assert_eq!((rollout.reason, rollout.to), (Cause::UseCount, 2));
    assert_eq!(rolled.key().versions.len(), 2);
}

/// So many keys that several transactions begin their rollouts, and one holds several.
const KEYS: usize = 40;

#[test]
fn many_keys_are_rotated_once_each_however_the_service_dies() {
    let mut service = Service::start();
    let client = service.client();
    let names: Vec<_> = (0..KEYS).map(|number| name(&format!("hook-{number}"))).collect();
    for key in &names {
        create_key(&client, key.as_str(), "mac.bound:hook", "hmac-sha-256");
    }
    let of_another = create_key(&client, "invoices", "sign.bound:invoice", "ed25519");
    let rule = Automatic { every_ms: rolled_every_ms(), ..yearly() };
    set(&client, RuleFor::Usage(Usage::Mac), Rule::Automatic(Box::new(rule)));
    let begun = |client: &Client| rollouts(client).len();
    eventually("the first rollouts begin", || begun(&client) > 0);
    service.kill_all();
    service.launch();
    service.wait_until_up();
    let client = service.client();
    eventually("every rollout began", || begun(&client) == KEYS);
    for rollout in rollouts(&client) {
        assert_eq!((rollout.from, rollout.to, rollout.by), (1, 2, None), "{}", rollout.key);
        assert_eq!(key(&client, &rollout.key).versions.len(), 2, "{}", rollout.key);
    }
    assert_eq!(key(&client, &name("invoices")).versions.len(), of_another.versions.len());
    let epochs: BTreeSet<_> = names
        .iter()
        .map(|name| format!("{:?}", key(&client, name).versions[1].published_epoch))
        .collect();
    assert_eq!(epochs.len(), KEYS, "each is published under an epoch of its own");
    let rules = rotations(&client).rules;
    assert_eq!(rules.iter().map(|rule| rule.usage).collect::<Vec<_>>(), [Usage::Mac]);
}
