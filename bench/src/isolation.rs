//! Quick callers beside slow ones: 16 of Ed25519 alone, then the same with 32 of RSA-4096 beside them.
//!
//! Both are measured in one run and one service, in turn, round by round.

use anyhow::{Context as _, Result, bail, ensure};

use crate::contenders::service::Service;
use crate::load::{Generator, Group, Refusals, Run};
use crate::options::Options;
use crate::report::{Isolation, float, median, micros, ratio};

/// Callers of Ed25519.
const QUICK: usize = 16;

/// Callers of RSA-4096.
const SLOW: usize = 32;

/// Measures.
pub(crate) fn run(options: &Options) -> Result<Isolation> {
    let generator = Generator::new()?;
    let service = Service::start(options, &options.places.scratch()?)?;
    let (quick, _) = service.targets("ed25519")?;
    let (slow, _) = service.targets("rsa-pss-4096")?;
    let quick = Group { target: quick, callers: QUICK, refusals: Refusals::Fatal };
    // More slow work than there is room for is refused at once: that is what keeps the quick callers going.
    let slow = Group { target: slow, callers: SLOW, refusals: Refusals::Counted };
    let mut seen = Seen::default();
    let run = |groups: &[Group]| {
        let runs = generator.run(groups, options.duration(), || service.cpu());
        runs.with_context(|| format!("the service; {}", service.said()))
    };
    for round in 1..=options.rounds() {
        eprintln!("isolation: round {round} of {}", options.rounds());
        let (alone, _) = run(std::slice::from_ref(&quick))?;
        let (beside, _) = run(&[quick.clone(), slow.clone()])?;
        seen.add(&alone, &beside)?;
    }
    Ok(seen.summary(options))
}

#[derive(Default)]
struct Seen {
    quiet_rate: Vec<f64>,
    quiet_p99: Vec<f64>,
    loaded_rate: Vec<f64>,
    loaded_p99: Vec<f64>,
    slow_rate: Vec<f64>,
    slow_refused: u64,
}

impl Seen {
    fn add(&mut self, alone: &[Run], beside: &[Run]) -> Result<()> {
        let ([quiet], [loaded, slow]) = (alone, beside) else {
            bail!("there are as many runs as groups");
        };
        for run in [quiet, loaded, slow] {
            ensure!(run.answered > 0, "some callers were never answered");
        }
        self.quiet_rate.push(rate(quiet));
        self.quiet_p99.push(micros(quiet.percentile(99)));
        self.loaded_rate.push(rate(loaded));
        self.loaded_p99.push(micros(loaded.percentile(99)));
        self.slow_rate.push(rate(slow));
        self.slow_refused += slow.refused;
        Ok(())
    }

    fn summary(self, options: &Options) -> Isolation {
        let (quiet_rate, loaded_rate) = (median(&self.quiet_rate), median(&self.loaded_rate));
        let (quiet_p99_us, loaded_p99_us) = (median(&self.quiet_p99), median(&self.loaded_p99));
        Isolation {
            seconds: options.duration().as_secs_f64(),
            rounds: options.rounds(),
            quiet_rate,
            loaded_rate,
            rate_kept: ratio(loaded_rate, quiet_rate),
            quiet_p99_us,
            loaded_p99_us,
            p99_times: ratio(loaded_p99_us, quiet_p99_us),
            slow_rate: median(&self.slow_rate),
            slow_refused: self.slow_refused,
        }
    }
}

fn rate(run: &Run) -> f64 {
    ratio(float(run.answered), run.elapsed.as_secs_f64())
}
