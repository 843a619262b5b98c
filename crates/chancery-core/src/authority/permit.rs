//! Whether one use of a key may go ahead, and with which version.
//!
//! The checks stand in the order of what they say about the caller: first whether the handle still
//! counts, then whether it covers the request, last whether the key can do it. A refusal never says
//! whether a key exists: a handle is made for an existing key, so an unknown one is a void handle.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Authority, Tenant};
use crate::clock::{Quality, Reading};
use crate::context::Context;
use crate::handle::{Handle, Operation};
use crate::key::{Key, KeyVersion};
use crate::name::{Name, Scope};
use crate::posture::{Posture, RawSigning};
use crate::purpose::Format;
use crate::reason::Reason;
use crate::rollout::{Cohorts, point};
use crate::schedule::{Consumer, Protecting};
use crate::sequencer::Mark;
use crate::suite::Suite;

/// By what the consumer is known for whom something is protected.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    /// What the caller gives; the handle's subject if that is empty.
    pub key: &'a [u8],
    /// The hash by which consumers are ordered. Asked only while a rollout moves the key.
    pub cohorts: &'a dyn Cohorts,
}

/// A use that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// The handle it is asked with.
    pub handle: &'a Handle,
    /// What is to be done.
    pub operation: Operation,
    /// The caller's context.
    pub context: &'a Context,
    /// The version that what is processed was protected by, if it names one.
    pub version: Option<u32>,
    /// The version that it was protected by beside that one, if it names two.
    pub also: Option<u32>,
    /// For whom.
    pub routing: Routing<'a>,
    /// The holder keys whose possession was proved.
    pub proven: &'a [[u8; 32]],
    /// Whether a quorum of witnesses cosigns the log.
    pub is_cosigned: bool,
    /// The time.
    pub now: Reading,
}

/// Proof that one use of a key version was allowed.
///
/// Only [`Authority::permit`] makes one. It is not `Clone`: one decision, one use.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    key: Arc<Key>,
    version: u32,
    /// Versions begin at 1.
    second: Option<NonZeroU32>,
    decided: Mark,
    posture: Posture,
    now: Reading,
    operation: Operation,
}

impl Permit {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// The version to use.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The version that a rollout brings in, if the answer is to have its signature too. Of what is verified and names two
    /// versions, the other one, while a rollout moves the key. Of what is encrypted again, the version that protects it
    /// from then on.
    #[must_use]
    pub fn second(&self) -> Option<u32> {
        self.second.map(NonZeroU32::get)
    }

    /// As of which mark it was decided.
    #[must_use]
    pub fn decided(&self) -> Mark {
        self.decided
    }

    /// The posture it was decided under.
    #[must_use]
    pub fn posture(&self) -> Posture {
        self.posture
    }

    /// The time it was decided at.
    #[must_use]
    pub fn now(&self) -> Reading {
        self.now
    }

    /// What was allowed.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Whether another decision comes to the same bytes: then a result computed under this one still stands.
    #[must_use]
    pub fn yields_same_as(&self, other: &Self) -> bool {
        self.key.id == other.key.id
            && (self.version, self.second) == (other.version, other.second)
            && self.posture == other.posture
            && self.operation == other.operation
    }
}

impl Authority {
    /// Decides on one use.
    ///
    /// # Errors
    ///
    /// The [`Reason`] for which it is refused.
    pub fn permit(&self, asked: &Use<'_>) -> Result<Permit, Reason> {
        let root = asked.handle.root();
        let tenant = self.tenants.get(&root.tenant).ok_or(Reason::HandleExpired)?;
        let key = tenant.keys.get(&root.key).ok_or(Reason::HandleExpired)?;
        tenant.check_handle(asked.handle, key, asked.now)?;
        check_coverage(asked)?;
        check_key(key, asked, &self.posture)?;
        let (version, second) = choose_versions(key, asked)?;
        Ok(Permit {
            key: Arc::clone(key),
            version,
            second: second.and_then(NonZeroU32::new),
            decided: tenant.mark,
            posture: self.posture,
            now: asked.now,
            operation: asked.operation,
        })
    }
}

impl Authority {
    /// Whether a handle still counts, whatever it is to be used for.
    ///
    /// # Errors
    ///
    /// [`Reason::HandleExpired`].
    pub fn check_live(&self, handle: &Handle, now: Reading) -> Result<(), Reason> {
        let root = handle.root();
        let tenant = self.tenants.get(&root.tenant).ok_or(Reason::HandleExpired)?;
        let key = tenant.keys.get(&root.key).ok_or(Reason::HandleExpired)?;
        tenant.check_handle(handle, key, now)
    }
}

impl Tenant {
    fn check_handle(&self, handle: &Handle, key: &Key, now: Reading) -> Result<(), Reason> {
        let root = handle.root();
        let of_people = [root.issuer, root.subject].map(|id| {
            self.principals.get(&id).map(|principal| principal.min_issue_epoch).unwrap_or_default()
        });
        let epochs = [self.row.min_issue_epoch, key.min_issue_epoch].into_iter().chain(of_people);
        let is_void = epochs.max().is_some_and(|min| root.issue_epoch < min)
            || root.purpose != key.purpose
            || handle.links().iter().any(|link| self.revoked.contains(link));
        let is_over = handle.expires_ms() <= now.unix_ms;
        if is_void || is_over { Err(Reason::HandleExpired) } else { Ok(()) }
    }
}

fn check_coverage(asked: &Use<'_>) -> Result<(), Reason> {
    if !asked.handle.permits(asked.operation) || !asked.handle.admits(asked.context) {
        return Err(Reason::NotAuthorized);
    }
    if asked.handle.holders().iter().all(|holder| asked.proven.contains(holder)) {
        Ok(())
    } else {
        Err(Reason::ProofInvalid)
    }
}

fn check_key(key: &Key, asked: &Use<'_>, posture: &Posture) -> Result<(), Reason> {
    if !asked.operation.suits(key.purpose.usage()) {
        return Err(Reason::NotAuthorized);
    }
    let format = key.purpose.format();
    if format == Format::Raw && posture.raw == RawSigning::Refused {
        return Err(Reason::PurposeRefused);
    }
    let is_signed = asked.operation == Operation::Sign;
    if is_signed && carries_time(key) && asked.now.quality == Quality::Suspect {
        return Err(Reason::ClockSuspect);
    }
    // Its answer could not leave.
    if key.witnessed && !asked.is_cosigned {
        return Err(Reason::Unwitnessed);
    }
    Ok(())
}

/// Whether what a key signs says when: a token, and a checkpoint that is signed with ML-DSA.
fn carries_time(key: &Key) -> bool {
    let is_timed = |version| key.suite_of(version) == Suite::MlDsa44;
    match key.purpose.format() {
        Format::Jws | Format::JwsJson => true,
        Format::Note => key.versions.iter().any(is_timed),
        _ => false,
    }
}

/// The version to use; and the one beside it, if the answer is to have two signatures, or two are to be verified.
fn choose_versions(key: &Key, asked: &Use<'_>) -> Result<(u32, Option<u32>), Reason> {
    let protects = |number: u32| {
        let version = key.version(number).filter(|version| version.protects());
        version.map(|version| version.number).ok_or(Reason::KeyUnusable)
    };
    // What is encrypted again is protected by the version of the schedule: the named one is read.
    if asked.operation.protects() {
        return match protecting(key, asked) {
            Protecting::One(version) => Ok((protects(version)?, None)),
            Protecting::Both { outgoing, incoming } => {
                Ok((protects(outgoing)?, Some(protects(incoming)?)))
            }
        };
    }
    if asked.operation == Operation::Verify
        && let Some(both) = key.schedule().asks_both()
    {
        return choose_both(key, both, asked);
    }
    let second = match asked.operation {
        Operation::Rewrap => Some(protects(protecting(key, asked).last())?),
        _ => None,
    };
    let named = [Some(asked.version.unwrap_or(key.scheduled)), asked.also];
    let mut usable = named.into_iter().flatten().filter(|number| processes(key, *number));
    let version = usable.next().ok_or(Reason::KeyUnusable)?;
    // While a rollout moves the key both are tried: that the new one verifies is what it waits for.
    let other = usable.next().filter(|other| key.moving.is_some() && *other != version);
    Ok((version, second.or(other)))
}

/// Both versions, where verifiers ask for both: what has one signature is refused, whoever took the other away.
fn choose_both(
    key: &Key,
    (outgoing, incoming): (u32, u32),
    asked: &Use<'_>,
) -> Result<(u32, Option<u32>), Reason> {
    let named = [asked.version, asked.also];
    let [one, other] = [outgoing, incoming].map(|number| named.contains(&Some(number)));
    if !(one && other) {
        return Err(Reason::VerificationFailed);
    }
    if processes(key, outgoing) && processes(key, incoming) {
        Ok((outgoing, Some(incoming)))
    } else {
        Err(Reason::KeyUnusable)
    }
}

fn processes(key: &Key, number: u32) -> bool {
    key.version(number).is_some_and(KeyVersion::processes)
}

/// Which versions protect for the consumer of a use.
fn protecting(key: &Key, asked: &Use<'_>) -> Protecting {
    let schedule = key.schedule();
    let Some((moving, share)) = schedule.moving.as_ref().zip(schedule.share()) else {
        return Protecting::One(schedule.version);
    };
    let Routing { key: routing, cohorts } = asked.routing;
    let subject = asked.handle.root().subject;
    let routing = if routing.is_empty() { subject.as_bytes() } else { routing };
    let point = point(&moving.rollout, routing, cohorts);
    if share.selector.is_everybody() {
        return schedule.protecting(&Consumer { point, scope: &key.scope });
    }
    schedule.protecting(&Consumer { point, scope: &scope_of(key, asked.context) })
}

/// Where a consumer is: where its context says, which its handle can pin, and elsewhere where the key is.
fn scope_of(key: &Key, context: &Context) -> Scope {
    let part = |name: &str, of_key: &Name| {
        let pair = context.pairs().iter().find(|pair| pair.name() == name);
        let said = pair.and_then(|pair| pair.value().parse().ok());
        said.unwrap_or_else(|| of_key.clone())
    };
    Scope {
        environment: part("environment", &key.scope.environment),
        region: part("region", &key.scope.region),
        service: part("service", &key.scope.service),
    }
}
