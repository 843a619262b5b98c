//! Power is lost at each call of a recorded first start: the whole service is traced, supervisor and all.
//!
//! Everything that it makes is replayed: root key and recovery key where the service puts them by itself, store,
//! `admin.toml`, the log's origin and first segment, the reductions' roots, and the directories around them.
//! Whatever is left, a start needs no hand. It goes on with what it finds, or begins anew; and once anything
//! was acknowledged it is the same service, under the same keys.

use std::fs;

use chancery_audit::origin::Origin;
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;

use super::journal::{Findings, Journal};
use super::points::sample;
use super::power::{RANDOM_STATES, Recording};
use super::recorded::{Change, KEYS, Recorded, changes, directories, images};
use super::scene::{options, runs_all};
use super::traced::{Tracing, settled, trace_path};
use super::workload::Worker;
use crate::harness::{Options, Service};
use crate::opened::{Opened, from_key_file};

/// So many points up to the first answers are tried, unless all are.
const POINTS_MAX: usize = 40;

/// The answers up to which a sample goes: what comes later is as in a later run.
const ANSWERS: usize = 3;

/// What makes one service itself: it may change only as long as nobody was told anything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    root: [u8; 32],
    recovery: [u8; 32],
    origin: String,
    operator: Vec<u8>,
}

/// The workload of a service that has never been started, all of it traced.
fn recorded() -> (Recording, Identity) {
    let options = Options { usual_keys: true, ..options() };
    let mut service = Service::prepare(options.clone());
    let start = images(&service);
    service.run_by(Tracing::Whole.command(&service));
    service.launch();
    service.wait_until_up();
    let journal = Worker::new(&service.client(), &|| true).run();
    assert_eq!(journal.unanswered(), 0);
    service.kill_all();
    let trace = settled(&trace_path(&service));
    let changes = changes(&trace, &directories(&service));
    let recording = Recording { options, start, journal, changes };
    (recording, identity(&service).unwrap())
}

fn identity(service: &Service) -> Result<Identity, String> {
    let origin = fs::read_to_string(service.data().join("audit/origin"));
    Ok(Identity {
        root: from_key_file(&service.key_file("root.key"))?,
        recovery: from_key_file(&service.key_file("recovery.key"))?,
        origin: origin.map_err(|error| error.to_string())?,
        operator: service.profile().signing_key.as_slice().to_vec(),
    })
}

/// Whether the parts of a service that is up belong together, and are those that they must be.
fn holds_together(service: &mut Service, journal: &Journal, recorded: &Identity) -> Findings {
    // The operator's key was believed when the service was asked whether it is up.
    service.kill_all();
    match (identity(service), Opened::of(service)) {
        (Ok(identity), Ok(opened)) => mismatches(&identity, &opened, journal, recorded),
        (Err(what), _) | (_, Err(what)) => vec![what],
    }
}

fn mismatches(
    identity: &Identity,
    opened: &Opened,
    journal: &Journal,
    recorded: &Identity,
) -> Findings {
    let key = |seed: &[u8; 32]| PrivateKey::from_secret(Suite::Ed25519, seed).unwrap();
    let recovery = key(&identity.recovery);
    let origin = Origin::of_signer(&key(&opened.secrets.receipt)).unwrap();
    let checks = [
        (recovery.public().unwrap().spki() != opened.secrets.recovery, "another recovery key"),
        (origin.to_text() != identity.origin, "another origin"),
        (journal.acknowledged() > 0 && identity != recorded, "another service"),
    ];
    checks.iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, what)| (*what).to_owned()).collect()
}

/// The points until so many answers had been given.
fn points_until(recording: &Recording, answers: usize) -> Vec<usize> {
    let is_early =
        |point: &usize| recording.journal.as_of(recording.moment(*point)).acknowledged() <= answers;
    (0..recording.changes.len()).filter(is_early).collect()
}

#[test]
fn a_first_start_goes_on_or_begins_anew_wherever_it_loses_power() {
    let (recording, identity) = recorded();
    let points = if runs_all() {
        (0..recording.changes.len()).collect()
    } else {
        sample(points_until(&recording, ANSWERS), POINTS_MAX)
    };
    let states = recording.states(&points, RANDOM_STATES);
    recording.judge_all(&states, &|service, journal| holds_together(service, journal, &identity));
    println!("{} states at {} points of {}", states.len(), points.len(), recording.changes.len());
}

#[test]
fn a_root_key_that_is_not_synced_is_noticed() {
    let is_sync_of_keys = |one: &Recorded| {
        one.directory == KEYS && matches!(one.change, Change::Sync { .. } | Change::SyncDirectory)
    };
    let findings = recorded().0.without(is_sync_of_keys).at_the_end();
    assert!(!findings.is_empty());
}

#[test]
fn a_directory_of_keys_whose_name_is_not_synced_is_noticed() {
    let is_sync_above =
        |one: &Recorded| one.directory < KEYS && one.change == Change::SyncDirectory;
    let findings = recorded().0.without(is_sync_above).at_the_end();
    assert!(!findings.is_empty());
}
