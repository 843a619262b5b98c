//! The raw loop: aws-lc-rs's Ed25519 over the same messages, on the servers' core, and nothing around it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rustix::time::{ClockId, clock_gettime};

use crate::contender::check_ed25519;
use crate::machine::{Cores, Side};
use crate::order::{Form, messages};

/// The seed of the key that this harness signs with. It protects nothing.
pub(crate) const SEED: [u8; 32] = [7; 32];

/// What a loop came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looped {
    pub(crate) signatures: u64,
    pub(crate) cpu: Duration,
    pub(crate) elapsed: Duration,
}

/// Signs for as long as is said.
pub(crate) fn run(duration: Duration) -> Result<Looped> {
    let cores = Cores::find()?;
    let looped = std::thread::spawn(move || {
        cores.enter(Side::Server)?;
        sign_for(duration)
    });
    looped.join().map_err(|_| anyhow!("the raw loop ended badly"))?
}

fn sign_for(duration: Duration) -> Result<Looped> {
    let key = key()?;
    let messages = messages(Form::Batch).into_iter().next().context("there are messages")?;
    let signatures: Vec<Vec<u8>> =
        messages.iter().map(|message| key.sign(message).as_ref().to_vec()).collect();
    check_ed25519(key.public_key().as_ref(), &messages, &signatures)?;
    let (start, cpu) = (Instant::now(), thread_cpu());
    let mut signed = 0;
    while start.elapsed() < duration {
        for message in &messages {
            black_box(key.sign(black_box(message)));
        }
        signed += messages.len();
    }
    Ok(Looped {
        signatures: u64::try_from(signed)?,
        cpu: thread_cpu().saturating_sub(cpu),
        elapsed: start.elapsed(),
    })
}

/// The key.
pub(crate) fn key() -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(&SEED).map_err(|_| anyhow!("the seed is no key"))
}

/// The processor time of the calling thread.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::from_secs(time.tv_sec.unsigned_abs())
        + Duration::from_nanos(time.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_counts_what_it_signed_and_what_that_took() {
        let looped = run(Duration::from_millis(20)).unwrap();
        assert!(looped.signatures >= 100 && looped.cpu > Duration::ZERO);
        assert!(looped.elapsed >= Duration::from_millis(20));
    }
}
