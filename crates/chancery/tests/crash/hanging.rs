//! The store of a running service hangs: nobody is kept waiting for a trust bundle, and none leaves that is not on record.
//!
//! `strace` holds each sync of the store back for longer than the test takes; it is let go of when the trace is ended.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chancery_client::{BundleSource as _, Client};
use chancery_core::epoch::Epoch;
use chancery_crypto::bundle::{Assembly, Pins, TrustBundle, claimed_signers};

use super::disk::Failing;
use crate::harness::{
    Process, Service, ask, committed, create_key, eventually, key_and_handle, new_key, sign,
};

/// A sync of the store takes an hour, in microseconds.
const HANGS: &str = "fsync,fdatasync:delay_enter=3600000000";

/// The longest that anybody waits for a bundle here: half of what a front gives a request, five times what a draft is given.
const PATIENCE: Duration = Duration::from_secs(12);

/// How long a command is given to come to the store.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// So many ask at once.
const ASKING: usize = 8;

/// What hangs first; the other waits behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// A change, which holds the vault.
    Change,
    /// A bundle.
    Bundle,
}

/// A service with a bundle, which is not the latest any more, and a store that hangs.
struct Scene {
    service: Service,
    pins: Pins,
    before: TrustBundle,
    /// Every bundle that was handed out, by its number.
    heads: BTreeMap<Epoch, Vec<u8>>,
    change: Option<JoinHandle<()>>,
    hanging: Option<Failing>,
}

impl Scene {
    fn new(first: First) -> Self {
        let service = Service::start();
        let client = service.client();
        create_key(&client, "k", "sign.bound:x", "ed25519");
        let signed = client.head(None, Duration::ZERO).unwrap().unwrap();
        let pins = Pins::of_signers(&claimed_signers(&signed).unwrap()).unwrap();
        let before = bundle(&client, &pins);
        create_key(&client, "due", "sign.bound:x", "ed25519");
        let store = ["store.redb".to_owned()];
        let hanging = Some(Failing::attach(&service, Process::Signer, &store, HANGS));
        let heads = BTreeMap::new();
        let mut scene = Self { service, pins, before, heads, change: None, hanging };
        if first == First::Change {
            scene.change();
        }
        scene
    }

    /// A change that hangs.
    fn change(&mut self) {
        let client = self.service.client();
        self.change = Some(std::thread::spawn(move || {
            // Committed if the store goes on, unknown if the signer is killed.
            let _ = ask(&client, &new_key("late", "sign.bound:x", "ed25519"));
        }));
        std::thread::sleep(ON_ITS_WAY);
    }

    /// The head that is handed out, in the time that anybody waits.
    fn head(&mut self) -> Vec<u8> {
        let asked = Instant::now();
        let signed = self.service.client().head(None, Duration::ZERO).unwrap().unwrap();
        assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
        self.keep(&signed);
        signed
    }

    /// One number is one bundle.
    fn keep(&mut self, signed: &[u8]) {
        let number = Assembly::begin(signed, &self.pins).unwrap().head().number;
        let known = self.heads.entry(number).or_insert_with(|| signed.to_vec());
        assert_eq!(known, signed, "{number:?}");
    }

    /// All who ask are given the bundle before, its entries, and what else the service does without the store.
    fn judge_hanging(&mut self) {
        let clients: Vec<_> = (0..ASKING).map(|_| self.service.client()).collect();
        let began = Instant::now();
        let asking = clients.into_iter().map(|client| {
            std::thread::spawn(move || client.head(None, Duration::ZERO).unwrap().unwrap())
        });
        let given: Vec<_> =
            asking.collect::<Vec<_>>().into_iter().map(|it| it.join().unwrap()).collect();
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
        assert!(given.iter().all(|signed| signed == self.before.signed()));
        // Long after any draft was given up on, too.
        assert_eq!(self.head(), self.before.signed());
        let client = self.service.client();
        let known = client.head(Some(self.before.digest()), Duration::from_secs(1));
        assert_eq!(known, Ok(None));
        assert_eq!(bundle(&client, &self.pins), self.before);
    }

    /// Once the store goes on: the next bundle comes, after the one before, under a number of its own.
    fn judge_after(mut self) {
        eventually("there is the next bundle", || self.head() != self.before.signed());
        let client = self.service.client();
        create_key(&client, "last", "sign.bound:x", "ed25519");
        let last = bundle(&client, &self.pins);
        self.keep(last.signed());
        let names: Vec<_> = last.keys().iter().map(|key| key.name.to_string()).collect();
        for name in ["k", "due", "last"] {
            assert!(names.iter().any(|it| it == name), "{names:?}");
        }
        let before = self.before.head().number;
        assert!(self.heads.keys().all(|number| *number >= before));
        assert!(last.head().number > before);
        // Each that was handed out is on record, and none is twice.
        let query = ["audit", "query", "--action", "issue-bundle", "--limit", "100", "--format"];
        let found = self.service.done(&[&query[..], &["json"]].concat());
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        assert!(found.as_array().unwrap().len() >= self.heads.len(), "{found}");
        let (_, handle) = key_and_handle(&client, "after", "sign.bound:x", "ed25519");
        committed(sign(&client, &handle, b"m", crate::harness::fresh()));
        let data = self.service.data();
        self.service.done(&["audit", "verify", "--data", data.to_str().unwrap()]);
    }

    fn go_on(&mut self) {
        self.hanging = None;
        if let Some(change) = self.change.take() {
            change.join().unwrap();
        }
    }
}

fn bundle(client: &Client, pins: &Pins) -> TrustBundle {
    let signed = client.head(None, Duration::ZERO).unwrap().unwrap();
    let mut assembly = Assembly::begin(&signed, pins).unwrap();
    while let Some(from) = assembly.next_entry() {
        assembly.page(&client.page(assembly.head().number, from).unwrap()).unwrap();
    }
    assembly.finish().unwrap()
}

#[test]
fn while_the_store_hangs_the_last_bundle_is_handed_out_and_the_next_one_once_it_is_on_record() {
    let mut scene = Scene::new(First::Bundle);
    scene.judge_hanging();
    scene.change();
    assert_eq!(scene.head(), scene.before.signed());
    scene.go_on();
    scene.judge_after();
}

#[test]
fn a_change_that_hangs_in_the_store_keeps_nobody_waiting_for_a_bundle() {
    let mut scene = Scene::new(First::Change);
    scene.judge_hanging();
    scene.go_on();
    scene.judge_after();
}

#[test]
fn a_signer_that_is_killed_while_its_store_hangs_hands_out_no_number_twice() {
    let mut scene = Scene::new(First::Bundle);
    scene.judge_hanging();
    scene.hanging.take().unwrap().kill();
    scene.service.wait_until_up();
    eventually("the signer answers", || scene.service.client().head(None, Duration::ZERO).is_ok());
    scene.judge_after();
}
