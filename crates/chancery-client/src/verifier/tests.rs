//! Each rule by which a bundle is taken or refused, with a source and a clock of the tests' own.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use chancery_core::bundle::{Floors, Universe};
use chancery_core::clock::Served;
use chancery_core::id::{KeyId, TenantId};
use chancery_core::key::{Key, KeyVersion, Provenance, Published};
use chancery_core::reason::Reason;
use chancery_core::state::KeyState;
use chancery_core::suite::Suite;
use chancery_crypto::bundle::{BundleKeys, page, sum};
use chancery_crypto::key::{PrivateKey, PublicKey};

use super::*;
use crate::outcome::Refusal;

const START_MS: u64 = 1_795_996_800_000;
const STALENESS_MS: u64 = 4 * 3_600_000;
const LIFE_MS: u64 = 24 * 3_600_000;

#[derive(Clone, Default)]
struct FakeClock(Arc<AtomicU64>);

impl FakeClock {
    fn at(ms: u64) -> Self {
        let clock = Self::default();
        clock.0.store(ms, Ordering::SeqCst);
        clock
    }

    fn forward(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn keys() -> BundleKeys {
    BundleKeys::from_seeds(&[1; 32], &[2; 32]).unwrap()
}

fn pins() -> Pins {
    Pins::of_signers(&keys().signers()).unwrap()
}

fn epoch(number: u64) -> Epoch {
    Epoch { generation: 0, number }
}

fn scope() -> Scope {
    let part = || "default".parse().unwrap();
    Scope { environment: part(), region: part(), service: part() }
}

fn private(version: u32) -> PrivateKey {
    PrivateKey::from_secret(Suite::Ed25519, &[u8::try_from(version).unwrap(); 32]).unwrap()
}

/// A key of plain bytes with so many versions.
fn key(versions: u32) -> Key {
    let version = |number| KeyVersion {
        number,
        state: KeyState::Active,
        created_ms: 1,
        provenance: Provenance::Generated,
        public: private(number).public().map(PublicKey::spki).unwrap().to_vec(),
        destruction: None,
        published: Some(Published { epoch: epoch(1), at: Served::default() }),
        active_from: None,
        active_at: None,
        given_up: None,
        suite: None,
    };
    Key {
        id: KeyId::from_bytes([7; 16]),
        tenant: TenantId::from_bytes([1; 16]),
        name: "k".parse().unwrap(),
        scope: scope(),
        purpose: "sign.dsse:application/x".parse().unwrap(),
        suite: Suite::Ed25519,
        scheduled: 1,
        authority_epoch: epoch(1),
        min_issue_epoch: epoch(1),
        versions: (1..=versions).map(version).collect(),
        witnessed: false,
        moving: None,
    }
}

/// A bundle: its head, signed, and the key in it.
#[derive(Clone)]
struct Bundle {
    head: Head,
    digest: [u8; 32],
    signed: Vec<u8>,
    keys: Vec<Key>,
}

impl Bundle {
    fn new(number: u64, versions: u32, before: Option<&Self>) -> Self {
        let keys = vec![key(versions)];
        let sum = sum(&keys);
        let head = Head {
            tenant: TenantId::from_bytes([1; 16]),
            number: epoch(number),
            as_of: epoch(number + 10),
            previous: before.map(|before| before.digest),
            made_ms: START_MS,
            refresh_ms: 60_000,
            max_staleness_ms: STALENESS_MS,
            expires_ms: START_MS + LIFE_MS,
            universe: Universe::PublishedPublic,
            keys: sum.keys,
            revoked: sum.revoked,
            revoke_all: sum.revoke_all,
            root: sum.root,
            bytes: sum.bytes,
            floors: Floors::STANDARD,
            signers: Vec::new(),
        };
        Self::of(head, keys)
    }

    fn of(head: Head, keys: Vec<Key>) -> Self {
        let (digest, signed) = self::keys().sign(&head).unwrap();
        Self { head, digest, signed, keys }
    }

    fn with(&self, change: impl FnOnce(&mut Head)) -> Self {
        let mut head = self.head.clone();
        change(&mut head);
        Self::of(head, self.keys.clone())
    }
}

/// A source that hands out what it is told to, and counts how often it is asked.
#[derive(Default)]
struct FakeSource {
    bundle: Mutex<Option<Bundle>>,
    garbage: Mutex<VecDeque<Vec<u8>>>,
    asked: AtomicUsize,
    /// How long an answer takes.
    slow: Duration,
}

impl FakeSource {
    fn of(bundle: &Bundle) -> Self {
        let source = Self::default();
        source.hand_out(bundle);
        source
    }

    fn hand_out(&self, bundle: &Bundle) {
        *self.bundle.lock().unwrap() = Some(bundle.clone());
    }

    fn is_away(&self) {
        *self.bundle.lock().unwrap() = None;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn away() -> SourceError {
    SourceError(Refusal::new(Reason::Unavailable, "away"))
}

impl BundleSource for FakeSource {
    fn head(&self, known: Option<[u8; 32]>, _: Duration) -> Result<Option<Vec<u8>>, SourceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.slow);
        if let Some(garbage) = self.garbage.lock().unwrap().pop_front() {
            return Ok(Some(garbage));
        }
        let bundle = self.bundle.lock().unwrap().clone().ok_or_else(away)?;
        Ok((known != Some(bundle.digest)).then_some(bundle.signed))
    }

    fn page(&self, number: Epoch, from: u64) -> Result<Vec<u8>, SourceError> {
        let bundle = self.bundle.lock().unwrap().clone().ok_or_else(away)?;
        page(number, &bundle.keys, from).ok_or_else(away)
    }
}

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("chancery-verifier-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn evidence(&self) -> usize {
        std::fs::read_dir(self.0.join("evidence")).map_or(0, Iterator::count)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open<'s>(
    scratch: &Scratch,
    source: &'s FakeSource,
    clock: &FakeClock,
) -> Result<Verifier<&'s FakeSource>, PlaceError> {
    Verifier::open(&scratch.0, pins(), source, Box::new(clock.clone()))
}

/// An envelope that a version signed.
fn envelope(version: u32) -> Vec<u8> {
    use chancery_crypto::formats::{Signatures, Signing, to_be_signed};
    let (key, context) = (key(0), Context::default());
    let signing = Signing {
        purpose: &key.purpose,
        suite: Suite::Ed25519,
        key: key.id,
        version,
        public: &[],
        posture_epoch: 1,
        context: &context,
        payload: Payload::Message(b"x"),
        signatures: Signatures::One,
        now_ms: START_MS,
    };
    let prepared = to_be_signed(&signing).unwrap();
    let signature = private(version).sign(prepared.bytes()).unwrap();
    prepared.assemble(&signature)
}

fn verify(verifier: &Verifier<&FakeSource>, version: u32) -> Result<(), NotAccepted> {
    let (key, context) = (key(0), Context::default());
    let (name, purpose, scope) = (&key.name, &key.purpose, &key.scope);
    let wanted = Wanted { key: name, purpose, scope, context: &context, payload: None };
    verifier.verify(&envelope(version), &wanted).map(|_| ())
}

fn refresh(verifier: &Verifier<&FakeSource>) -> Result<Refreshed, RefreshError> {
    verifier.refresh(Duration::ZERO)
}

#[test]
fn a_newer_bundle_is_taken_and_the_same_one_is_only_heard() {
    let scratch = Scratch::new("newer");
    let (first, clock) = (Bundle::new(1, 1, None), FakeClock::at(START_MS));
    let source = FakeSource::of(&first);
    let verifier = open(&scratch, &source, &clock).unwrap();
    assert_eq!(refresh(&verifier).unwrap(), Refreshed::Newer);
    assert_eq!(refresh(&verifier).unwrap(), Refreshed::Same);
    assert_eq!(verify(&verifier, 1), Ok(()));
    source.hand_out(&Bundle::new(2, 2, Some(&first)));
    assert_eq!(refresh(&verifier).unwrap(), Refreshed::Newer);
    assert_eq!(verify(&verifier, 2), Ok(()));
    let report = verifier.report().unwrap();
    assert_eq!((report.bundle, report.as_of, report.counts.len()), (epoch(2), epoch(12), 2));
}

#[test]
fn a_number_with_two_contents_is_equivocation_and_both_are_kept() {
    let scratch = Scratch::new("equivocation");
    let (first, clock) = (Bundle::new(1, 1, None), FakeClock::at(START_MS));
    let source = FakeSource::of(&first);
    let verifier = open(&scratch, &source, &clock).unwrap();
    refresh(&verifier).unwrap();
    source.hand_out(&Bundle::new(1, 2, None));
    assert!(
        matches!(refresh(&verifier), Err(RefreshError::Equivocation(number)) if number == epoch(1))
    );
    assert_eq!(scratch.evidence(), 2);
    // The next number after another bundle than this one is a fork as well.
    let fork = Bundle::new(2, 1, Some(&Bundle::new(1, 2, None)));
    source.hand_out(&fork);
    assert!(
        matches!(refresh(&verifier), Err(RefreshError::Equivocation(number)) if number == epoch(2))
    );
    assert_eq!((verify(&verifier, 1), verifier.head().unwrap()), (Ok(()), first.head));
}

#[test]
fn a_lower_number_is_a_rollback_across_restarts_too() {
    let scratch = Scratch::new("rollback");
    let clock = FakeClock::at(START_MS);
    let first = Bundle::new(1, 1, None);
    let second = Bundle::new(2, 2, Some(&first));
    let source = FakeSource::of(&second);
    refresh(&open(&scratch, &source, &clock).unwrap()).unwrap();
    source.hand_out(&first);
    let verifier = open(&scratch, &source, &clock).unwrap();
    assert!(
        matches!(refresh(&verifier), Err(RefreshError::Rollback(number)) if number == epoch(1))
    );
    assert_eq!(verify(&verifier, 2), Ok(()));
    let third = Bundle::new(3, 2, Some(&second));
    for wrong in
        [third.with(|head| head.as_of = epoch(11)), third.with(|head| head.made_ms = START_MS - 1)]
    {
        source.hand_out(&wrong);
        assert!(matches!(refresh(&verifier), Err(RefreshError::Rollback(_))));
    }
    for wrong in [
        third.with(|head| head.tenant = TenantId::from_bytes([9; 16])),
        third.with(|head| head.floors.strength_bits = 112),
        third.with(|head| head.floors.posture_epoch = 0),
        third.with(|head| head.made_ms = START_MS + 60_001),
        third.with(|head| head.expires_ms = START_MS),
    ] {
        source.hand_out(&wrong);
        assert!(refresh(&verifier).is_err());
    }
    source.hand_out(&third.with(|head| head.made_ms = START_MS + 60_000));
    assert_eq!(refresh(&verifier).unwrap(), Refreshed::Newer);
}

#[test]
fn numbers_may_skip_since_bundles_are_made_when_somebody_asks() {
    let scratch = Scratch::new("skip");
    let clock = FakeClock::at(START_MS);
    let first = Bundle::new(1, 1, None);
    let source = FakeSource::of(&first);
    let verifier = open(&scratch, &source, &clock).unwrap();
    refresh(&verifier).unwrap();
    source.hand_out(&Bundle::new(7, 2, Some(&Bundle::new(6, 2, None))));
    assert_eq!(refresh(&verifier).unwrap(), Refreshed::Newer);
}

#[test]
fn what_is_no_bundle_changes_nothing_until_the_service_was_not_heard_for_too_long() {
    let scratch = Scratch::new("garbage");
    let (first, clock) = (Bundle::new(1, 1, None), FakeClock::at(START_MS));
    let source = FakeSource::of(&first);
    let verifier = open(&scratch, &source, &clock).unwrap();
    refresh(&verifier).unwrap();
    let mut altered = Bundle::new(2, 2, Some(&first)).signed;
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for garbage in [Vec::new(), vec![0; 100_000], altered] {
        source.garbage.lock().unwrap().push_back(garbage);
        assert!(matches!(refresh(&verifier), Err(RefreshError::Bundle(_))));
        assert_eq!(verify(&verifier, 1), Ok(()));
    }
    source.is_away();
    clock.forward(STALENESS_MS);
    assert_eq!(verify(&verifier, 1), Ok(()));
    clock.forward(1);
    assert_eq!(verify(&verifier, 1), Err(NotAccepted::Stale));
    source.hand_out(&first);
    // It has asked already within the floor.
    assert_eq!(verify(&verifier, 1), Err(NotAccepted::Stale));
    clock.forward(millis(REFETCH_FLOOR));
    assert_eq!(verify(&verifier, 1), Ok(()));
}

#[test]
fn who_is_told_that_nothing_is_newer_stops_at_the_end_all_the_same() {
    let scratch = Scratch::new("freeze");
    let (first, clock) = (Bundle::new(1, 1, None), FakeClock::at(START_MS));
    let source = FakeSource::of(&first);
    let verifier = open(&scratch, &source, &clock).unwrap();
    refresh(&verifier).unwrap();
    for _ in 0..6 {
        clock.forward(LIFE_MS / 6 - 1);
        assert_eq!(refresh(&verifier).unwrap(), Refreshed::Same);
    }
    assert_eq!(verify(&verifier, 1), Ok(()));
    clock.forward(6);
    refresh(&verifier).unwrap();
    assert_eq!(verify(&verifier, 1), Err(Rejected::Expired.into()));
}

#[test]
fn an_unknown_version_is_fetched_for_once_in_the_floor_whatever_comes_of_it() {
    let scratch = Scratch::new("floor");
    let (first, clock) = (Bundle::new(1, 1, None), FakeClock::at(START_MS));
    let source = FakeSource::of(&first);
    let verifier = open(&scratch, &source, &clock).unwrap();
    refresh(&verifier).unwrap();
    let before = source.asked();
    for _ in 0..5 {
        assert!(verify(&verifier, 2).is_err());
    }
    assert_eq!(source.asked(), before + 1);
    source.is_away();
    clock.forward(millis(REFETCH_FLOOR) - 1);
    assert!(verify(&verifier, 2).is_err());
    assert_eq!(source.asked(), before + 1);
    clock.forward(1);
    assert!(verify(&verifier, 2).is_err());
    assert!(verify(&verifier, 2).is_err());
    assert_eq!(source.asked(), before + 2);
    source.hand_out(&Bundle::new(2, 2, Some(&first)));
    clock.forward(millis(REFETCH_FLOOR));
    assert_eq!(verify(&verifier, 2), Ok(()));
    let unknown: u64 = verifier.report().unwrap().counts.iter().map(|it| it.unknown).sum();
    assert_eq!(unknown, 8);
}

#[test]
fn many_who_ask_at_once_cause_one_fetch_and_all_have_its_answer() {
    let scratch = Scratch::new("flight");
    let (first, clock) = (Bundle::new(1, 1, None), FakeClock::at(START_MS));
    let source = FakeSource { slow: Duration::from_millis(50), ..FakeSource::of(&first) };
    let verifier = open(&scratch, &source, &clock).unwrap();
    refresh(&verifier).unwrap();
    source.hand_out(&Bundle::new(2, 2, Some(&first)));
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| verify(&verifier, 2))).collect();
        assert!(all.into_iter().all(|one| one.join().unwrap() == Ok(())));
    });
    assert_eq!(source.asked(), 2);
}

#[test]
fn nothing_is_accepted_before_there_is_a_bundle() {
    let scratch = Scratch::new("none");
    let (source, clock) = (FakeSource::default(), FakeClock::at(START_MS));
    let verifier = open(&scratch, &source, &clock).unwrap();
    assert_eq!(verify(&verifier, 1), Err(NotAccepted::NoBundle));
    assert_eq!(verifier.report(), None);
}

#[test]
fn a_state_that_does_not_open_is_no_fresh_start() {
    let scratch = Scratch::new("state");
    let (first, clock) = (Bundle::new(1, 1, None), FakeClock::at(START_MS));
    let source = FakeSource::of(&first);
    let verifier = open(&scratch, &source, &clock).unwrap();
    refresh(&verifier).unwrap();
    assert!(matches!(open(&scratch, &source, &clock), Err(PlaceError::InUse(_))));
    drop(verifier);
    let path = scratch.0.join("state");
    let state = std::fs::read(&path).unwrap();
    let mut altered = state.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    for wrong in [Vec::new(), state[..last].to_vec(), altered] {
        std::fs::write(&path, wrong).unwrap();
        assert!(matches!(open(&scratch, &source, &clock), Err(PlaceError::State { .. })));
    }
    // A write that was cut short leaves the state before.
    std::fs::write(&path, &state).unwrap();
    std::fs::write(scratch.0.join(".state.new"), b"half").unwrap();
    let verifier = open(&scratch, &source, &clock).unwrap();
    assert_eq!(verify(&verifier, 1), Ok(()));
}
