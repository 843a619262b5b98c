//! Every contender under the same load, in interleaved rounds.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::contender::Contender;
use crate::contenders::bare::{self, Durability};
use crate::contenders::{openbao, raw, service};
use crate::load::{Generator, Group, Refusals};
use crate::options::{Name, Options};
use crate::order::Form;
use crate::process::Cpu;
use crate::report::{Comparison, Figure, Sample};

/// One load: the form of requests, and how many callers there are.
type Load = (Form, usize);

/// The loads, in the order of the table. Batches are few by nature: two counts of callers show their course.
const LOADS: [Load; 5] = [
    (Form::Single, 1),
    (Form::Single, 16),
    (Form::Single, 64),
    (Form::Batch, 1),
    (Form::Batch, 16),
];

/// Everything that was seen of one contender under one load.
type Samples = BTreeMap<(Name, usize), Vec<Sample>>;

/// Measures.
pub(crate) fn run(options: &Options) -> Result<Comparison> {
    let scratch = options.places.scratch()?;
    let generator = Generator::new()?;
    let (contenders, skipped) = contenders(options, &generator, &scratch)?;
    let mut samples = Samples::new();
    for round in 1..=options.rounds() {
        eprintln!("comparison: round {round} of {}", options.rounds());
        if options.wants(Name::Raw) {
            let sample = sample_raw(options).context("the raw loop")?;
            samples.entry((Name::Raw, 0)).or_default().push(sample);
        }
        for (number, load) in LOADS.into_iter().enumerate() {
            for contender in &contenders {
                let sample = measure(options, &generator, contender, load).with_context(|| {
                    let said = contender.running.server.said();
                    format!("{} under {load:?}; {said}", contender.name.text())
                })?;
                samples.entry((contender.name, number)).or_default().push(sample);
            }
        }
    }
    let figures =
        samples.into_iter().map(|((name, number), samples)| figure(name, number, &samples));
    Ok(Comparison {
        seconds: options.duration().as_secs_f64(),
        rounds: options.rounds(),
        figures: figures.collect(),
        skipped,
    })
}

fn contenders(
    options: &Options,
    generator: &Generator,
    scratch: &Path,
) -> Result<(Vec<Contender>, Vec<String>)> {
    let (mut contenders, mut skipped) = (Vec::new(), Vec::new());
    if options.wants(Name::Bare) {
        contenders.push(bare::start(scratch, Durability::None)?);
    }
    if options.wants(Name::BareSync) {
        contenders.push(bare::start(scratch, Durability::Synced)?);
    }
    if options.wants(Name::Chancery) {
        contenders.push(service::start(options, scratch)?);
    }
    if options.wants(Name::Openbao) || options.wants(Name::OpenbaoDefault) {
        match openbao::start(options, generator, scratch) {
            Ok(started) => contenders.extend(started),
            // It comes from outside: without it, the rest is still worth measuring.
            Err(error) => skipped.push(format!("openbao is not measured: {error:#}")),
        }
    }
    for line in &skipped {
        eprintln!("chancery-bench: {line}");
    }
    Ok((contenders, skipped))
}

fn sample_raw(options: &Options) -> Result<Sample> {
    let looped = raw::run(options.duration())?;
    ensure!(looped.signatures > 0, "nothing was signed");
    Ok(Sample {
        items: looped.signatures,
        elapsed: looped.elapsed,
        cpu: Cpu { user: looped.cpu, system: Duration::ZERO },
        ..Sample::default()
    })
}

fn measure(
    options: &Options,
    generator: &Generator,
    contender: &Contender,
    (form, callers): Load,
) -> Result<Sample> {
    let group = Group { target: contender.target(form), callers, refusals: Refusals::Fatal };
    let (runs, cpu) = generator.run(&[group], options.duration(), || contender.cpu())?;
    let run = runs.into_iter().next().context("a group has a run")?;
    ensure!(run.answered > 0, "nothing was answered");
    Ok(Sample {
        items: run.answered * u64::try_from(form.items())?,
        elapsed: run.elapsed,
        cpu,
        p50: run.percentile(50),
        p99: run.percentile(99),
    })
}

fn figure(name: Name, number: usize, samples: &[Sample]) -> Figure {
    let (form, connections) = match (name, LOADS.get(number)) {
        (Name::Raw, _) | (_, None) => ("loop".to_owned(), 0),
        (_, Some((form, callers))) => (form.text(), *callers),
    };
    Figure::of(name.text(), form, connections, samples)
}
