//! One round: the checkpoint that is published now, to every witness at once.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use chancery_audit::proof::{ProofError, Trust, Vouched};
use chancery_log::TreeHead;
use chancery_log::note::{Note, NoteSignature};

use super::ask::{AskError, Place};
use super::exchange::Exchange;
use crate::published::Published;

/// How long one witness may take, all its answers together: 5 s.
pub(crate) const WITNESS_MAX: Duration = Duration::from_secs(5);

/// What came of a round.
pub(crate) struct Round {
    /// The checkpoint with the cosignatures that hold.
    pub(crate) note: Note,
    /// Who vouches for it; `None` if fewer than the policy asks for.
    pub(crate) vouched: Option<Vouched>,
    /// Of each witness that did not cosign, what was wrong with it.
    pub(crate) faults: Vec<Fault>,
}

/// A witness did not cosign.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Its names in the policy, and where it is.
    pub(crate) witness: String,
    /// What was wrong.
    pub(crate) what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.witness, self.what)
    }
}

/// The witnesses of a policy that say where they are. Those of one URL are one, with several keys.
pub(crate) fn places(trust: &Trust) -> Vec<Place<'_>> {
    let mut places: BTreeMap<&str, Place<'_>> = BTreeMap::new();
    for (name, url, key) in trust.witnesses() {
        let Some(url) = url else { continue };
        let empty = Place { url, names: Vec::new(), keys: Vec::new() };
        let place = places.entry(url).or_insert(empty);
        place.names.push(name);
        place.keys.push(key);
    }
    places.into_values().collect()
}

/// Submits what is published now, and gathers what comes back.
pub(crate) fn run(exchange: &Exchange, trust: &Trust, published: &Published) -> Result<Round> {
    let (mut note, tree) = published.checkpoint()?;
    if let Err(error @ (ProofError::Unsigned | ProofError::Note(_))) = trust.vouched(note.clone()) {
        return Err(error).context("the published checkpoint is not one of the policy's logs");
    }
    let mut faults = Vec::new();
    for (witness, asked) in ask_all(exchange, &places(trust), (&note, tree), published) {
        match asked {
            Ok(lines) => {
                for line in lines {
                    note.add(line);
                }
            }
            Err(error) => faults.push(Fault { witness, what: error.to_string() }),
        }
    }
    // As everybody will read it: a note has a longest length and a number of signatures.
    let note = Note::parse(note.to_string().as_bytes())?;
    let vouched = match trust.vouched(note.clone()) {
        Ok(vouched) => Some(vouched),
        Err(ProofError::Quorum) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Round { note, vouched, faults })
}

type Asked = Result<Vec<NoteSignature>, AskError>;

/// Asks all at once; one that hangs keeps none of the others.
fn ask_all(
    exchange: &Exchange,
    places: &[Place<'_>],
    checkpoint: (&Note, TreeHead),
    published: &Published,
) -> Vec<(String, Asked)> {
    let deadline = Instant::now() + WITNESS_MAX;
    thread::scope(|scope| {
        let ask = |place| {
            scope
                .spawn(move || Place::ask(place, exchange, checkpoint, published.tiles(), deadline))
        };
        let asking: Vec<_> = places.iter().map(|place| (place.name(), ask(place))).collect();
        let end = |(name, asking): (String, thread::ScopedJoinHandle<'_, Asked>)| {
            let asked = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (name, asked)
        };
        asking.into_iter().map(end).collect()
    })
}

impl Round {
    /// What to say of a round that came to fewer cosignatures than the policy asks for.
    pub(crate) fn lost(&self) -> anyhow::Error {
        lost(&self.faults)
    }
}

/// What to say where fewer cosigned than the policy asks for.
pub(crate) fn lost(faults: &[Fault]) -> anyhow::Error {
    let faults: Vec<_> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    anyhow!("fewer witnesses cosigned the checkpoint than the policy asks for{}", faults.concat())
}
