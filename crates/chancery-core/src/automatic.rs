//! Automatic rotation: by which rule a key is rotated without anybody asking, and when that is due.
//!
//! A rule is of one key, or of all keys of a usage that have none of their own. It says after how long, after how many
//! uses and upon which findings a rollout begins, by which plan; and whether a next version stands by, published before
//! it is needed. Keys of one age are not all due at once: each has a moment of its own within the spread, earlier than
//! the rule says and never later.
//!
//! All time here is time served: whoever moves the wall clock rotates nothing. That a key is overdue by either clock is
//! said elsewhere ([`crate::cryptoperiod`]), by what does not ask whether anybody rotates.
//!
//! **Invariant:** nothing here begins anything. What is due is what the rule says of the key as it is, and is asked
//! again when it is carried out.

use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::{Served, millis};
use crate::duration::duration_text;
use crate::id::{KeyId, PrincipalId, TenantId};
use crate::key::{Key, KeyVersion, Provenance};
use crate::name::Name;
use crate::purpose::Usage;
use crate::rollout::{Cause, Finding, Plan};
use crate::state::KeyState;
use crate::suite::Suite;

/// The shortest time between two automatic rotations of a key: 1 s, for rehearsals. Its plan asks for more.
pub const EVERY_MIN: Duration = Duration::from_secs(1);

/// The longest: twenty years, as the longest duration of a plan.
pub const EVERY_MAX: Duration = crate::limits::PLAN_DURATION_MAX;

/// How long a key whose rollout went back is left alone: a day, in which somebody can look.
pub const RETRY_AFTER: Duration = Duration::from_hours(24);

/// After how many versions in a row that were given up a rule brings no further one in: 3. A key has room for 256 versions,
/// of the largest public keys for 24, and a person who has to rotate it finds room yet.
pub const GIVEN_UP_MAX: usize = 3;

/// Under which conditions a key is rotated, and how.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Automatic {
    /// How long a version protects at most before a rollout begins, in milliseconds of time served.
    #[n(0)]
    pub every_ms: u64,
    /// Over how long, before that, the beginnings of many keys are spread, in milliseconds; less than `every_ms` by more than
    /// the plan takes until the new version protects for all.
    #[n(1)]
    pub spread_ms: u64,
    /// After how many uses of a version, of whatever kind, a rollout begins; however many if not said.
    #[n(2)]
    pub uses: Option<u64>,
    /// Which algorithm versions have: one that has another is rotated away from. The key's own if not said.
    #[n(3)]
    pub suite: Option<Suite>,
    /// Whether a version that was brought in from outside is rotated away from.
    #[n(4)]
    pub replaces_imported: bool,
    /// Whether a next version is made and published before it is needed.
    #[n(5)]
    pub stands_by: bool,
    /// By which plan.
    #[n(6)]
    pub plan: Plan,
}

/// What is said of automatic rotation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Rule {
    /// Nothing: of a key, that the rule of its usage holds; of a usage, that there is none.
    #[n(0)]
    Unset,
    /// That there is none, whatever is said of the usage.
    #[n(1)]
    Never,
    /// That there is.
    #[n(2)]
    Automatic(#[n(0)] Box<Automatic>),
}

/// What a stored rule is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum RuleOf {
    /// All keys of a usage that have no rule of their own.
    #[n(0)]
    Usage(#[n(0)] Usage),
    /// One key.
    #[n(1)]
    Key(#[n(0)] KeyId),
}

/// What a rule that is asked for is of.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RuleFor {
    /// All keys of a usage that have no rule of their own.
    #[n(0)]
    Usage(#[n(0)] Usage),
    /// One key.
    #[n(1)]
    Key(#[n(0)] Name),
}

/// A rule as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RuleRow {
    /// In which tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// What it is of.
    #[n(1)]
    pub of: RuleOf,
    /// What it says.
    #[n(2)]
    pub rule: Rule,
    /// The digest of its plan's encoding; zeros without one. The core has no hash of its own.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub plan_digest: [u8; 32],
    /// Who said so.
    #[n(4)]
    pub by: PrincipalId,
    /// Since when, in time served.
    #[n(5)]
    pub since: Served,
}

/// A rule is not one that could be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is too short or too long.
    #[error("a key is rotated at most once a second and at least once in twenty years of 366 days")]
    Every,
    /// It would rotate for ever.
    #[error("a version is rotated after one use or more, not after none")]
    Uses,
    /// The plan breaks rules.
    #[error("the plan breaks {} rules, the first: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Plan(Vec<Finding>),
    /// The next rollout would begin before one has come to protect.
    #[error(
        "a rollout by this plan takes {} at least until the new version protects for all; rotate less often than that, or \
         spread over less",
        duration_text(*.shortest_ms)
    )]
    TooOften {
        /// So long.
        shortest_ms: u64,
    },
    /// The version would be past its cryptoperiod before another protects.
    #[error(
        "a rollout that begins after {} and takes {} at least is not over within the plan's cryptoperiod of {}; rotate sooner",
        duration_text(*.every_ms),
        duration_text(*.shortest_ms),
        duration_text(*.cryptoperiod_ms)
    )]
    TooSeldom {
        /// When it begins.
        every_ms: u64,
        /// How long it takes.
        shortest_ms: u64,
        /// What it was to be over within.
        cryptoperiod_ms: u64,
    },
}

/// What is due for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Due {
    /// A rollout, for that reason.
    Rollout(Cause),
    /// A version that stands by.
    Standby,
}

/// What is known of a key besides the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Since when its rule is there, in time served.
    pub rule_since: Served,
    /// How often the version that protects was used, if somebody counted.
    pub uses: Option<u64>,
}

impl Automatic {
    /// Checks what can be said of a rule by itself.
    ///
    /// # Errors
    ///
    /// The first [`RuleError`].
    pub fn check(&self) -> Result<(), RuleError> {
        if !(millis(EVERY_MIN)..=millis(EVERY_MAX)).contains(&self.every_ms) {
            return Err(RuleError::Every);
        }
        if self.uses == Some(0) {
            return Err(RuleError::Uses);
        }
        let findings = self.plan.check();
        if !findings.is_empty() {
            return Err(RuleError::Plan(findings));
        }
        self.check_times()
    }

    fn check_times(&self) -> Result<(), RuleError> {
        let (every_ms, shortest_ms) = (self.every_ms, self.plan.shortest_ms());
        if self.every_ms.saturating_sub(self.spread_ms) <= shortest_ms {
            return Err(RuleError::TooOften { shortest_ms });
        }
        let cryptoperiod_ms = self.plan.bounds.cryptoperiod_ms;
        if every_ms.saturating_add(shortest_ms) > cryptoperiod_ms {
            return Err(RuleError::TooSeldom { every_ms, shortest_ms, cryptoperiod_ms });
        }
        Ok(())
    }

    /// What is due for a key that no rollout moves, if anything. A key without a version that protects is left to
    /// people.
    #[must_use]
    pub fn due(&self, key: &Key, known: &Known, now: Served) -> Option<Due> {
        let version = key.scheduled_version().filter(|version| version.protects())?;
        let lacks_standby = self.stands_by && self.standby(key).is_none();
        let standby = || lacks_standby.then_some(Due::Standby);
        self.cause((key, version), known, now).map(Due::Rollout).or_else(standby)
    }

    fn cause(
        &self,
        (key, version): (&Key, &KeyVersion),
        known: &Known,
        now: Served,
    ) -> Option<Cause> {
        let is_worn = known.uses.zip(self.uses).is_some_and(|(uses, most)| uses >= most);
        if is_worn {
            return Some(Cause::UseCount);
        }
        if now >= self.due_at(key, version) {
            return Some(Cause::Cryptoperiod);
        }
        let is_its_turn = now >= known.rule_since.plus_ms(offset_ms(key, version, self.spread_ms));
        let is_of_another = key.suite_of(version) != self.suite_for(key);
        let is_foreign = self.replaces_imported && version.provenance == Provenance::Imported;
        match (is_its_turn, is_of_another, is_foreign) {
            (true, true, _) => Some(Cause::Migration),
            (true, false, true) => Some(Cause::Finding),
            _ => None,
        }
    }

    /// When the version that protects is as old as it may get, less its part of the spread.
    #[must_use]
    pub fn due_at(&self, key: &Key, version: &KeyVersion) -> Served {
        let ends = version.since().unwrap_or_default().plus_ms(self.every_ms);
        Served::from_ms(ends.as_ms() - offset_ms(key, version, self.spread_ms).min(ends.as_ms()))
    }

    /// Why this rule begins nothing for a key, whatever is due: that is a person's to mend.
    #[must_use]
    pub fn held(&self, key: &Key) -> Option<Held> {
        if key.purpose.admits(self.suite_for(key)).is_err() {
            return Some(Held::AlgorithmRefused);
        }
        let is_given_up = |version: &&KeyVersion| {
            version.number > key.scheduled
                && version.given_up.is_some()
                && version.state != KeyState::Destroyed
        };
        let given_up = key.versions.iter().filter(is_given_up).count();
        (given_up >= GIVEN_UP_MAX).then_some(Held::GivenUp)
    }

    /// The algorithm that a new version of a key has.
    #[must_use]
    pub fn suite_for(&self, key: &Key) -> Suite {
        let own = key.scheduled_version().map_or(key.suite, |version| key.suite_of(version));
        self.suite.unwrap_or(own)
    }

    /// The version that stands by to come in next, if the key has one. It is none that was given up: why is not known here.
    #[must_use]
    pub fn standby<'k>(&self, key: &'k Key) -> Option<&'k KeyVersion> {
        let suite = self.suite_for(key);
        let mut after = key.versions.iter().filter(|version| version.number > key.scheduled);
        after.find(|version| {
            version.state == KeyState::PreActivation
                && version.destruction.is_none()
                && version.published.is_some()
                && version.given_up.is_none()
                && key.suite_of(version) == suite
        })
    }
}

/// Where within the spread a version of a key has its moment, in milliseconds below `spread_ms`. Ids end in random bits, so
/// that many keys lie evenly; the next version of a key has another.
fn offset_ms(key: &Key, version: &KeyVersion, spread_ms: u64) -> u64 {
    let (_, random) = key.id.as_bytes().split_at(8);
    let random = random.try_into().map_or(0, u64::from_be_bytes);
    let point = mixed(random ^ u64::from(version.number).rotate_left(32));
    let scaled = (u128::from(point) * u128::from(spread_ms)) >> 64;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// One step of `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014): every bit of the number depends on every bit of the other.
/// No secret is made of it.
const fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A key with what its rule says of it, for people.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RotationView {
    /// The key.
    #[n(0)]
    pub key: Name,
    /// The version that protects by schedule.
    #[n(1)]
    pub version: u32,
    /// Whose rule holds for it; nothing if none does.
    #[n(2)]
    pub rule: Option<RuleOf>,
    /// How long it is until a rollout is due by age, in milliseconds; nothing if none ever is.
    #[n(3)]
    pub left_ms: Option<u64>,
    /// The version that stands by.
    #[n(4)]
    pub standby: Option<u32>,
    /// Why nothing begins now that is due, or will be.
    #[n(5)]
    pub held: Option<Held>,
}

/// Why no rollout of a key begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Held {
    /// One is under way.
    #[n(0)]
    UnderWay,
    /// The last one went back, less than a day ago.
    #[n(1)]
    WentBack,
    /// The version that protects by schedule does not protect.
    #[n(2)]
    NothingProtects,
    /// Too many rollouts that the service began stand paused, or went back within a day.
    #[n(3)]
    TooManyHalted,
    /// Too many that the service began are under way.
    #[n(4)]
    TooManyUnderWay,
    /// One version after the other was given up: a person brings the next one in.
    #[n(5)]
    GivenUp,
    /// The key's purpose does not admit the algorithm that the rule asks for.
    #[n(6)]
    AlgorithmRefused,
}

impl Held {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::UnderWay,
        Self::WentBack,
        Self::NothingProtects,
        Self::TooManyHalted,
        Self::TooManyUnderWay,
        Self::GivenUp,
        Self::AlgorithmRefused,
    ];

    /// Its spelling in answers.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnderWay => "under-way",
            Self::WentBack => "went-back",
            Self::NothingProtects => "nothing-protects",
            Self::TooManyHalted => "too-many-halted",
            Self::TooManyUnderWay => "too-many-under-way",
            Self::GivenUp => "given-up",
            Self::AlgorithmRefused => "algorithm-refused",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
