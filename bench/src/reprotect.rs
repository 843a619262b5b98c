//! A campaign that encrypts many ciphertexts again, beside the raw loop that does nothing else.
//!
//! The raw loop opens an envelope under one key and seals it under another, in this process, on one thread. It runs before
//! the campaign, in the middle, and after it. In the middle who works and the service are killed, and both are started
//! again: what the campaign takes is the time of both its parts, scans and waiting for the disk included, and not the time
//! between them.
//!
//! A run fails if a ciphertext is not under the new version at the end, or one of the sample does not open.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_api::http::replies::{AnswerObject, KeyCensusObject};
use chancery_client::{Client, KeyHandle, Manner, Receipt, operation_id};
use chancery_core::command::{CensusQuery, Command};
use chancery_core::context::Context;
use chancery_core::handle::Operation;
use chancery_core::id::KeyId;
use chancery_core::limits::BATCH_ITEMS_MAX;
use chancery_core::purpose::Purpose;
use chancery_core::suite::Suite;
use chancery_crypto::envelope::{self, Binding, Header, Origin};
use chancery_crypto::formats::KeyVersion;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::primitive::random;
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::instance::{Instance, On, Serving};
use crate::keys::{self, New};
use crate::machine::{Machine, date, load_average};
use crate::options::{Format, Places};
use crate::process::POLL;
use crate::report::{float, median, ratio};

/// What each ciphertext holds: 64 bytes, a card's number with what goes with it.
const PLAINTEXT_BYTES: usize = 64;

/// How long a slice of the raw loop takes.
const SLICE: Duration = Duration::from_secs(1);

/// How many ciphertexts are opened at the end: one in a thousand.
const SAMPLED: u64 = 1_000;

/// How long a rollout may take to have the new version protect for everybody.
const FULL_MAX: Duration = Duration::from_secs(30);

/// The version there is, and the one that comes in.
const OLD: u32 = 1;
const NEW: u32 = 2;

/// The command line of `reprotect`.
#[derive(Args, Debug)]
pub(crate) struct ReprotectArgs {
    /// How many ciphertexts there are.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    ciphertexts: u64,
    /// As many as there are by default; answers and counts alone are looked at.
    #[arg(long, conflicts_with = "ciphertexts")]
    smoke: bool,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    places: Places,
}

#[derive(Debug, Serialize)]
struct ReprotectReport {
    began: String,
    ended: String,
    command: String,
    machine: Machine,
    ciphertexts: u64,
    plaintext_bytes: usize,
    /// How many were encrypted again when everything was killed; absent if all were before.
    killed_at: Option<u64>,
    seconds: f64,
    per_second: f64,
    /// Of the raw loop: the median of its slices, and each.
    raw_per_second: f64,
    raw_slices: Vec<f64>,
    ratio: f64,
}

/// Measures, and prints.
pub(crate) fn run(args: &ReprotectArgs) -> Result<()> {
    let (began, mut machine) = (date(), Machine::here()?);
    let binary = args.places.chancery()?;
    let serving = Serving { binary: binary.clone(), on: On::AllCores, more: Vec::new() };
    let mut service = Instance::start(&args.places.scratch()?, "reprotect", serving)?;
    let place = service.path("cards.txt");
    let handle = encrypt_all(service.client(), &place, args.ciphertexts)?;
    service.run(&["rotate", "cards", "--plan", "emergency"])?;
    wait_until_full(service.client())?;
    let raw = Raw::new()?;
    let mut slices = vec![raw.slice()?];
    let worked = Worked { binary: &binary, place: &place, total: args.ciphertexts };
    let (killed_at, first) = worked.until_killed(&mut service)?;
    slices.push(raw.slice()?);
    service.start_again()?;
    let second = match killed_at {
        Some(_) => worked.to_the_end(&service)?,
        None => Duration::ZERO,
    };
    slices.push(raw.slice()?);
    check(service.client(), &handle, &place, args.ciphertexts)?;
    machine.load_after = load_average();
    let seconds = (first + second).as_secs_f64();
    let (per_second, raw_per_second) = (float(args.ciphertexts) / seconds, median(&slices));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let report = ReprotectReport {
        began,
        ended: date(),
        command: format!("chancery-bench {}", arguments.join(" ")),
        machine,
        ciphertexts: args.ciphertexts,
        plaintext_bytes: PLAINTEXT_BYTES,
        killed_at,
        seconds,
        per_second,
        raw_per_second,
        raw_slices: slices,
        ratio: ratio(per_second, raw_per_second),
    };
    report.print(args.format)
}

/// Has the service encrypt, and writes one ciphertext on each line.
fn encrypt_all(client: &Client, place: &Path, many: u64) -> Result<KeyHandle> {
    let new = New { name: "cards", purpose: "encrypt.aead:card", algorithm: "aes-256-gcm" };
    let handle = keys::issue(client, &keys::create(client, &new)?)?;
    let mut file = BufWriter::new(File::create(place)?);
    let context = Context::default();
    let mut made = 0;
    while made < many {
        let part = many.saturating_sub(made).min(u64::try_from(BATCH_ITEMS_MAX)?);
        let plaintexts: Vec<_> = (made..made + part).map(plaintext).collect();
        let items: Vec<_> = plaintexts.iter().map(|it| (it.as_slice(), &context)).collect();
        let (encrypt, manner) = (Operation::Encrypt, manner(&context)?);
        let answers = client.batch_without_ids(&handle, encrypt, &items, &manner).committed()?;
        for answer in answers {
            writeln!(file, "{}", STANDARD.encode(answer.committed()?.output))?;
        }
        made += part;
    }
    file.into_inner().context("the ciphertexts cannot be written")?.sync_all()?;
    Ok(handle)
}

fn manner(context: &Context) -> Result<Manner<'_>> {
    Ok(Manner {
        operation: operation_id()?,
        context,
        receipt: Receipt::Unwanted,
        holders: &[],
        routing_key: None,
    })
}

/// The plaintext of a line.
fn plaintext(number: u64) -> Vec<u8> {
    format!("{number:0PLAINTEXT_BYTES$}").into_bytes()
}

fn census(client: &Client) -> Result<KeyCensusObject> {
    let asked = Command::ReadCensus(CensusQuery::Of("cards".parse()?));
    match keys::ask(client, &asked)? {
        AnswerObject::Census(mut census) => census.keys.pop().context("the key has a census"),
        other => bail!("the service gave no census but {other:?}"),
    }
}

fn wait_until_full(client: &Client) -> Result<()> {
    let began = Instant::now();
    while census(client)?.target != Some(NEW) {
        ensure!(began.elapsed() < FULL_MAX, "the new version does not come to protect");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// The loop that does nothing else.
struct Raw {
    keys: [PrivateKey; 2],
    purpose: Purpose,
    context: Context,
    envelope: Vec<u8>,
}

impl Raw {
    fn new() -> Result<Self> {
        let purpose: Purpose = "encrypt.aead:card".parse()?;
        let key = |seed| PrivateKey::from_secret(Suite::Aes256Gcm, &[seed; 32]);
        let (keys, context) = ([key(1)?, key(2)?], Context::default());
        let mut raw = Self { keys, purpose, context, envelope: Vec::new() };
        raw.envelope = raw.seal(OLD, &plaintext(0))?;
        Ok(raw)
    }

    fn seal(&self, version: u32, plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut salt = [0; envelope::SALT_BYTES];
        random(&mut salt)?;
        let origin = Origin { key: of(version), posture_epoch: 0 };
        let binding = Binding { purpose: &self.purpose, context: &self.context };
        let key = if version == OLD { &self.keys[0] } else { &self.keys[1] };
        let key = key.envelope_key().context("a key of envelopes")?;
        Ok(envelope::encrypt(key, origin, binding, salt, plaintext)?)
    }

    /// How many it does in a second, of one slice.
    fn slice(&self) -> Result<f64> {
        let binding = Binding { purpose: &self.purpose, context: &self.context };
        let old = self.keys[0].envelope_key().context("a key of envelopes")?;
        let (began, mut done) = (Instant::now(), 0_u64);
        while began.elapsed() < SLICE {
            let plaintext = envelope::decrypt(old, of(OLD), binding, &self.envelope)?;
            ensure!(self.seal(NEW, &plaintext)?.len() == self.envelope.len(), "another length");
            done += 1;
        }
        Ok(float(done) / began.elapsed().as_secs_f64())
    }
}

fn of(version: u32) -> KeyVersion {
    KeyVersion { key: KeyId::from_bytes([7; 16]), version }
}

/// Who works on the campaign.
struct Worked<'w> {
    binary: &'w Path,
    place: &'w Path,
    total: u64,
}

impl Worked<'_> {
    fn start(&self, service: &Instance, how: &str, shown: Stdio) -> Result<Child> {
        let handle = service.path("cards.handle");
        if !handle.exists() {
            let handle = handle.to_str().context("a path in UTF-8")?;
            service.run(&[
                "handle",
                "issue",
                "cards",
                "--operations",
                "rewrap",
                "--out",
                handle,
            ])?;
        }
        let mut program = Program::new(self.binary);
        program.arg("--context-file").arg(service.profile()).args(["--format", "json"]);
        program.args(["reprotect", how, "cards", "--inventory", "bench", "--handle"]);
        program.arg(handle).arg(self.place).stdin(Stdio::null()).stdout(shown);
        program.spawn().context("the worker cannot be started")
    }

    /// Works until half is done, and kills worker and service there: how many were done, unless all were, and how long that
    /// took.
    fn until_killed(&self, service: &mut Instance) -> Result<(Option<u64>, Duration)> {
        let began = Instant::now();
        let mut worker = self.start(service, "start", Stdio::null())?;
        let done = loop {
            if let Some(status) = worker.try_wait()? {
                ensure!(status.success(), "the worker ended so: {status}");
                break None;
            }
            let done = census(service.client())?.campaigns.first().map_or(0, |it| it.done);
            if done >= self.total / 2 {
                break Some(done);
            }
            std::thread::sleep(POLL);
        };
        let took = began.elapsed();
        if done.is_some() {
            worker.kill()?;
            worker.wait()?;
        }
        service.kill()?;
        Ok((done, took))
    }

    /// Takes it up again, passing over what is done, and says how long that took.
    fn to_the_end(&self, service: &Instance) -> Result<Duration> {
        let began = Instant::now();
        let worker = self.start(service, "resume", Stdio::piped())?;
        let output = worker.wait_with_output()?;
        ensure!(output.status.success(), "the worker ended so: {}", output.status);
        let took = began.elapsed();
        let document: Value = serde_json::from_slice(&output.stdout)?;
        let rewrapped = document.get("rewrapped").and_then(Value::as_u64);
        let rewrapped = rewrapped.context("the worker says how many")?;
        ensure!(rewrapped < self.total, "it began anew after the kill");
        Ok(took)
    }
}

/// Every ciphertext is under the new version, and some of them open to what they were made of.
fn check(client: &Client, handle: &KeyHandle, place: &Path, many: u64) -> Result<()> {
    let context = Context::default();
    let mut number = 0;
    for line in BufReader::new(File::open(place)?).lines() {
        let ciphertext = STANDARD.decode(line?)?;
        let version = Header::parse(&ciphertext)?.origin.key.version;
        ensure!(version == NEW, "line {number} is under version {version}");
        if number % SAMPLED == 0 {
            let opened = client.decrypt(handle, &ciphertext, &manner(&context)?).committed()?;
            ensure!(opened.output == plaintext(number), "line {number} opens to something else");
        }
        number += 1;
    }
    ensure!(number == many, "{number} ciphertexts are left of {many}");
    Ok(())
}

impl ReprotectReport {
    fn print(&self, format: Format) -> Result<()> {
        let text = match format {
            Format::Json => format!("{}\n", serde_json::to_string_pretty(self)?),
            Format::Table => self.to_text()?,
        };
        std::io::stdout().write_all(text.as_bytes()).context("the report cannot be printed")
    }

    fn to_text(&self) -> Result<String> {
        let mut text = String::new();
        writeln!(text, "{}", self.command)?;
        writeln!(text, "{} to {}; {}", self.began, self.ended, self.machine.processor)?;
        writeln!(
            text,
            "{} ciphertexts of {} bytes; {}",
            self.ciphertexts,
            self.plaintext_bytes,
            self.killed_at.map_or_else(|| "not killed".into(), |at| format!("killed at {at}"))
        )?;
        writeln!(text, "campaign  {:>9.0} a second, {:.1} s", self.per_second, self.seconds)?;
        let slices = self.raw_slices.iter().map(|slice| format!("{slice:.0}"));
        let slices = slices.collect::<Vec<_>>().join(", ");
        writeln!(text, "raw loop  {:>9.0} a second ({slices})", self.raw_per_second)?;
        writeln!(text, "ratio     {:>9.3}", self.ratio)?;
        Ok(text)
    }
}
