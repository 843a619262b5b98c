//! All three processes are killed at random under load, and the journal of every caller holds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chancery_client::{Client, KeyHandle, Outcome};

use super::journal::{Findings, Journal, Request};
use super::workload::{NobodyThere, Worker};
use crate::harness::{Options, Process, Service, eventually, is_alive};

/// How long it goes on in CI.
const SECONDS: u64 = 20;

/// Callers at once.
const CALLERS: u64 = 4;

/// The pause of a caller between two operations: so that the judging takes no longer than the dying.
const PAUSE: Duration = Duration::from_millis(10);

/// Operations of a caller between two keys of its own.
const KEY_EVERY: u32 = 40;

/// The shortest and the longest time between two deaths, in milliseconds.
const BETWEEN_MS: std::ops::Range<u64> = 50..900;

/// Small enough that many segments are filled.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// A small generator (xorshift64): the seed is printed, so that a run can be had again.
struct Random(AtomicU64);

impl Random {
    fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.load(Ordering::SeqCst);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.store(state, Ordering::SeqCst);
        state % bound
    }
}

fn seconds() -> u64 {
    let given = std::env::var("CHANCERY_SOAK_SECONDS").ok();
    given.map_or(SECONDS, |seconds| seconds.parse().expect("a number of seconds"))
}

/// One caller's life: it signs, encrypts, makes keys and takes their authority away.
fn call(client: &Client, number: u64, over: &AtomicBool) -> Journal {
    let is_alive = || true;
    let mut worker = Worker::new(client, &is_alive);
    let (mut keys, mut handles) = (0, Vec::new());
    while !over.load(Ordering::SeqCst) {
        thread::sleep(PAUSE);
        if handles.len() < 2 {
            keys += 1;
            let _ = make_keys(&mut worker, &format!("k{number}-{keys}"), &mut handles);
            continue;
        }
        if use_keys(&mut worker, &mut handles).is_err() {
            thread::sleep(PAUSE * 5);
        }
    }
    worker.journal()
}

fn make_keys(
    worker: &mut Worker<'_>,
    key: &str,
    handles: &mut Vec<KeyHandle>,
) -> Result<(), NobodyThere> {
    handles.clear();
    let signing = worker.key(&format!("{key}-s"), "sign.bound:invoice", "ecdsa-p256")?;
    let cards = worker.key(&format!("{key}-e"), "encrypt.aead:card", "aes-256-gcm")?;
    handles.extend(signing.into_iter().chain(cards));
    Ok(())
}

/// Uses both keys for a while, and then takes the handle of the first.
fn use_keys(worker: &mut Worker<'_>, handles: &mut Vec<KeyHandle>) -> Result<(), NobodyThere> {
    for n in 0..KEY_EVERY {
        thread::sleep(PAUSE);
        let request = match handles.as_slice() {
            [signing, ..] if n % 2 == 0 => Request::Sign(signing.clone(), n.to_be_bytes().into()),
            [_, cards] => Request::Encrypt(cards.clone(), n.to_be_bytes().into()),
            _ => return Ok(()),
        };
        if !matches!(worker.ask_anyway(&request), Outcome::Committed(_)) {
            return Err(NobodyThere);
        }
    }
    let revoked = handles.remove(0);
    worker.revoke(Some(revoked))
}

/// Kills one of the three, and starts the service again where nobody else does.
fn kill_one(service: &mut Service, random: &Random) {
    let processes = [Process::Front, Process::Signer, Process::Supervisor];
    let process = processes[usize::try_from(random.below(3)).unwrap()];
    let pids = service.pids();
    if pids.get(process).is_none() {
        return;
    }
    service.kill(process);
    if process == Process::Supervisor {
        eventually("no orphan is left", || !pids.all().any(is_alive));
        service.launch();
    }
}

#[test]
fn every_caller_finds_what_it_was_told_after_random_deaths() {
    let options = Options { segment_bytes: Some(SEGMENT_BYTES), ..Options::default() };
    let mut service = Service::start_with(options);
    let seed = chancery_client::unix_ms() | 1;
    println!("seed {seed}");
    let (random, over) = (Random(AtomicU64::new(seed)), AtomicBool::new(false));
    let end = Instant::now() + Duration::from_secs(seconds());
    let clients: Vec<_> = (0..CALLERS).map(|_| service.client()).collect();
    let mut deaths = 0;
    let mut journal = Journal::default();
    thread::scope(|scope| {
        let over = &over;
        let callers: Vec<_> = (0..CALLERS)
            .zip(&clients)
            .map(|(number, client)| scope.spawn(move || call(client, number, over)))
            .collect();
        while Instant::now() < end {
            let pause = BETWEEN_MS.start + random.below(BETWEEN_MS.end - BETWEEN_MS.start);
            thread::sleep(Duration::from_millis(pause));
            kill_one(&mut service, &random);
            deaths += 1;
        }
        service.wait_until_up();
        thread::sleep(PAUSE * 50);
        over.store(true, Ordering::SeqCst);
        for caller in callers {
            journal.extend(caller.join().unwrap());
        }
    });
    println!(
        "{deaths} deaths, {} acknowledged, {} unanswered",
        journal.acknowledged(),
        journal.unanswered()
    );
    assert!(journal.acknowledged() > 100 && journal.unanswered() > 0, "there was no load");
    assert_eq!(journal.judge(&service), Findings::new());
    service.restart();
    assert_eq!(journal.judge(&service), Findings::new());
}
