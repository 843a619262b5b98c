//! A verifier: keeps the latest trust bundle, and verifies against it without the service.
//!
//! It takes a bundle that enough pinned keys have signed, under a higher number than the one that it has, and puts it on
//! the disk before it uses it. What is not such a bundle changes nothing: the last good one is used until the service was
//! not heard for as long as the bundle says, or the bundle's own end, whichever comes first.
//!
//! | a bundle with | is |
//! |---|---|
//! | a higher number, and the digest of this one before it if it is the next | taken |
//! | this number and digest | this one; the service was heard |
//! | this number and another digest, or the next number after another one | equivocation: both heads are kept as evidence |
//! | a lower number | a rollback |
//! | floors below this one's | refused |
//!
//! **Invariant:** numbers go up, across restarts too. Whoever asks about a version that is not in the bundle causes one
//! fetch in ten seconds at most, however many ask.
//!
//! What is *not* here: a thread. Whoever holds a [`Verifier`] calls [`Verifier::refresh`] as often as the bundle hints.

mod counts;
mod place;
mod source;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use chancery_core::bundle::Head;
use chancery_core::clock::millis;
use chancery_core::context::Context;
use chancery_core::epoch::Epoch;
use chancery_core::limits::CLOCK_DRIFT_MAX;
use chancery_core::name::{Name, Scope};
use chancery_core::purpose::Purpose;
use chancery_core::verifier::Report;
use chancery_crypto::bundle::{
    Accepted, Assembly, BundleError, Expected, Pins, Rejected, TrustBundle,
};
use chancery_crypto::formats::Payload;

use self::counts::Counts;
use self::place::Place;
pub use self::place::PlaceError;
pub use self::source::{BundleSource, SourceError};

/// At most one fetch for an unknown version in so long: 10 s, counted from the end of the fetch, whatever came of it.
pub const REFETCH_FLOOR: Duration = Duration::from_secs(10);

/// Says what time it is.
pub trait Clock: Send + Sync {
    /// The milliseconds since 1970.
    fn unix_ms(&self) -> u64;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        crate::moment::unix_ms()
    }
}

/// What is expected of an output; all of it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The key, by its name.
    pub key: &'a Name,
    /// What the key is for.
    pub purpose: &'a Purpose,
    /// Where the key belongs.
    pub scope: &'a Scope,
    /// The context that must be bound.
    pub context: &'a Context,
    /// The payload, for the formats whose output does not carry it.
    pub payload: Option<Payload<'a>>,
}

/// An output that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAccepted {
    /// There is no bundle yet.
    #[error("there is no trust bundle yet; fetch one first")]
    NoBundle,
    /// The service was not heard for too long.
    #[error(
        "the service was not heard for longer than the trust bundle allows; nothing is accepted until it is"
    )]
    Stale,
    /// The bundle, or what is expected, speaks against it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

/// No newer bundle could be taken. The one before is still used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// It could not be fetched.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is not to be trusted.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Two bundles that contradict each other were signed.
    #[error(
        "equivocation: two trust bundles {}.{} were signed; both heads are kept as evidence", .0.generation, .0.number
    )]
    Equivocation(Epoch),
    /// An older one was handed out.
    #[error("rollback: a trust bundle {}.{} was handed out, which is older than the one before", .0.generation, .0.number)]
    Rollback(Epoch),
    /// It is another tenant's.
    #[error("the trust bundle is another tenant's than the one before")]
    OtherTenant,
    /// It refuses less than the one before.
    #[error("the trust bundle has lower floors than the one before")]
    LowerFloors,
    /// It is dated ahead of our clock.
    #[error("the trust bundle is dated ahead of this clock by more than clocks may differ")]
    DatedAhead,
    /// It was over when it came.
    #[error("the trust bundle that was handed out has expired")]
    Expired,
    /// It could not be put on the disk.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// What a refresh came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// There is a newer bundle.
    Newer,
    /// The bundle is still the latest.
    Same,
}

/// A bundle that is used.
#[derive(Debug)]
struct Held {
    bundle: Arc<TrustBundle>,
    /// When the service was heard last, in milliseconds since 1970.
    heard_ms: u64,
}

/// When an unknown version was last fetched for.
#[derive(Debug, Default)]
struct Flight {
    ended_ms: Option<u64>,
}

/// Keeps the latest bundle of a source.
pub struct Verifier<S> {
    source: S,
    clock: Box<dyn Clock>,
    pins: Pins,
    since_ms: u64,
    place: Mutex<Place>,
    held: RwLock<Option<Arc<Held>>>,
    flight: Mutex<Flight>,
    counts: Mutex<Counts>,
}

impl<S> std::fmt::Debug for Verifier<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("since_ms", &self.since_ms).finish_non_exhaustive()
    }
}

impl<S: BundleSource> Verifier<S> {
    /// Takes up what is in a directory, which no other verifier has at the time.
    ///
    /// # Errors
    ///
    /// [`PlaceError`] if there is something in it that is no bundle which the pinned keys have signed: without it nobody
    /// would know how far numbers had come.
    pub fn open(
        directory: &std::path::Path,
        pins: Pins,
        source: S,
        clock: Box<dyn Clock>,
    ) -> Result<Self, PlaceError> {
        let (place, found) = Place::open(directory, &pins)?;
        let held =
            found.map(|(bundle, heard_ms)| Arc::new(Held { bundle: Arc::new(bundle), heard_ms }));
        Ok(Self {
            source,
            since_ms: clock.unix_ms(),
            clock,
            pins,
            place: Mutex::new(place),
            held: RwLock::new(held),
            flight: Mutex::default(),
            counts: Mutex::default(),
        })
    }

    /// The head of the bundle that is used.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.held().map(|held| held.bundle.head().clone())
    }

    /// Asks for a newer bundle, and waits so long for one.
    ///
    /// # Errors
    ///
    /// [`RefreshError`] if none could be had; the one before is still used.
    pub fn refresh(&self, wait: Duration) -> Result<Refreshed, RefreshError> {
        let known = self.held().map(|held| held.bundle.digest());
        let Some(signed) = self.source.head(known, wait)? else {
            self.hear(known);
            return Ok(Refreshed::Same);
        };
        let mut assembly = Assembly::begin(&signed, &self.pins)?;
        if self.judge(&assembly)? == Refreshed::Same {
            self.hear(Some(assembly.digest()));
            return Ok(Refreshed::Same);
        }
        while let Some(from) = assembly.next_entry() {
            assembly.page(&self.source.page(assembly.head().number, from)?)?;
        }
        self.install(assembly)
    }

    /// Verifies an output: everything that is wanted of it, at once. Of what the bundle does not know, the service is
    /// asked first, at most once in [`REFETCH_FLOOR`].
    ///
    /// # Errors
    ///
    /// [`NotAccepted`] if it is not to be accepted, for whatever reason.
    pub fn verify(&self, output: &[u8], wanted: &Wanted<'_>) -> Result<Accepted, NotAccepted> {
        let mut result = self.verify_now(output, wanted);
        if result.as_ref().is_err_and(asks_for_a_newer_one) {
            self.refetch();
            result = self.verify_now(output, wanted);
        }
        self.lock_counts().count(&result);
        result
    }

    /// What came of verifying so far, to be reported by [`chancery_core::command::Command::Report`]; nothing without a
    /// bundle.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        let bundle = Arc::clone(&self.held()?.bundle);
        let mut counts = self.lock_counts();
        Some(Report {
            bundle: bundle.head().number,
            as_of: bundle.head().as_of,
            digest: bundle.digest(),
            sequence: counts.next_sequence(self.clock.unix_ms()),
            since_ms: self.since_ms,
            counts: counts.reported(),
        })
    }

    fn verify_now(&self, output: &[u8], wanted: &Wanted<'_>) -> Result<Accepted, NotAccepted> {
        let held = self.held().ok_or(NotAccepted::NoBundle)?;
        let now_ms = self.clock.unix_ms();
        let unheard_ms = now_ms.saturating_sub(held.heard_ms);
        if unheard_ms > held.bundle.head().max_staleness_ms {
            return Err(NotAccepted::Stale);
        }
        let Wanted { key, purpose, scope, context, payload } = *wanted;
        let expected = Expected { key, purpose, scope, context, payload, now_ms };
        Ok(held.bundle.verify(output, &expected)?)
    }

    /// Fetches once for all who ask while it is under way, and not again before the floor is over.
    fn refetch(&self) {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.clock.unix_ms();
        let is_early = flight.ended_ms.is_some_and(|ended_ms| {
            (ended_ms..ended_ms.saturating_add(millis(REFETCH_FLOOR))).contains(&now_ms)
        });
        if is_early {
            return;
        }
        // What is wrong with it is told to whoever refreshes; here the bundle stays what it was.
        let _ = self.refresh(Duration::ZERO);
        // One that failed counts too, and who waited for a slow one does not begin another.
        flight.ended_ms = Some(self.clock.unix_ms());
    }

    /// Whether a signed head comes after the one that is used.
    fn judge(&self, new: &Assembly) -> Result<Refreshed, RefreshError> {
        let head = new.head();
        let now_ms = self.clock.unix_ms();
        if let Some(held) = self.held() {
            let refreshed = self.judge_after(new, &held.bundle)?;
            if refreshed == Refreshed::Same {
                return Ok(refreshed);
            }
        }
        if head.made_ms > now_ms.saturating_add(millis(CLOCK_DRIFT_MAX)) {
            return Err(RefreshError::DatedAhead);
        }
        if now_ms >= head.expires_ms {
            return Err(RefreshError::Expired);
        }
        Ok(Refreshed::Newer)
    }

    fn judge_after(&self, new: &Assembly, old: &TrustBundle) -> Result<Refreshed, RefreshError> {
        let (head, last) = (new.head(), old.head());
        if head.tenant != last.tenant {
            return Err(RefreshError::OtherTenant);
        }
        let is_next = head.number == last.number.next();
        let contradicts = (head.number == last.number && new.digest() != old.digest())
            || (is_next && head.previous != Some(old.digest()));
        if contradicts {
            let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
            place.keep_evidence(head.number, [old.signed(), new.signed()])?;
            return Err(RefreshError::Equivocation(head.number));
        }
        if head.number == last.number {
            return Ok(Refreshed::Same);
        }
        if head.number < last.number || head.as_of < last.as_of || head.made_ms < last.made_ms {
            return Err(RefreshError::Rollback(head.number));
        }
        if !head.floors.is_no_less_than(&last.floors) {
            return Err(RefreshError::LowerFloors);
        }
        Ok(Refreshed::Newer)
    }

    /// Puts a whole bundle on the disk, and then uses it. Another may have come meanwhile, so it is judged again.
    fn install(&self, assembly: Assembly) -> Result<Refreshed, RefreshError> {
        let refreshed = self.judge(&assembly)?;
        if refreshed == Refreshed::Same {
            return Ok(refreshed);
        }
        let bundle = assembly.finish()?;
        let heard_ms = self.clock.unix_ms();
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the place's lock nobody else installs: what is used now is what this comes after.
        if self.held().is_some_and(|held| held.bundle.head().number >= bundle.head().number) {
            return Ok(Refreshed::Same);
        }
        place.put(&bundle, heard_ms)?;
        *self.write_held() = Some(Arc::new(Held { bundle: Arc::new(bundle), heard_ms }));
        Ok(Refreshed::Newer)
    }

    /// The service says that the bundle of that digest is the latest.
    fn hear(&self, digest: Option<[u8; 32]>) {
        let heard_ms = self.clock.unix_ms();
        let mut held = self.write_held();
        let Some(old) = held.as_ref().filter(|held| Some(held.bundle.digest()) == digest) else {
            return;
        };
        *held = Some(Arc::new(Held { bundle: Arc::clone(&old.bundle), heard_ms }));
    }

    fn held(&self) -> Option<Arc<Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write_held(&self) -> std::sync::RwLockWriteGuard<'_, Option<Arc<Held>>> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A digest in lower-case hexadecimal.
fn hexadecimal(digest: &[u8; 32]) -> String {
    let mut digits = String::with_capacity(64);
    for byte in digest {
        // Writing to a `String` has no way to fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// Whether a newer bundle may say otherwise.
fn asks_for_a_newer_one(refusal: &NotAccepted) -> bool {
    match refusal {
        NotAccepted::NoBundle | NotAccepted::Stale => true,
        NotAccepted::Rejected(rejected) => rejected.is_unknown() || *rejected == Rejected::Expired,
    }
}

#[cfg(test)]
mod tests;
