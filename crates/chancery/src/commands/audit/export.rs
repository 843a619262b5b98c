//! `audit export`: what the auditor is shown, as events, to another system.
//!
//! This is a process of its own and an auditor's client. The service does not know it: whoever signs waits for the
//! audit log and for nothing else, however slow the sink.

mod keys;
mod open;
mod reading;
mod service;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use chancery_client::unix_ms;
use chancery_export::exporter::{ExportError, Exporter, Length, Settings};
use chancery_export::gauges::{Gauges, LagBound, Standing};
use chancery_export::limits::{ATTEMPT, BATCH_RECORDS, BATCH_RECORDS_HERE, BATCH_RECORDS_MAX};
use chancery_export::retry::Stop;
use chancery_export::sink::target::Target;
use chancery_memory::process::harden;
use clap::{Args, ValueEnum};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::open::Opened;
use crate::cli::Shared;
use crate::connection;
use crate::exit::{Failure, Misuse};
use crate::parse;
use crate::render::{Format, View, show};

/// How often the metrics are written and the bound of the lag is looked at: each second.
const LOOK: Duration = Duration::from_secs(1);

/// How long an attempt that is under way may still take when the export is to end: 500 ms.
const END_MAX: Duration = Duration::from_millis(500);

/// How long `--once` waits for a sink or a service that is away, unless another time is said: a minute.
const PATIENCE_ONCE: Duration = Duration::from_mins(1);

/// Send the audit to another system as events (OCSF 1.8.0), each record at least once.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit export --to file:/var/log/chancery/audit.jsonl --cursor audit.cursor
  chancery audit export --to stdout --once --since 24h
  chancery audit export --to https://siem.example/intake --ca siem.pem --header-file token --cursor siem.cursor
  chancery audit export --to syslog+tls://log.example:6514 --ca log.pem --cursor syslog.cursor
  chancery audit export --to otlp+http://127.0.0.1:4318/v1/logs --cursor otlp.cursor --metrics export.prom

Sinks: file:PATH, stdout, https://… (http://… to this machine alone), otlp+https://…/v1/logs, syslog+tls://HOST:PORT.

The cursor is moved on when the sink has acknowledged a batch, so that each record arrives at least once, in the order
of the log, whatever ends the process; `metadata.uid` tells repeats. Without --cursor each run begins anew. A sink that is
away is tried again after 1 s to 60 s, and no operation waits for it: the backlog is the log itself. A record that a sink
refuses for good goes to --dead-letter, and without that the export ends.

It needs the profile of an auditor (`principal create --role auditor`). Ctrl-C or SIGTERM ends it.")]
pub(super) struct ExportArgs {
    /// Where events go.
    #[arg(long, value_name = "SINK")]
    to: Target,
    /// Where it is kept how far the sink has the records.
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// Only records from then on: 2026-11-24T06:00:00Z, 2026-11-24, or a while ago such as 2h.
    #[arg(long, value_name = "TIME", value_parser = parse::since_now)]
    since: Option<u64>,
    /// End when the sink has what the log has now.
    #[arg(long)]
    once: bool,
    /// Records that the sink refuses for good, as lines of JSON.
    #[arg(long, value_name = "FILE")]
    dead_letter: Option<PathBuf>,
    /// Metrics for Prometheus, replaced each second.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Say so, and set a metric, when the sink is further behind: a number of records, or a time such as 15m.
    #[arg(long, value_name = "BOUND", value_parser = lag)]
    max_lag: Option<LagBound>,
    /// The authorities of the sink, in PEM; none of the system's are taken.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate that is shown to a sink which asks for one, and those that lead to its authority, in PEM.
    #[arg(long, value_name = "FILE", requires_all = ["client_key", "ca"])]
    client_cert: Option<PathBuf>,
    /// Of `--client-cert`: its private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Fields for each request, such as `Authorization: …`, one in a line.
    #[arg(long, value_name = "FILE")]
    header_file: Option<PathBuf>,
    /// The form of a batch by HTTP.
    #[arg(long, value_enum, default_value_t = Body::Array)]
    body: Body,
    /// Records in a batch at most; 4000 to a file or standard output, else 500.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(BATCH_RECORDS_MAX)))]
    batch: Option<u32>,
    /// How long one attempt may take.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = attempt)]
    timeout: Duration,
    /// End with 1 when sink or service have been away for so long; a minute with --once, else never.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    give_up: Option<Duration>,
}

/// The form of a batch by HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Body {
    /// A JSON array.
    Array,
    /// Lines of JSON.
    Ndjson,
}

fn attempt(text: &str) -> Result<Duration, String> {
    let attempt = parse::duration(text)?;
    let most = 6 * ATTEMPT;
    if attempt > most {
        Err(format!("an attempt takes at most {}s", most.as_secs()))
    } else {
        Ok(attempt)
    }
}

fn lag(text: &str) -> Result<LagBound, String> {
    match text.parse() {
        Ok(records) => Ok(LagBound::Records(records)),
        Err(_) => parse::duration(text)
            .map(LagBound::Age)
            .map_err(|error| format!("{error}, and no number of records")),
    }
}

/// Carries `audit export` out.
pub(super) fn run(shared: &Shared, args: &ExportArgs) -> Result<(), Failure> {
    check(args)?;
    // From here on there are keys in this process.
    harden().context("this process cannot be hardened to hold keys")?;
    let client = connection::client(shared)?;
    let stop = signals()?;
    let opened = Opened::open(args)?;
    let gauges = Gauges::default();
    let settings = Settings {
        batch: usize::try_from(args.batch()).context("a batch has too many records")?,
        length: if args.once { Length::Once } else { Length::Endless },
        patience: args.give_up.or(args.once.then_some(PATIENCE_ONCE)),
        version: env!("CARGO_PKG_VERSION").into(),
        now_ms: unix_ms,
    };
    let (end, ended) = channel();
    let run = Run { settings, gauges: gauges.clone(), stop: stop.clone() };
    let since = args.since;
    thread::Builder::new()
        .name("export".into())
        .spawn(move || {
            // Nobody listens only when the process ends already.
            let _ = end.send(run.export(reading::Reader::new(client, since), opened));
        })
        .context("no thread can be started")?;
    let outcome = watch(args, &gauges, (&stop, &ended))?;
    let standing = gauges.read();
    report(shared, args, &standing)?;
    Ok(outcome.map_err(anyhow::Error::from)?)
}

impl ExportArgs {
    fn batch(&self) -> u32 {
        self.batch.unwrap_or(match self.to {
            Target::File(_) | Target::Stdout => BATCH_RECORDS_HERE,
            _ => BATCH_RECORDS,
        })
    }
}

fn check(args: &ExportArgs) -> Result<(), Misuse> {
    let is_http = matches!(args.to, Target::Http(_));
    let by_http = is_http || matches!(args.to, Target::Otlp(_));
    let misuse = |what: &str| Err(Misuse(what.into()));
    if args.header_file.is_some() && !by_http {
        return misuse("--header-file is for sinks that are asked by HTTP");
    }
    if args.body == Body::Ndjson && !is_http {
        return misuse("--body is for sinks at an https:// or http:// URL");
    }
    if args.ca.is_some() && !by_http && !matches!(args.to, Target::Syslog { .. }) {
        return misuse("--ca is for sinks over TLS");
    }
    Ok(())
}

fn signals() -> Result<Stop> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .context("signals cannot be taken")?;
    }
    Ok(Stop::by(flag))
}

/// What the thread that exports takes along.
struct Run {
    settings: Settings,
    gauges: Gauges,
    stop: Stop,
}

impl Run {
    fn export(self, mut reader: reading::Reader, mut opened: Opened) -> Result<(), ExportError> {
        let exporter = Exporter {
            records: &mut reader,
            sink: &mut *opened.sink,
            cursor_file: opened.cursor_file.as_ref(),
            dead_letters: opened.dead_letters.as_mut(),
            settings: self.settings,
            gauges: self.gauges,
            stop: self.stop,
            say: &mut say,
        };
        exporter.run(opened.cursor)
    }
}

fn say(what: &str) {
    eprintln!("chancery: {what}");
}

type Outcome = Result<(), ExportError>;

/// Until the export has ended, or is to end: an attempt that hangs is left behind, for the cursor is right at any point.
fn watch(
    args: &ExportArgs,
    gauges: &Gauges,
    (stop, ended): (&Stop, &Receiver<Outcome>),
) -> Result<Outcome> {
    let mut was_beyond = false;
    let mut next_look = Instant::now();
    let mut to_stop: Option<Instant> = None;
    loop {
        match ended.recv_timeout(chancery_export::limits::STOP_POLL) {
            Ok(outcome) => {
                look(args, &gauges.read(), &mut was_beyond)?;
                return Ok(outcome);
            }
            Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("the export broke off")),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() >= next_look {
            look(args, &gauges.read(), &mut was_beyond)?;
            next_look = Instant::now() + LOOK;
        }
        if stop.is_set()
            && Instant::now() >= *to_stop.get_or_insert_with(|| Instant::now() + END_MAX)
        {
            look(args, &gauges.read(), &mut was_beyond)?;
            return Ok(Ok(()));
        }
    }
}

/// Writes the metrics, and says once that the lag is beyond its bound and once that it is within.
fn look(args: &ExportArgs, standing: &Standing, was_beyond: &mut bool) -> Result<()> {
    if let Some(path) = &args.metrics {
        let written = standing.write(path, args.max_lag, unix_ms());
        written.with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let is_beyond = args.max_lag.is_some_and(|bound| standing.is_beyond(bound, unix_ms()));
    if is_beyond != *was_beyond {
        *was_beyond = is_beyond;
        let what =
            if is_beyond { "further behind than --max-lag" } else { "within --max-lag again" };
        let (records, age) = (standing.lag_records(), standing.lag(unix_ms()).as_secs());
        say(&format!("the export is {what}: {records} records, {age} s"));
    }
    Ok(())
}

/// Says what was exported, unless events went to standard output themselves.
fn report(shared: &Shared, args: &ExportArgs, standing: &Standing) -> Result<()> {
    let (age, sink) = (standing.lag(unix_ms()).as_secs(), args.to.name());
    let json = json!({
        "sink": sink,
        "exported": standing.exported,
        "dead_letters": standing.dead_letters,
        "next_index": standing.next,
        "lag_records": standing.lag_records(),
        "lag_seconds": age,
    });
    let view = View::Fields(vec![
        ("sink", sink),
        ("exported", standing.exported.to_string()),
        ("dead letters", standing.dead_letters.to_string()),
        ("next index", standing.next.to_string()),
        ("behind", format!("{} records, {age} s", standing.lag_records())),
    ]);
    match (&args.to, shared.format) {
        (Target::Stdout, Format::Json) => eprintln!("{json}"),
        (Target::Stdout, _) => {
            say(&format!("{} records exported to standard output", standing.exported));
        }
        _ => show(shared.format, &view, &json)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_of_the_lag_is_a_number_or_a_time() {
        assert_eq!(lag("5000"), Ok(LagBound::Records(5_000)));
        assert_eq!(lag("15m"), Ok(LagBound::Age(Duration::from_mins(15))));
        assert!(lag("").is_err() && lag("-1").is_err() && lag("soon").is_err());
    }

    #[test]
    fn an_attempt_takes_at_most_a_minute() {
        assert_eq!(attempt("60s"), Ok(Duration::from_mins(1)));
        assert!(attempt("61s").is_err() && attempt("0s").is_err());
    }
}
