//! Whether one use of a key may go ahead, and with which version.
//!
//! The checks stand in the order of what they say about the caller: first whether the handle still
//! counts, then whether it covers the request, last whether the key can do it. A refusal never says
//! whether a key exists: a handle is made for an existing key, so an unknown one is a void handle.

use std::sync::Arc;

use super::{Authority, Tenant};
use crate::clock::{Quality, Reading};
use crate::context::Context;
use crate::handle::{Handle, Operation};
use crate::key::{Key, KeyVersion};
use crate::posture::{Posture, RawSigning};
use crate::purpose::Format;
use crate::reason::Reason;
use crate::sequencer::Mark;

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
            && self.version == other.version
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
        let version = choose_version(key, asked)?;
        Ok(Permit {
            key: Arc::clone(key),
            version: version.number,
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
    let carries_time = format == Format::Jws && asked.operation == Operation::Sign;
    if carries_time && asked.now.quality == Quality::Suspect {
        return Err(Reason::ClockSuspect);
    }
    // Its answer could not leave.
    if key.witnessed && !asked.is_cosigned {
        return Err(Reason::Unwitnessed);
    }
    Ok(())
}

fn choose_version<'k>(key: &'k Key, asked: &Use<'_>) -> Result<&'k KeyVersion, Reason> {
    // What is encrypted again is protected by the scheduled version.
    let protects_anew = asked.operation == Operation::Rewrap;
    if protects_anew && !key.scheduled_version().is_some_and(KeyVersion::protects) {
        return Err(Reason::KeyUnusable);
    }
    let version = match asked.version {
        Some(number) if !asked.operation.protects() => key.version(number),
        _ => key.scheduled_version(),
    };
    let fits = |version: &&KeyVersion| {
        if asked.operation.protects() { version.protects() } else { version.processes() }
    };
    version.filter(fits).ok_or(Reason::KeyUnusable)
}
