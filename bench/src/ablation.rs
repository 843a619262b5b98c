//! The parts of a signature, each by itself: what the lane, the sequencer and the front do for one request,
//! done here with the same public functions, and timed by the processor time of one thread.
//!
//! Parts that are shared by the records of a frame are measured with 1, 16 and 100 records in it. What is
//! not here: threads handing work to each other, system calls, TLS and HTTP. Those are in the comparison.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;

use crate::contenders::raw::thread_cpu;
use crate::machine::{Cores, Side};
use crate::options::Options;
use crate::report::{Ablation, Belongs, Budget, Part, float, median, micros, ratio};

mod front;
pub(crate) mod signer;

/// How often a part is done in one round.
const REPEATS: usize = 2_000;

/// The same for a smoke run.
const REPEATS_SMOKE: usize = 20;

/// The records in a frame, where that matters: a lone caller, some, and a batch.
const RECORDS: [usize; 3] = [1, 16, 100];

/// Measures.
pub(crate) fn run(options: &Options) -> Result<Ablation> {
    eprintln!("ablation: {} rounds", options.rounds());
    let repeats = if options.smoke { REPEATS_SMOKE } else { REPEATS };
    let timing = Timing { rounds: options.rounds(), repeats };
    let cores = Cores::find()?;
    cores.enter(Side::Server)?;
    let mut parts = front::parts(timing)?;
    parts.extend(signer::parts(timing)?);
    for records in RECORDS {
        parts.extend(signer::parts_of_frame(timing, records)?);
    }
    cores.enter(Side::Load)?;
    let budget = RECORDS.map(|records| Budget { records, us: budget_of(&parts, records) });
    Ok(Ablation { parts, budget: budget.to_vec() })
}

/// The sum of what the budget counts, with so many records in a frame.
fn budget_of(parts: &[Part], records: usize) -> f64 {
    let counted = parts.iter().filter(|part| part.belongs == Belongs::Budget);
    counted.filter(|part| part.records.is_none_or(|of| of == records)).map(|part| part.us).sum()
}

/// How often things are done.
#[derive(Clone, Copy, Debug)]
struct Timing {
    rounds: u32,
    repeats: usize,
}

/// What a part is called and where it belongs.
#[derive(Clone, Copy, Debug)]
struct Title {
    name: &'static str,
    belongs: Belongs,
}

impl Timing {
    /// Times what needs nothing prepared.
    fn each<R>(self, title: Title, mut work: impl FnMut() -> Result<R>) -> Result<Part> {
        self.staged(title, None, || Ok(()), |()| work())
    }

    /// Times `work` on what `make` prepared, which is not timed. With `records` in a frame, `work` is done for
    /// a whole frame, and the part is what falls on one record.
    fn staged<T, R>(
        self,
        title: Title,
        records: Option<usize>,
        mut make: impl FnMut() -> Result<T>,
        mut work: impl FnMut(T) -> Result<R>,
    ) -> Result<Part> {
        let per_work = records.unwrap_or(1);
        let repeats = (self.repeats / per_work).max(4);
        let mut rounds = Vec::new();
        for _ in 0..self.rounds {
            let prepared = (0..repeats).map(|_| make()).collect::<Result<Vec<_>>>()?;
            let took = timed(prepared, &mut work)?;
            let done = u64::try_from(repeats * per_work)?;
            rounds.push(ratio(micros(took), float(done)));
        }
        Ok(Part { name: title.name, belongs: title.belongs, records, us: median(&rounds) })
    }
}

fn timed<T, R>(prepared: Vec<T>, work: &mut impl FnMut(T) -> Result<R>) -> Result<Duration> {
    let before = thread_cpu();
    for it in prepared {
        black_box(work(black_box(it))?);
    }
    Ok(thread_cpu().saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { rounds: 1, repeats: 8 };

    fn title(belongs: Belongs) -> Title {
        Title { name: "part", belongs }
    }

    #[test]
    fn the_budget_takes_the_frame_of_its_size_and_nothing_of_the_signature() {
        let part = |belongs, records, us| Part { name: "part", belongs, records, us };
        let parts = [
            part(Belongs::Budget, None, 1.0),
            part(Belongs::Budget, Some(1), 2.0),
            part(Belongs::Budget, Some(16), 4.0),
            part(Belongs::Signature, None, 8.0),
            part(Belongs::Link, None, 16.0),
        ];
        assert!((budget_of(&parts, 1) - 3.0).abs() < 1e-9);
        assert!((budget_of(&parts, 16) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn work_is_done_once_for_each_thing_that_was_made() {
        let (mut made, mut done) = (0, 0);
        let part = TIMING.staged(
            title(Belongs::Link),
            Some(2),
            || {
                made += 1;
                Ok(())
            },
            |()| {
                done += 1;
                Ok(())
            },
        );
        assert_eq!(part.unwrap().records, Some(2));
        assert_eq!((made, done), (4, 4));
    }

    #[test]
    fn every_part_works_and_takes_time() {
        let mut parts = front::parts(TIMING).unwrap();
        parts.extend(signer::parts(TIMING).unwrap());
        parts.extend(signer::parts_of_frame(TIMING, 16).unwrap());
        assert!(parts.len() > 10);
        assert!(parts.iter().all(|part| part.us > 0.0), "{parts:?}");
    }
}
