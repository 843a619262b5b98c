//! The schedule of a key: which version protects, and for whom, while a rollout moves it.
//!
//! Schedule and state are apart (NIST SP 800-57 Part 1 knows states alone): a version that is Active may protect for
//! nobody, and a rollout that is taken back changes the schedule and no state.
//!
//! **Invariant:** one consumer sees one version at a time, and as a share grows nobody leaves it: a consumer's
//! [`Point`] is fixed for the rollout, and it is in every share that is larger than that.
//!
//! What is *not* here: when a schedule moves, which is [`crate::rollout`]'s to say.

use minicbor::{Decode, Encode};

use crate::id::RolloutId;
use crate::limits::SELECTOR_NAMES_MAX;
use crate::name::{Name, Scope};

/// A fraction in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fraction(u32);

impl Fraction {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const WHOLE: Self = Self(PARTS);

    /// Takes parts per million, 1 000 000 at most.
    #[must_use]
    pub const fn from_ppm(ppm: u32) -> Option<Self> {
        if ppm <= PARTS { Some(Self(ppm)) } else { None }
    }

    /// The parts per million.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// What is left of the whole.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(PARTS - self.0)
    }

    /// How many of `total` are at least this fraction of them.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        let parts = u128::from(total) * u128::from(self.0);
        // At most `total`, since the fraction is at most the whole.
        u64::try_from(parts.div_ceil(u128::from(PARTS))).unwrap_or(total)
    }
}

/// The whole, in parts per million.
const PARTS: u32 = 1_000_000;

impl<C> Encode<C> for Fraction {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.u32(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Fraction {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        let error = || minicbor::decode::Error::message("more than 1 000 000 parts per million");
        Self::from_ppm(decoder.u32()?).ok_or_else(error)
    }
}

/// Where a consumer stands among all: a number below a million, even over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point(u32);

impl Point {
    /// Takes the first eight bytes of a digest as a number in the unit interval.
    #[must_use]
    pub fn of_digest(digest: &[u8; 32]) -> Self {
        let high = digest.iter().take(8).fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
        let scaled = (u128::from(high) * u128::from(PARTS)) >> 64;
        // Below the whole: `high` is below 2^64.
        Self(u32::try_from(scaled).unwrap_or(PARTS - 1))
    }

    /// Whether it is in a share of that size.
    #[must_use]
    pub fn is_within(self, fraction: Fraction) -> bool {
        self.0 < fraction.0
    }
}

/// What the incoming version does for its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Mode {
    /// Nothing: verifiers are told of it.
    #[n(0)]
    PublishOnly,
    /// It protects beside the version there was.
    #[n(1)]
    DualSign,
    /// It protects alone.
    #[n(2)]
    NewOnly,
}

/// What verifiers ask of an output with two signatures; the trust bundle says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Accept {
    /// One that verifies.
    #[default]
    #[n(0)]
    AnyOf,
    /// Both.
    #[n(1)]
    AllOf,
}

/// For which consumers a share is, by where they are. An empty list is everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Selector {
    /// Their environments.
    #[n(0)]
    pub environments: Vec<Name>,
    /// Their regions.
    #[n(1)]
    pub regions: Vec<Name>,
    /// Their services.
    #[n(2)]
    pub services: Vec<Name>,
}

impl Selector {
    /// Whether a consumer in `scope` is meant.
    #[must_use]
    pub fn admits(&self, scope: &Scope) -> bool {
        let admits = |names: &[Name], name| names.is_empty() || names.contains(name);
        admits(&self.environments, &scope.environment)
            && admits(&self.regions, &scope.region)
            && admits(&self.services, &scope.service)
    }

    /// Whether everybody whom `other` means is meant here too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let covers = |wide: &[Name], narrow: &[Name]| {
            wide.is_empty() || !narrow.is_empty() && narrow.iter().all(|name| wide.contains(name))
        };
        covers(&self.environments, &other.environments)
            && covers(&self.regions, &other.regions)
            && covers(&self.services, &other.services)
    }

    /// Whether everybody is meant.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.lists().iter().all(|names| names.is_empty())
    }

    /// Whether no list is longer than it may be.
    #[must_use]
    pub fn is_within_bounds(&self) -> bool {
        self.lists().iter().all(|names| names.len() <= SELECTOR_NAMES_MAX)
    }

    fn lists(&self) -> [&[Name]; 3] {
        [&self.environments, &self.regions, &self.services]
    }
}

/// What an incoming version has of a key's protecting.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Share {
    /// The version.
    #[n(0)]
    pub version: u32,
    /// How large.
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
}

/// That a rollout moves a schedule. While one does, no other begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Moving {
    /// Which.
    #[n(0)]
    pub rollout: RolloutId,
    /// What the incoming version has, once it has something.
    #[n(1)]
    pub share: Option<Share>,
}

/// Which versions of a key protect, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Schedule {
    /// The version that protects outside the share.
    #[n(0)]
    pub version: u32,
    /// What moves it.
    #[n(1)]
    pub moving: Option<Moving>,
}

/// Whom something is protected for.
#[derive(Clone, Copy, Debug)]
pub struct Consumer<'a> {
    /// Its place in the rollout's order.
    pub point: Point,
    /// Where it is.
    pub scope: &'a Scope,
}

/// What protects for one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protecting {
    /// One version.
    One(u32),
    /// Two, each with a signature of its own.
    Both {
        /// The version there was.
        outgoing: u32,
        /// The version that a rollout brings in.
        incoming: u32,
    },
}

impl Protecting {
    /// The one version, or the one of two that is coming in.
    #[must_use]
    pub const fn last(self) -> u32 {
        match self {
            Self::One(version) | Self::Both { incoming: version, .. } => version,
        }
    }
}

impl Schedule {
    /// One version, and no rollout.
    #[must_use]
    pub fn settled(version: u32) -> Self {
        Self { version, moving: None }
    }

    /// What the incoming version has.
    #[must_use]
    pub fn share(&self) -> Option<&Share> {
        self.moving.as_ref()?.share.as_ref()
    }

    /// What protects for a consumer.
    #[must_use]
    pub fn protecting(&self, consumer: &Consumer<'_>) -> Protecting {
        let is_in = |share: &&Share| {
            consumer.point.is_within(share.fraction) && share.selector.admits(consumer.scope)
        };
        match self.share().filter(is_in) {
            None => Protecting::One(self.version),
            Some(share) => match share.mode {
                Mode::PublishOnly => Protecting::One(self.version),
                Mode::DualSign => {
                    Protecting::Both { outgoing: self.version, incoming: share.version }
                }
                Mode::NewOnly => Protecting::One(share.version),
            },
        }
    }

    /// What verifiers ask of two signatures.
    #[must_use]
    pub fn accept(&self) -> Accept {
        self.share().map(|share| share.accept).unwrap_or_default()
    }

    /// The versions there was and that comes in, if verifiers ask for the signatures of both.
    #[must_use]
    pub fn asks_both(&self) -> Option<(u32, u32)> {
        let is_asked =
            |share: &&Share| share.mode == Mode::DualSign && share.accept == Accept::AllOf;
        self.share().filter(is_asked).map(|share| (self.version, share.version))
    }

    /// Whether a version protects for anybody by this schedule for whom it did not by `before`.
    #[must_use]
    pub fn gives_more_than(&self, before: &Self, version: u32) -> bool {
        let incoming = |schedule: &Self| schedule.incoming() == Some(version);
        let has_grown = |now: Option<&Share>, then: Option<&Share>| match (now, then) {
            (Some(now), Some(then)) => {
                now.fraction > then.fraction || !then.selector.covers(&now.selector)
            }
            (now, _) => now.is_some(),
        };
        match (self.version == version, before.version == version) {
            // Those for whom another stands alone are the fewer.
            (true, true) => has_grown(before.alone(), self.alone()),
            (true, false) => true,
            (false, _) => {
                incoming(self) && (!incoming(before) || has_grown(self.share(), before.share()))
            }
        }
    }

    /// The share in which the scheduled version does not protect.
    fn alone(&self) -> Option<&Share> {
        self.share().filter(|share| share.mode == Mode::NewOnly)
    }

    /// The version that protects for everybody, alone; nothing while it depends on the consumer, or is two.
    #[must_use]
    pub fn sole(&self) -> Option<u32> {
        let is_whole = |share: &&Share| {
            share.mode == Mode::NewOnly
                && share.fraction == Fraction::WHOLE
                && share.selector.is_everybody()
        };
        match (self.incoming(), self.share().filter(is_whole)) {
            (None, _) => Some(self.version),
            (Some(_), whole) => whole.map(|share| share.version),
        }
    }

    /// The version that protects beside the scheduled one, for whomever it is.
    #[must_use]
    pub fn incoming(&self) -> Option<u32> {
        let share = self.share()?;
        let protects = share.mode != Mode::PublishOnly && share.fraction > Fraction::NONE;
        protects.then_some(share.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(environment: &str, region: &str) -> Scope {
        let part = |text: &str| text.parse().unwrap();
        Scope { environment: part(environment), region: part(region), service: part("default") }
    }

    fn names(texts: &[&str]) -> Vec<Name> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn share(ppm: u32, mode: Mode) -> Schedule {
        let share = Share {
            version: 2,
            fraction: Fraction::from_ppm(ppm).unwrap(),
            mode,
            accept: Accept::AnyOf,
            selector: Selector { regions: names(&["eu"]), ..Selector::default() },
        };
        let rollout = RolloutId::from_bytes([1; 16]);
        Schedule { version: 1, moving: Some(Moving { rollout, share: Some(share) }) }
    }

    #[test]
    fn a_fraction_is_the_whole_at_most() {
        assert_eq!(Fraction::from_ppm(PARTS), Some(Fraction::WHOLE));
        assert_eq!(Fraction::from_ppm(PARTS + 1), None);
        assert!(crate::cbor::decode::<Fraction>(&crate::cbor::encode(&PARTS), "f").is_ok());
        assert!(crate::cbor::decode::<Fraction>(&crate::cbor::encode(&(PARTS + 1)), "f").is_err());
    }

    #[test]
    fn a_fraction_of_some_is_rounded_up_and_never_more_than_all() {
        let of = |ppm, total| Fraction::from_ppm(ppm).unwrap().of(total);
        assert_eq!([of(999_000, 3), of(500_000, 3), of(1, 3), of(0, 3)], [3, 2, 1, 0]);
        assert_eq!([of(PARTS, u64::MAX), of(1, 0)], [u64::MAX, 0]);
    }

    #[test]
    fn the_ends_of_the_unit_interval_are_within_the_whole_and_the_lowest_alone_in_the_least_share()
    {
        let (low, high) = (Point::of_digest(&[0; 32]), Point::of_digest(&[0xff; 32]));
        assert!(low.is_within(Fraction(1)) && !low.is_within(Fraction::NONE));
        assert!(high.is_within(Fraction::WHOLE) && !high.is_within(Fraction(PARTS - 1)));
    }

    #[test]
    fn one_version_protects_for_everybody_or_none_does() {
        let whole = |mode, selector| {
            let Schedule { version, moving } = share(PARTS, mode);
            let moving = moving.map(|moving| Moving {
                share: moving.share.map(|share| Share { selector, ..share }),
                ..moving
            });
            Schedule { version, moving }
        };
        assert_eq!(Schedule::settled(1).sole(), Some(1));
        assert_eq!(whole(Mode::NewOnly, Selector::default()).sole(), Some(2));
        assert_eq!(whole(Mode::DualSign, Selector::default()).sole(), None);
        assert_eq!(whole(Mode::PublishOnly, Selector::default()).sole(), Some(1));
        assert_eq!(share(PARTS, Mode::NewOnly).sole(), None, "in one region alone");
        assert_eq!(share(PARTS - 1, Mode::NewOnly).sole(), None);
        assert_eq!(share(0, Mode::NewOnly).sole(), Some(1));
    }

    #[test]
    fn each_mode_protects_in_its_share_alone() {
        let eu = scope("production", "eu");
        let at = |ppm, scope| Consumer { point: Point(ppm), scope };
        let in_share = |mode| share(10, mode).protecting(&at(9, &eu));
        assert_eq!(in_share(Mode::PublishOnly), Protecting::One(1));
        assert_eq!(in_share(Mode::DualSign), Protecting::Both { outgoing: 1, incoming: 2 });
        assert_eq!(in_share(Mode::NewOnly), Protecting::One(2));
        let schedule = share(10, Mode::NewOnly);
        assert_eq!(schedule.protecting(&at(10, &eu)), Protecting::One(1));
        assert_eq!(schedule.protecting(&at(9, &scope("production", "us"))), Protecting::One(1));
    }

    #[test]
    fn a_version_gains_by_a_larger_share_of_its_own_and_by_a_smaller_one_of_another() {
        let (none, small, large) =
            (Schedule::settled(1), share(10, Mode::NewOnly), share(20, Mode::NewOnly));
        let both = share(20, Mode::DualSign);
        let gains = |now: &Schedule, before: &Schedule| {
            [1, 2].map(|version| now.gives_more_than(before, version))
        };
        assert_eq!(gains(&small, &none), [false, true]);
        assert_eq!(gains(&large, &small), [false, true]);
        assert_eq!(gains(&small, &large), [true, false]);
        assert_eq!(gains(&none, &small), [true, false]);
        assert_eq!(gains(&both, &large), [true, false]);
        assert_eq!(gains(&large, &both), [false, false]);
        assert_eq!(gains(&Schedule::settled(2), &large), [false, true]);
        assert_eq!(gains(&large, &large), [false, false]);
        let everywhere = |mut schedule: Schedule| {
            let share = schedule.moving.as_mut().and_then(|moving| moving.share.as_mut());
            share.unwrap().selector = Selector::default();
            schedule
        };
        assert_eq!(gains(&everywhere(small.clone()), &small), [false, true]);
        assert_eq!(gains(&small, &everywhere(small.clone())), [true, false]);
    }

    #[test]
    fn a_selector_covers_what_it_lists_and_an_empty_one_all() {
        let regions = |texts: &[&str]| Selector { regions: names(texts), ..Selector::default() };
        let (all, eu, both) = (regions(&[]), regions(&["eu"]), regions(&["eu", "us"]));
        for (wide, narrow) in [(&all, &all), (&all, &eu), (&both, &eu), (&eu, &eu)] {
            assert!(wide.covers(narrow));
        }
        for (narrow, wide) in [(&eu, &all), (&eu, &both), (&both, &all)] {
            assert!(!narrow.covers(wide));
        }
        let many: Vec<_> = (0..=SELECTOR_NAMES_MAX).map(|n| format!("r{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(!regions(&many).is_within_bounds());
        assert!(regions(&many[1..]).is_within_bounds());
    }
}
