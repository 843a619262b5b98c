//! `bench`: what the service that is running does in a second, as its callers see it.
//!
//! Each connection is one caller that waits for its answer before it asks again. Every operation is a real
//! one, authorised and recorded. It ends by itself, and asks only a service on this machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chancery_client::{Client, Input, Item, KeyHandle, Outcome, Profile, Receipt};
use chancery_core::context::Context;
use chancery_core::handle::Operation;
use chancery_core::purpose::Usage;
use clap::Args;
use serde_json::json;

use crate::cli::Shared;
use crate::commands::{RepeatArgs, Use, UseArgs, fresh_operation};
use crate::connection;
use crate::exit::Failure;
use crate::render::{View, show};

/// The most latencies that are kept: 4 million, 32 MiB. What comes after is counted and not timed.
const LATENCIES_MAX: usize = 4_000_000;

/// Measure the running service with a handle: every operation is carried out and recorded.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery bench --handle invoices.handle --connections 16 --seconds 5

Signs, MACs or encrypts, whichever the handle's key is for. The records stay in the audit log.")]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    usage: UseArgs,
    /// Callers at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// For how long.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Operations in one request.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    batch: u16,
    /// The bytes of each message.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    bytes: u32,
}

/// What one caller saw.
#[derive(Default)]
struct Seen {
    operations: u64,
    latencies: Vec<Duration>,
    failed: Option<String>,
}

/// What is asked again and again.
struct Load<'a> {
    usage: &'a Use,
    operation: Operation,
    message: Vec<u8>,
    batch: u16,
}

/// Carries `bench` out.
pub(crate) fn run(shared: &Shared, args: &BenchArgs) -> Result<(), Failure> {
    let profile = connection::profile(shared)?;
    check_is_here(&profile)?;
    let usage = args.usage.load(RepeatArgs::NEVER)?;
    let operation = operation_of(&usage.handle)?;
    let message = vec![b'x'; usize::try_from(args.bytes).unwrap_or_default()];
    let load = Load { usage: &usage, operation, message, batch: args.batch };
    let (seen, elapsed) = drive(shared, &profile, args, &load)?;
    report(shared, &seen, elapsed)
}

/// A bench is an attack on a service that others use.
fn check_is_here(profile: &Profile) -> Result<(), Failure> {
    let host = profile.endpoint.trim_start_matches("https://");
    let is_here = ["127.", "localhost:", "[::1]"].iter().any(|here| host.starts_with(here));
    if is_here {
        return Ok(());
    }
    Err(anyhow::anyhow!("`{}` is not on this machine; run the bench where it is", profile.endpoint)
        .into())
}

fn operation_of(handle: &KeyHandle) -> anyhow::Result<Operation> {
    Ok(match handle.purpose().usage() {
        Usage::Sign => Operation::Sign,
        Usage::Mac => Operation::Mac,
        Usage::Encrypt => Operation::Encrypt,
        other => bail!("the handle's key is for `{other:?}`; a bench signs, MACs or encrypts"),
    })
}

fn drive(
    shared: &Shared,
    profile: &Profile,
    args: &BenchArgs,
    load: &Load<'_>,
) -> Result<(Vec<Seen>, Duration), Failure> {
    let clients = (0..args.connections).map(|_| connection::client_for(shared, profile));
    let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let seen = thread::scope(|scope| {
        let callers: Vec<_> =
            clients.iter().map(|client| scope.spawn(|| call(client, load, &over))).collect();
        let end = began + Duration::from_secs(args.seconds.into());
        while Instant::now() < end && !callers.iter().any(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::SeqCst);
        callers.into_iter().map(|caller| caller.join().unwrap_or_default()).collect()
    });
    Ok((seen, began.elapsed()))
}

/// Asks until it is over, or something is refused.
fn call(client: &Client, load: &Load<'_>, over: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        match load.ask(client) {
            Ok(()) => {
                seen.operations += u64::from(load.batch);
                if seen.latencies.len() < LATENCIES_MAX / 256 {
                    seen.latencies.push(asked.elapsed());
                }
            }
            Err(failed) => {
                seen.failed = Some(failed);
                return seen;
            }
        }
    }
    seen
}

impl Load<'_> {
    fn ask(&self, client: &Client) -> Result<(), String> {
        let text = |error: anyhow::Error| error.to_string();
        let used = if self.batch == 1 {
            self.ask_one(client).map_err(text)?.map(drop)
        } else {
            self.ask_many(client).map_err(text)?
        };
        match used {
            Outcome::Committed(()) => Ok(()),
            Outcome::Refused(refusal) => Err(refusal.to_string()),
            Outcome::Unknown(operation) => Err(format!("the outcome of {operation} is unknown")),
        }
    }

    fn ask_one(&self, client: &Client) -> anyhow::Result<Outcome<chancery_client::Used>> {
        let mut manner = self.usage.manner(Receipt::Unwanted);
        manner.operation = fresh_operation()?;
        let (handle, input) = (&self.usage.handle, Input::Message(&self.message));
        Ok(match self.operation {
            Operation::Mac => client.mac(handle, input, &manner),
            Operation::Encrypt => client.encrypt(handle, &self.message, &manner),
            _ => client.sign_with(handle, input, &manner),
        })
    }

    fn ask_many(&self, client: &Client) -> anyhow::Result<Outcome<()>> {
        let mut manner = self.usage.manner(Receipt::Unwanted);
        manner.operation = fresh_operation()?;
        let context: &Context = &self.usage.context;
        let item = |_| {
            let input = Input::Message(&self.message);
            Ok(Item { input, operation: fresh_operation()?, context })
        };
        let items = (0..self.batch).map(item).collect::<anyhow::Result<Vec<_>>>()?;
        let answer = client.batch(&self.usage.handle, self.operation, &items, &manner);
        Ok(answer.and_then(|results| {
            let failed = results.into_iter().find(|one| !matches!(one, Outcome::Committed(_)));
            failed.map_or(Outcome::Committed(()), |other| other.map(drop))
        }))
    }
}

fn report(shared: &Shared, seen: &[Seen], elapsed: Duration) -> Result<(), Failure> {
    let operations: u64 = seen.iter().map(|seen| seen.operations).sum();
    let mut latencies: Vec<_> = seen.iter().flat_map(|seen| &seen.latencies).copied().collect();
    latencies.sort_unstable();
    let per_second = u128::from(operations) * 1_000_000 / elapsed.as_micros().max(1);
    let (p50, p99) = (quantile(&latencies, 50), quantile(&latencies, 99));
    let failed = seen.iter().find_map(|seen| seen.failed.as_ref());
    let view = View::Fields(vec![
        ("operations", operations.to_string()),
        ("seconds", format!("{:.2}", elapsed.as_secs_f64())),
        ("per second", per_second.to_string()),
        ("p50", format!("{:.2} ms", p50.as_secs_f64() * 1_000.0)),
        ("p99", format!("{:.2} ms", p99.as_secs_f64() * 1_000.0)),
    ]);
    let json = json!({
        "operations": operations,
        "seconds": elapsed.as_secs_f64(),
        "per_second": per_second,
        "p50_us": p50.as_micros(),
        "p99_us": p99.as_micros(),
        "failed": failed,
    });
    show(shared.format, &view, &json).context("cannot say what was seen")?;
    match failed {
        None => Ok(()),
        Some(failed) => Err(anyhow::anyhow!("ended early: {failed}").into()),
    }
}

/// The latency that so many of a hundred requests had at most; nothing of no requests.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_that_of_the_nearest_rank() {
        let sorted: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&sorted, 50), Duration::from_millis(100));
        assert_eq!(quantile(&sorted, 99), Duration::from_millis(198));
        assert_eq!(quantile(&[], 99), Duration::ZERO);
    }
}
