//! What a stage still waits for, gate by gate. All of them together open the way to the next one.
//!
//! Besides its own stage's, a rollout has two gates of the plan's bounds: none of its versions protects before every
//! verifier can have it, and none is retired while what it made can be alive (RFC 7583, 3.2). They hold whatever the
//! stages say.

use minicbor::{Decode, Encode};

use super::observed::{Observed, Since, Standing, Verifier, standing};
use super::plan::{Advance, Kind, Paths, Stage, StageName};
use super::{Overridable, Rollout, Situation};
use crate::clock::Served;
use crate::epoch::Epoch;
use crate::id::PrincipalId;
use crate::key::{KeyVersion, Published};
use crate::purpose::Usage;
use crate::schedule::{Fraction, Mode};
use crate::state::KeyState;

/// One thing that a stage waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Gate {
    /// The stage's shortest time.
    #[n(0)]
    Elapsed {
        /// What is left of it, in milliseconds.
        #[n(0)]
        left_ms: u64,
    },
    /// Every verifier can have the new version: P + C + S since it was published.
    #[n(1)]
    Propagated {
        /// What is left of that, in milliseconds.
        #[n(0)]
        left_ms: u64,
    },
    /// Verifiers that asked for both signatures have been told that one is enough: P + C + S since.
    #[n(2)]
    Released {
        /// What is left of that, in milliseconds.
        #[n(0)]
        left_ms: u64,
    },
    /// Nothing that the old version made is alive: R + P + max(C, L) + S since it last protected.
    #[n(3)]
    Outlived {
        /// What is left of that, in milliseconds.
        #[n(0)]
        left_ms: u64,
    },
    /// Verifiers have the new version.
    #[n(4)]
    Acknowledged(#[n(0)] Acknowledged),
    /// The new version has answered often enough.
    #[n(5)]
    Sampled {
        /// How often it did.
        #[n(0)]
        have: u64,
        /// How often it must.
        #[n(1)]
        need: u64,
    },
    /// Paths were gone.
    #[n(6)]
    Exercised {
        /// Those that were not.
        #[n(0)]
        missing: Paths,
    },
    /// A trigger does not fire.
    #[n(7)]
    Trigger {
        /// Its place in the stage.
        #[n(0)]
        place: u8,
        /// How it stands.
        #[n(1)]
        standing: Standing,
    },
    /// The new version may protect.
    #[n(8)]
    Usable {
        /// Its state.
        #[n(0)]
        state: KeyState,
    },
    /// Nobody has seen anything of the old version for the quiet window.
    #[n(9)]
    Quiet {
        /// What is left of that, in milliseconds; nothing if nobody looked.
        #[n(0)]
        left_ms: Option<u64>,
        /// Who goes on regardless.
        #[n(1)]
        overridden: Option<PrincipalId>,
    },
    /// Nothing is encrypted under the old version any more.
    #[n(10)]
    Counted {
        /// How much is; nothing if nobody counted.
        #[n(0)]
        remaining: Option<u64>,
        /// Who goes on regardless.
        #[n(1)]
        overridden: Option<PrincipalId>,
    },
    /// A person ends the stage.
    #[n(11)]
    Person,
}

/// How far verifiers have acknowledged a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Acknowledged {
    /// The epoch that publishes it.
    #[n(0)]
    pub epoch: Epoch,
    /// How many did.
    #[n(1)]
    pub have: u32,
    /// Of how many that are registered.
    #[n(2)]
    pub of: u32,
    /// How many must.
    #[n(3)]
    pub need: u32,
    /// Who goes on regardless.
    #[n(4)]
    pub overridden: Option<PrincipalId>,
}

impl Acknowledged {
    /// Counts who acknowledged an epoch. An epoch that has not come yet nobody can have acknowledged.
    pub(super) fn count(
        (published, now): (Epoch, Epoch),
        fraction: Fraction,
        verifiers: &[Verifier],
    ) -> Self {
        let has_it = |verifier: &&Verifier| {
            verifier.acknowledged.is_some_and(|epoch| published <= epoch && epoch <= now)
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let of = number(verifiers.len());
        let need = u32::try_from(fraction.of(u64::from(of))).unwrap_or(u32::MAX);
        let have = number(verifiers.iter().filter(has_it).count());
        Self { epoch: published, have, of, need, overridden: None }
    }

    /// Whether enough did, or a person goes on regardless.
    #[must_use]
    pub const fn is_enough(&self) -> bool {
        self.have >= self.need || self.overridden.is_some()
    }
}

impl Gate {
    /// Its spelling in views.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Elapsed { .. } => "elapsed",
            Self::Propagated { .. } => "propagated",
            Self::Released { .. } => "released",
            Self::Outlived { .. } => "outlived",
            Self::Acknowledged(_) => "acknowledged",
            Self::Sampled { .. } => "sampled",
            Self::Exercised { .. } => "exercised",
            Self::Trigger { .. } => "trigger",
            Self::Usable { .. } => "usable",
            Self::Quiet { .. } => "quiet",
            Self::Counted { .. } => "counted",
            Self::Person => "person",
        }
    }

    /// Whether it is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        match self {
            Self::Elapsed { left_ms }
            | Self::Propagated { left_ms }
            | Self::Released { left_ms }
            | Self::Outlived { left_ms } => *left_ms == 0,
            Self::Acknowledged(acknowledged) => acknowledged.is_enough(),
            Self::Sampled { have, need } => *have >= *need,
            Self::Exercised { missing } => missing.is_empty(),
            Self::Trigger { standing, .. } => matches!(standing, Standing::Pass),
            Self::Usable { state } => {
                matches!(state, KeyState::PreActivation | KeyState::Active)
            }
            Self::Quiet { left_ms, overridden } => {
                matches!(left_ms, Some(0)) || overridden.is_some()
            }
            Self::Counted { remaining, overridden } => {
                matches!(remaining, Some(0)) || overridden.is_some()
            }
            Self::Person => false,
        }
    }
}

/// What is left of a wait. A clock that lost time makes it longer and never shorter.
pub(super) fn left_ms(since: Served, wait_ms: u64, now: Served) -> u64 {
    wait_ms.saturating_sub(now.as_ms().saturating_sub(since.as_ms()))
}

impl Rollout {
    /// Every gate of the stage it is in, open or not.
    #[must_use]
    pub fn gates(&self, at: &Situation<'_>) -> Vec<Gate> {
        let Some(stage) = self.plan.stage(self.stage) else { return Vec::new() };
        let next = self.next_stage().map(|next| next.name);
        let mut gates =
            vec![Gate::Elapsed { left_ms: left_ms(self.entered.served, stage.min_ms, at.now) }];
        self.gates_of_stage(stage, at, &mut gates);
        match next {
            Some(name) if name.is_trial() => self.gates_of_trial(stage, at, &mut gates),
            Some(StageName::Retire) => self.gates_of_retiring(at, &mut gates),
            _ => {}
        }
        let is_final = next.is_some_and(|name| !name.has_return());
        if is_final || next.is_some() && stage.advance == Advance::Person {
            gates.push(Gate::Person);
        }
        gates
    }

    fn gates_of_stage(&self, stage: &Stage, at: &Situation<'_>, gates: &mut Vec<Gate>) {
        let seen = self.seen(at);
        let is_asked_before = self.protects_next();
        if stage.acknowledged > Fraction::NONE || is_asked_before {
            let asked = stage.acknowledged.max(self.plan.acknowledgement());
            gates.push(Gate::Acknowledged(self.acknowledgement(asked, at)));
        }
        if stage.min_samples > 0 {
            gates.push(Gate::Sampled { have: seen.samples, need: stage.min_samples });
        }
        if !stage.exercised.is_empty() {
            gates.push(Gate::Exercised { missing: stage.exercised.without(seen.exercised) });
        }
        for (place, standing) in self.standings(at) {
            gates.push(Gate::Trigger { place, standing });
        }
    }

    fn gates_of_trial(&self, stage: &Stage, at: &Situation<'_>, gates: &mut Vec<Gate>) {
        let version = at.key.version(self.to);
        let is_usable = |version: &&KeyVersion| version.destruction.is_none();
        let usable = version.filter(is_usable);
        gates.push(Gate::Usable {
            state: usable.map_or(KeyState::Destroyed, |version| version.state),
        });
        let stands_alone = self.next_stage().is_some_and(|next| next.mode == Mode::NewOnly);
        if self.released.is_some() && stands_alone {
            gates.push(Gate::Released { left_ms: self.unreleased_ms(at) });
        }
        if !stage.name.is_trial() {
            gates.push(Gate::Propagated { left_ms: self.unpropagated_ms(self.to, at) });
        }
    }

    fn gates_of_retiring(&self, at: &Situation<'_>, gates: &mut Vec<Gate>) {
        let bounds = &self.plan.bounds;
        let outlived =
            self.alone.map_or(u64::MAX, |since| left_ms(since, bounds.retirement_ms(), at.now));
        gates.push(Gate::Outlived { left_ms: outlived });
        let quiet = self.seen(at).old_seen.map(|seen| left_ms(seen, bounds.quiet_ms, at.now));
        let overridden = self.overridden(Overridable::Quiet);
        gates.push(Gate::Quiet { left_ms: quiet, overridden });
        if matches!(at.key.purpose.usage(), Usage::Encrypt | Usage::Wrap) {
            let remaining = self.seen(at).remaining;
            let overridden = self.overridden(Overridable::Remaining);
            gates.push(Gate::Counted { remaining, overridden });
        }
    }

    /// How the triggers of the stage stand.
    pub(super) fn standings(&self, at: &Situation<'_>) -> Vec<(u8, Standing)> {
        let Some(stage) = self.plan.stage(self.stage) else { return Vec::new() };
        let since = Since { schedule: self.entered.epoch, served: self.entered.served };
        let of = |(place, trigger)| {
            let found = standing((place, trigger), at.observed, at.verifiers, since, at.now);
            // A plan has 8 triggers in a stage at most.
            (u8::try_from(place).unwrap_or(u8::MAX), found)
        };
        stage.triggers.iter().enumerate().map(of).collect()
    }

    /// What was seen under this schedule; nothing of it if it was another one.
    pub(super) fn seen<'o>(&self, at: &Situation<'o>) -> Observed<'o> {
        if at.observed.schedule == self.entered.epoch { *at.observed } else { Observed::NOTHING }
    }

    /// Whether the next stage is the first in which the new version protects.
    fn protects_next(&self) -> bool {
        let is_trial = |stage: Option<&Stage>| stage.is_some_and(|stage| stage.name.is_trial());
        is_trial(self.next_stage()) && !is_trial(self.plan.stage(self.stage))
    }

    pub(super) fn next_stage(&self) -> Option<&Stage> {
        self.plan.stage(self.stage.checked_add(1)?)
    }

    /// How far the new version is acknowledged. What is not published nobody has acknowledged.
    pub(super) fn acknowledgement(&self, asked: Fraction, at: &Situation<'_>) -> Acknowledged {
        let published = at.key.version(self.to).and_then(|version| version.published);
        let epoch = published.map_or(NEVER, |published| published.epoch);
        let counted = Acknowledged::count((epoch, at.epoch), asked, at.verifiers);
        Acknowledged { overridden: self.overridden(Overridable::Acknowledgement), ..counted }
    }

    /// What is left until every verifier can have a version. An emergency does not wait for that.
    pub(super) fn unpropagated_ms(&self, version: u32, at: &Situation<'_>) -> u64 {
        let published = at.key.version(version).and_then(|version| version.published);
        let wait_ms = self.plan.bounds.publication_ms();
        match (published, self.plan.kind) {
            (None, _) => u64::MAX,
            (Some(_), Kind::Emergency) => 0,
            (Some(Published { at: since, .. }), Kind::Routine) => left_ms(since, wait_ms, at.now),
        }
    }
}

/// An epoch that does not come.
const NEVER: Epoch = Epoch { generation: u32::MAX, number: u64::MAX };
