//! Rows swapped, deleted or put back in the store while the service was down: the signer does not start.
//!
//! The store is edited through its own driver, as whoever has the file could. Each alteration is undone
//! before the next, and at the end the service starts on what was there.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use chancery_api::http::replies::AnswerObject;
use chancery_core::campaign::CampaignOrder;
use chancery_core::census::{Declaration, Found, Scan, VersionCount};
use chancery_core::command::Command;
use chancery_core::epoch::Epoch;
use chancery_core::id::CampaignId;
use chancery_core::state::KeyEvent;
use chancery_store::{Embedded, OpenMode, RowName, Store as _, Transaction};

use crate::harness::{Service, ask, committed, create_key, key_and_handle, name};

/// The place of a row's kind in its name: the tenant's 16 bytes come first.
const KIND_AT: usize = 16;
/// The kind of a month's audit keys.
const AUDIT_KEYS: u8 = 18;

/// Audit keys of a month, and the outbox: neither is authority.
const NOT_AUTHORITY: [u8; 2] = [AUDIT_KEYS, 20];

/// The rows of a store.
type Rows = BTreeMap<RowName, Vec<u8>>;

/// What is done to a store.
enum Alteration {
    Deleted(RowName),
    Replaced(RowName, Vec<u8>),
    Swapped(RowName, RowName),
}

fn store(service: &Service) -> PathBuf {
    service.data().join("store.redb")
}

fn open(service: &Service) -> Embedded {
    Embedded::open(&store(service), OpenMode::ReadWrite).unwrap()
}

fn rows(service: &Service) -> Rows {
    let store = open(service);
    let (mut rows, mut after) = (Rows::new(), None);
    loop {
        let page = store.range(&[], after.as_ref(), 1_000).unwrap();
        let Some(last) = page.last() else { return rows };
        after = Some(last.name.clone());
        rows.extend(page.into_iter().map(|row| (row.name, row.value)));
    }
}

fn write(service: &Service, values: &[(RowName, Option<Vec<u8>>)]) {
    let transaction =
        values.iter().cloned().fold(Transaction::new(), |all, (name, value)| match value {
            Some(value) => all.put(name, value),
            None => all.delete(name),
        });
    open(service).commit(transaction).unwrap();
}

impl Alteration {
    fn rows(&self) -> Vec<RowName> {
        match self {
            Self::Deleted(name) | Self::Replaced(name, _) => vec![name.clone()],
            Self::Swapped(one, two) => vec![one.clone(), two.clone()],
        }
    }

    fn values(&self, rows: &Rows) -> Vec<(RowName, Option<Vec<u8>>)> {
        match self {
            Self::Deleted(name) => vec![(name.clone(), None)],
            Self::Replaced(name, value) => vec![(name.clone(), Some(value.clone()))],
            Self::Swapped(one, two) => {
                vec![(one.clone(), Some(rows[two].clone())), (two.clone(), Some(rows[one].clone()))]
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Deleted(name) => format!("row {name} deleted"),
            Self::Replaced(name, _) => format!("row {name} put back"),
            Self::Swapped(one, two) => format!("rows {one} and {two} swapped"),
        }
    }
}

/// Alters, has the start refused, and undoes the alteration.
fn refused_with(service: &mut Service, rows: &Rows, alteration: &Alteration) {
    write(service, &alteration.values(rows));
    refuses_to_start(service, &alteration.text());
    let undo: Vec<_> = alteration
        .rows()
        .into_iter()
        .map(|name| (name.clone(), Some(rows[&name].clone())))
        .collect();
    write(service, &undo);
}

/// The supervisor gives up at once, and the signer says why.
fn refuses_to_start(service: &mut Service, what: &str) {
    let before = service.log().len();
    service.launch();
    let status = service.wait_for_end();
    let said = service.log().split_off(before);
    assert_eq!(status.code(), Some(1), "{what}: {said}");
    assert!(said.contains("chancery: signer: "), "{what}: {said}");
    let reasons = [
        "contradict each other",
        "was not sealed",
        "cannot be opened",
        "does not open in its place",
    ];
    assert!(reasons.iter().any(|reason| said.contains(reason)), "{what}: {said}");
}

fn change(service: &Service, event: KeyEvent) {
    let command = Command::ChangeVersion { key: name("invoices"), version: None, event };
    committed(ask(&service.client(), &command));
}

/// Declares an inventory of `cards` anew.
fn declare(service: &Service, ciphertexts: u64) {
    let counts = vec![VersionCount { version: 1, ciphertexts, uses: 0 }];
    let found = Found::Scanned(Scan { as_of: Epoch::default(), counts, others: 0, vouched: None });
    let (key, inventory) = (name("cards"), name("files"));
    let declaration = Declaration { key, inventory, found };
    committed(ask(&service.client(), &Command::DeclareInventory(declaration)));
}

fn order(service: &Service, order: CampaignOrder) -> CampaignId {
    let answer = committed(ask(&service.client(), &Command::OrderCampaign(order))).answer;
    let AnswerObject::Campaign(campaign) = answer else { panic!("no campaign") };
    campaign.id
}

/// A service that has some authority, stopped; its rows before and after a suspension was lifted and set.
fn altered_later() -> (Service, Rows, Rows) {
    let mut service = Service::start();
    key_and_handle(&service.client(), "invoices", "sign.bound:invoice", "ed25519");
    create_key(&service.client(), "receipts", "sign.bound:invoice", "ed25519");
    create_key(&service.client(), "cards", "encrypt.aead:card", "aes-256-gcm");
    declare(&service, 7);
    let (key, inventory) = (name("cards"), name("files"));
    let campaign = order(&service, CampaignOrder::Start { key, inventory });
    service.stop();
    let old = rows(&service);
    service.restart();
    change(&service, KeyEvent::Suspend);
    declare(&service, 6);
    order(&service, CampaignOrder::Pause(campaign));
    service.stop();
    // Once more up and down, so that the outbox is empty.
    service.restart();
    service.stop();
    let new = rows(&service);
    (service, old, new)
}

fn is_authority(name: &RowName) -> bool {
    !NOT_AUTHORITY.contains(&name.as_bytes()[KIND_AT])
}

fn finally_starts(mut service: Service) {
    service.restart();
    let log = service.done(&["audit", "verify", "--data", "d"]);
    assert!(log.contains("holds"));
    service.done(&["key", "show", "invoices"]);
}

#[test]
fn a_deleted_row_is_missed() {
    let (mut service, _, new) = altered_later();
    for name in new.keys().filter(|name| is_authority(name)) {
        refused_with(&mut service, &new, &Alteration::Deleted(name.clone()));
    }
    finally_starts(service);
}

/// After an orderly stop the resume file leaves nothing to read that would miss the keys by itself.
#[test]
fn deleted_audit_keys_of_a_month_with_records_are_missed() {
    let (mut service, _, new) = altered_later();
    let mut months: Vec<&RowName> =
        new.keys().filter(|name| name.as_bytes()[KIND_AT] == AUDIT_KEYS).collect();
    // Of each tenant the first month is the one with records; the next is made ahead of its time.
    months.dedup_by_key(|name| name.as_bytes()[..KIND_AT].to_vec());
    assert_eq!(months.len(), 2, "the service's own tenant and `default`");
    for name in months {
        refused_with(&mut service, &new, &Alteration::Deleted(name.clone()));
    }
    finally_starts(service);
}

#[test]
fn swapped_rows_are_noticed() {
    let (mut service, _, new) = altered_later();
    let names: Vec<_> = new.keys().filter(|name| is_authority(name)).collect();
    for (one, two) in names.iter().zip(names.iter().skip(1)) {
        refused_with(&mut service, &new, &Alteration::Swapped((*one).clone(), (*two).clone()));
    }
    finally_starts(service);
}

#[test]
fn an_old_copy_of_one_row_is_noticed() {
    let (mut service, old, new) = altered_later();
    let changed: Vec<_> = old
        .iter()
        .filter(|(name, value)| {
            is_authority(name) && new.get(*name).is_some_and(|now| now != *value)
        })
        .map(|(name, value)| Alteration::Replaced(name.clone(), value.clone()))
        .collect();
    // The tenant, the key, the inventory, the campaign and the head.
    assert_eq!(changed.len(), 5);
    for alteration in &changed {
        refused_with(&mut service, &new, alteration);
    }
    finally_starts(service);
}

#[test]
fn an_old_copy_of_every_changed_row_is_noticed() {
    let (mut service, old, new) = altered_later();
    let mut values: Vec<_> = Vec::new();
    for name in new.keys().chain(old.keys()) {
        if old.get(name) != new.get(name) && values.iter().all(|(known, _)| known != name) {
            values.push((name.clone(), old.get(name).cloned()));
        }
    }
    write(&service, &values);
    refuses_to_start(&mut service, "the authority of a day ago");
}

#[test]
fn an_old_copy_of_the_whole_store_is_noticed() {
    let mut service = Service::start();
    key_and_handle(&service.client(), "invoices", "sign.bound:invoice", "ed25519");
    service.stop();
    let copy = service.path("copy");
    fs::copy(store(&service), &copy).unwrap();
    service.restart();
    change(&service, KeyEvent::Suspend);
    service.stop();
    let now = fs::read(store(&service)).unwrap();
    fs::copy(&copy, store(&service)).unwrap();
    refuses_to_start(&mut service, "the store of a day ago");
    fs::write(store(&service), now).unwrap();
    finally_starts(service);
}

#[test]
fn a_store_that_is_gone_is_not_begun_anew() {
    let mut service = Service::start();
    key_and_handle(&service.client(), "invoices", "sign.bound:invoice", "ed25519");
    service.stop();
    let keys = |service: &Service| {
        let keys = [service.data().join("admin.toml"), service.path("recovery.key")];
        keys.map(|path| fs::read(path).unwrap())
    };
    let (before, moved) = (keys(&service), service.path("moved"));
    fs::rename(store(&service), &moved).unwrap();
    refuses_to_start(&mut service, "no store");
    assert_eq!(keys(&service), before);
    assert!(!store(&service).exists());
    fs::rename(&moved, store(&service)).unwrap();
    finally_starts(service);
}

#[test]
fn the_store_is_looked_into_while_the_service_runs_and_while_it_does_not() {
    let mut service = Service::start();
    let client = service.client();
    crate::harness::key_and_handle(&client, "k", "sign.bound:test", "ed25519");
    let data = service.data().to_str().unwrap().to_owned();
    let names = |dump: &str| -> Vec<String> {
        dump.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let checked = service.done(&["store", "check", "--data", &data]);
    assert!(checked.contains("holds, says the service that runs"), "{checked}");
    let running = names(&service.done(&["store", "dump", "--data", &data]));
    service.stop();
    let checked = service.done(&["store", "check", "--data", &data]);
    assert!(checked.contains("sound"), "{checked}");
    let stopped = names(&service.done(&["store", "dump", "--data", &data]));
    assert!(running.len() > 10 && running.iter().all(|name| stopped.contains(name)), "{running:?}");
}

/// Looking changes nothing of the file, whether it is sound, was left by a crash, or is damaged.
#[test]
fn a_damaged_store_is_a_finding_and_no_look_changes_the_file() {
    let mut service = Service::start();
    key_and_handle(&service.client(), "k", "sign.bound:test", "ed25519");
    service.kill_all();
    let left = fs::read(store(&service)).unwrap();
    let checked = service.done(&["store", "check", "--data", "d"]);
    assert!(checked.contains("not closed cleanly"), "{checked}");
    service.done(&["store", "dump", "--data", "d"]);
    assert!(fs::read(store(&service)).unwrap() == left, "a look changed what a crash left");
    service.restart();
    service.stop();
    let mut bytes = fs::read(store(&service)).unwrap();
    service.done(&["store", "check", "--data", "d"]);
    assert!(fs::read(store(&service)).unwrap() == bytes, "a look changed a sound store");
    // A bit of a sealed row, as `dump` names it.
    let dump = service.done(&["store", "dump", "--data", "d", "--format", "json"]);
    let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
    let sealed = dump["rows"][0]["sealed"].as_str().unwrap();
    let sealed: Vec<u8> = (0..sealed.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&sealed[at..at + 2], 16).unwrap())
        .collect();
    let places: Vec<_> =
        (0..bytes.len() - sealed.len()).filter(|&at| bytes[at..].starts_with(&sealed)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    fs::write(store(&service), &bytes).unwrap();
    for command in ["check", "dump"] {
        let output = service.cli(&["store", command, "--data", "d"]);
        let said = crate::harness::text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{command}: {said}");
        assert!(said.contains("does not hold; nothing was changed"), "{command}: {said}");
        assert!(fs::read(store(&service)).unwrap() == bytes, "{command} changed a damaged store");
    }
}
