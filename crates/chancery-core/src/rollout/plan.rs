//! A rollout's plan: which stages a change of schedule goes through, and what each waits for. Data, never code.
//!
//! The bounds are those of RFC 7583, section 2, in words of any verifier: P how long a change takes to reach every
//! place that serves bundles, C how long a verifier keeps one, R how long it takes to protect anew what must last, L
//! how long an artefact lives, S what is added for safety. All durations are in milliseconds of time served.
//!
//! A plan that was decoded is of the right form and no more; [`Plan::check`](super::check) says what is wrong with it.

use minicbor::{Decode, Encode};

use crate::name::Name;
use crate::schedule::{Accept, Fraction, Mode, Selector};

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// To rotate, or to migrate with two signatures for a while: with a canary, and every wait.
    #[n(0)]
    Routine,
    /// To get away from a version: without waiting, and with everything else.
    #[n(1)]
    Emergency,
}

/// How long things take that the plan cannot make shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Bounds {
    /// P: until every place that serves trust bundles has a change.
    #[n(0)]
    pub propagation_ms: u64,
    /// C: the longest that a verifier keeps a bundle, its tries included.
    #[n(1)]
    pub verifier_cache_ms: u64,
    /// R: to sign or encrypt again what must outlive the version.
    #[n(2)]
    pub reprotect_ms: u64,
    /// L: the longest life of an artefact.
    #[n(3)]
    pub artefact_life_ms: u64,
    /// S: for safety; a step that takes longer to become durable is decided again.
    #[n(4)]
    pub safety_ms: u64,
    /// How long nobody may have seen anything of the old version before it is retired.
    #[n(5)]
    pub quiet_ms: u64,
    /// How long a version protects: its originator-usage period (NIST SP 800-57 Part 1, 5.3.5).
    #[n(6)]
    pub cryptoperiod_ms: u64,
}

impl Bounds {
    /// From publication until a version may protect: P + C + S.
    #[must_use]
    pub const fn publication_ms(&self) -> u64 {
        let waits = self.propagation_ms.saturating_add(self.verifier_cache_ms);
        waits.saturating_add(self.safety_ms)
    }

    /// From a version's last protecting until it may be retired: R + P + max(C, L) + S.
    #[must_use]
    pub const fn retirement_ms(&self) -> u64 {
        let (cache, life) = (self.verifier_cache_ms, self.artefact_life_ms);
        let longest = if cache > life { cache } else { life };
        let waits = self.reprotect_ms.saturating_add(self.propagation_ms);
        waits.saturating_add(longest).saturating_add(self.safety_ms)
    }
}

/// The stages, in their order. The point of no return is the start of [`Retire`](Self::Retire).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum StageName {
    /// The verifying half goes into the trust bundle.
    #[n(0)]
    Publish,
    /// Verifiers acknowledge it.
    #[n(1)]
    Ready,
    /// It protects for few.
    #[n(2)]
    Canary,
    /// And for more; as many stages as one likes.
    #[n(3)]
    Ramp,
    /// It alone protects, for all.
    #[n(4)]
    Full,
    /// What the old version made runs out.
    #[n(5)]
    Soak,
    /// The old version is deactivated.
    #[n(6)]
    Retire,
    /// Its destruction is scheduled.
    #[n(7)]
    Destroy,
}

impl StageName {
    /// Every name, in order.
    pub const ALL: [Self; 8] = [
        Self::Publish,
        Self::Ready,
        Self::Canary,
        Self::Ramp,
        Self::Full,
        Self::Soak,
        Self::Retire,
        Self::Destroy,
    ];

    /// Its spelling in plans and views.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Ready => "ready",
            Self::Canary => "canary",
            Self::Ramp => "ramp",
            Self::Full => "full",
            Self::Soak => "soak",
            Self::Retire => "retire",
            Self::Destroy => "destroy",
        }
    }

    /// Whether the new version protects in it while the old one could again.
    #[must_use]
    pub fn is_trial(self) -> bool {
        (Self::Canary..=Self::Soak).contains(&self)
    }

    /// Whether there is a way back from it.
    #[must_use]
    pub fn has_return(self) -> bool {
        self < Self::Retire
    }
}

/// Paths that must have been gone in a stage; a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Paths(u8);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Path {
    /// A verifier took something of the old version; of a key that encrypts, something of it was opened.
    OldVerified = 1,
    /// The same of the new version.
    NewVerified = 2,
    /// Going back was tried, without effect.
    RollbackProbed = 4,
}

impl Path {
    /// Every path.
    pub const ALL: [Self; 3] = [Self::OldVerified, Self::NewVerified, Self::RollbackProbed];

    /// Its spelling in plans and views.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::OldVerified => "old-verified",
            Self::NewVerified => "new-verified",
            Self::RollbackProbed => "rollback-probed",
        }
    }
}

impl Paths {
    /// None.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(7);

    /// With one more.
    #[must_use]
    pub const fn with(self, path: Path) -> Self {
        Self(self.0 | path as u8)
    }

    /// Whether one is among them.
    #[must_use]
    pub const fn contains(self, path: Path) -> bool {
        self.0 & path as u8 != 0
    }

    /// Those of this set that `other` lacks.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Path> {
        Path::ALL.into_iter().filter(move |path| self.contains(*path))
    }
}

impl<C> Encode<C> for Paths {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.u8(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Paths {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        let paths = Self(decoder.u8()?);
        let is_known = paths.without(Self::ALL).is_empty();
        is_known.then_some(paths).ok_or(minicbor::decode::Error::message("an unknown path"))
    }
}

/// What a trigger looks at. Ratios and rates are in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Metric {
    /// Of what verifiers were shown of the new version, what did not verify. Verifiers report it.
    #[n(0)]
    VerifyFailureRate,
    /// Of what verifiers were shown, what named a key that they do not know. Verifiers report it.
    #[n(1)]
    UnknownKeyRate,
    /// Requests to the new version that failed.
    #[n(2)]
    ErrorRate,
    /// How fast the error budget burns, over the short and the long window alike.
    #[n(3)]
    BudgetBurn,
    /// The 99th percentile of the new version's time, as a ratio to the old one's at the same time.
    #[n(4)]
    LatencyRatio,
    /// Signatures of the new version that did not verify in the signer.
    #[n(5)]
    SelfVerifyFailures,
    /// Probes of the new version that failed; for keys that are quiet.
    #[n(6)]
    ProbeFailures,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 7] = [
        Self::VerifyFailureRate,
        Self::UnknownKeyRate,
        Self::ErrorRate,
        Self::BudgetBurn,
        Self::LatencyRatio,
        Self::SelfVerifyFailures,
        Self::ProbeFailures,
    ];

    /// Its spelling in plans and views.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::VerifyFailureRate => "verify-failure-rate",
            Self::UnknownKeyRate => "unknown-key-rate",
            Self::ErrorRate => "error-rate",
            Self::BudgetBurn => "budget-burn",
            Self::LatencyRatio => "latency-ratio",
            Self::SelfVerifyFailures => "self-verify-failures",
            Self::ProbeFailures => "probe-failures",
        }
    }

    /// Whether its values are plain counts; those of the others are millionths.
    #[must_use]
    pub const fn is_count(self) -> bool {
        matches!(self, Self::SelfVerifyFailures | Self::ProbeFailures)
    }

    /// The value that it never reaches, in millionths: all of a rate, and the burn of a thousandth's budget by that.
    #[must_use]
    pub const fn never_reached(self) -> Option<u64> {
        match self {
            Self::VerifyFailureRate | Self::UnknownKeyRate | Self::ErrorRate => Some(1_000_000),
            Self::BudgetBurn => Some(1_000_000_000),
            Self::LatencyRatio | Self::SelfVerifyFailures | Self::ProbeFailures => None,
        }
    }

    /// Whether it is made of what verifiers report, which one of them could make up.
    #[must_use]
    pub const fn is_reported(self) -> bool {
        matches!(self, Self::VerifyFailureRate | Self::UnknownKeyRate)
    }
}

/// How a value is compared with a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Comparator {
    /// Fires above it.
    #[n(0)]
    Above,
    /// Fires at it, or above.
    #[n(1)]
    AtLeast,
    /// Fires below it.
    #[n(2)]
    Below,
}

/// What a trigger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Response {
    /// The rollout stays where it is, and people look.
    #[n(0)]
    Pause,
    /// The schedule goes back.
    #[n(1)]
    RollBack,
}

/// A bound whose crossing stops the rollout.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Trigger {
    /// What it looks at.
    #[n(0)]
    pub metric: Metric,
    /// How that is compared.
    #[n(1)]
    pub comparator: Comparator,
    /// With what, in millionths.
    #[n(2)]
    pub threshold: u64,
    /// Over how long.
    #[n(3)]
    pub window_ms: u64,
    /// And at the same time over how long, if over two windows.
    #[n(4)]
    pub short_window_ms: Option<u64>,
    /// How old a verdict may be.
    #[n(5)]
    pub stale_ms: u64,
    /// What it does.
    #[n(6)]
    pub response: Response,
    /// How many verifiers must have reported it, for a metric that they report.
    #[n(7)]
    pub reporters: u16,
}

impl Trigger {
    /// Whether a value, in millionths, fires it.
    #[must_use]
    pub const fn fires(&self, value: u64) -> bool {
        match self.comparator {
            Comparator::Above => value > self.threshold,
            Comparator::AtLeast => value >= self.threshold,
            Comparator::Below => value < self.threshold,
        }
    }
}

/// What happens where there is no evidence. None of it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Lacking {
    /// The rollout waits, until its deadline.
    #[n(0)]
    Wait,
    /// It pauses.
    #[n(1)]
    Pause,
    /// The schedule goes back.
    #[n(2)]
    RollBack,
}

/// Who ends a stage whose other gates are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Advance {
    /// The engine.
    #[n(0)]
    Automatic,
    /// A person.
    #[n(1)]
    Person,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Stage {
    /// Which.
    #[n(0)]
    pub name: StageName,
    /// For how many the new version protects.
    #[n(1)]
    pub fraction: Fraction,
    /// What it does there.
    #[n(2)]
    pub mode: Mode,
    /// What verifiers ask of two signatures.
    #[n(3)]
    pub accept: Accept,
    /// Where.
    #[n(4)]
    pub selector: Selector,
    /// The shortest that it takes.
    #[n(5)]
    pub min_ms: u64,
    /// The longest that it may take.
    #[n(6)]
    pub max_ms: u64,
    /// How many answers of the new version there must have been.
    #[n(7)]
    pub min_samples: u64,
    /// Which paths must have been gone.
    #[n(8)]
    pub exercised: Paths,
    /// How many of the registered verifiers must have acknowledged the new version.
    #[n(9)]
    pub acknowledged: Fraction,
    /// What stops it.
    #[n(10)]
    pub triggers: Vec<Trigger>,
    /// What happens when it has taken too long.
    #[n(11)]
    pub on_deadline: Response,
    /// What happens when there is no verdict.
    #[n(12)]
    pub on_no_data: Lacking,
    /// What happens when the analysis cannot tell.
    #[n(13)]
    pub on_inconclusive: Lacking,
    /// Who ends it.
    #[n(14)]
    pub advance: Advance,
}

impl Stage {
    /// Whether probes are samples in it: where nothing else is looked at, since nobody may use the key for days. Beside
    /// triggers that look at traffic, only traffic is a sample.
    #[must_use]
    pub fn counts_probes(&self) -> bool {
        let mut metrics = self.triggers.iter().map(|trigger| trigger.metric);
        !self.triggers.is_empty() && metrics.all(|metric| metric == Metric::ProbeFailures)
    }
}

/// The plan of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Plan {
    /// What people call it.
    #[n(0)]
    pub name: Name,
    /// What it is for.
    #[n(1)]
    pub kind: Kind,
    /// What it cannot make shorter.
    #[n(2)]
    pub bounds: Bounds,
    /// The stages, in order.
    #[n(3)]
    pub stages: Vec<Stage>,
}

impl Plan {
    /// The stage at a place.
    #[must_use]
    pub fn stage(&self, place: u8) -> Option<&Stage> {
        self.stages.get(usize::from(place))
    }

    /// How many of the registered verifiers must know the new version before it protects: the most that a stage before
    /// asks for.
    #[must_use]
    pub fn acknowledgement(&self) -> Fraction {
        let before = self.stages.iter().take_while(|stage| !stage.name.is_trial());
        before.map(|stage| stage.acknowledged).max().unwrap_or(Fraction::WHOLE)
    }

    /// The shortest time from the start until the new version alone protects.
    #[must_use]
    pub fn shortest_ms(&self) -> u64 {
        let before = self.stages.iter().take_while(|stage| stage.name < StageName::Full);
        before.fold(0, |sum, stage| sum.saturating_add(stage.min_ms))
    }
}
