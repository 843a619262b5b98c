//! Who verifies, and which bundle they were given last.

use std::sync::Arc;

use super::{Authority, Contradiction, Decided, Effect, Refusal, Row, Tenant};
use crate::bundle::{self, BundleRow};
use crate::command::Answer;
use crate::id::{KeyId, PrincipalId, TenantId};
use crate::key::Key;
use crate::limits::{VERIFIER_KEYS_MAX, VERIFIERS_MAX};
use crate::name::Name;
use crate::principal::{Principal, Role};
use crate::reason::Reason;
use crate::verifier::{NewVerifier, Report, Standing, VerifierRow};

impl Authority {
    /// The verifiers that are registered in a tenant, in the order of their principals.
    pub fn verifiers(&self, tenant: TenantId) -> impl Iterator<Item = &VerifierRow> {
        let tenant = self.tenants.get(&tenant);
        let rows = tenant.into_iter().flat_map(|tenant| tenant.verifiers.values());
        rows.filter(|row| row.standing == Standing::Registered)
    }

    /// The latest bundle of a tenant, if one was issued.
    #[must_use]
    pub fn bundle(&self, tenant: TenantId) -> Option<&Arc<BundleRow>> {
        self.tenants.get(&tenant)?.bundle.as_ref()
    }

    /// The keys that a tenant's bundle holds, in the order of their ids; one more than `most`, if there are more.
    #[must_use]
    pub fn bundled_keys(&self, tenant: TenantId, most: usize) -> Vec<Arc<Key>> {
        let keys = self.tenants.get(&tenant).into_iter().flat_map(|tenant| tenant.keys.values());
        keys.filter(|key| bundle::is_in(key)).take(most + 1).cloned().collect()
    }

    /// Whether a report is one that this principal may make; what it says of bundles is not looked at.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if it is not registered, or the report is not of the form that reports have.
    pub(super) fn admit_report(
        &self,
        principal: &Principal,
        report: &Report,
    ) -> Result<Decided, Refusal> {
        if !report.is_well_formed() {
            let detail = "a report counts at most 256 versions, each once, in the order of keys and versions";
            return Err(Refusal::new(Reason::Malformed, detail));
        }
        let mut verifiers = self.verifiers(principal.tenant);
        let is_registered = verifiers.any(|row| row.principal == principal.id);
        let detail = "no verifier is registered for this principal; an operator registers it with `chancery \
                      verifier register`";
        let found = is_registered.then_some(Decided::read(Answer::Done));
        found.ok_or_else(|| Refusal::new(Reason::Forbidden, detail))
    }
}

impl Tenant {
    pub(super) fn register_verifier(&self, new: &NewVerifier) -> Result<Decided, Refusal> {
        let principal = self.principals.get(&new.principal);
        if principal.is_none_or(|principal| principal.role != Role::Verifier) {
            let detail = "there is no such principal of the role `verifier`";
            return Err(Refusal::new(Reason::Forbidden, detail));
        }
        let counted = self.verifiers.values().filter(|row| row.standing == Standing::Registered);
        let others = counted.filter(|row| row.principal != new.principal).count();
        if others >= VERIFIERS_MAX {
            let detail = format!("a tenant has at most {VERIFIERS_MAX} verifiers");
            return Err(Refusal::new(Reason::QuotaExhausted, detail));
        }
        let keys = self.keys_to_verify(&new.keys)?;
        Ok(self.verifier_changed(new.principal, keys, Standing::Registered))
    }

    fn keys_to_verify(&self, names: &[Name]) -> Result<Vec<KeyId>, Refusal> {
        if names.len() > VERIFIER_KEYS_MAX {
            let detail = format!(
                "a verifier is registered for at most {VERIFIER_KEYS_MAX} keys by name; name none for all"
            );
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let ids = names.iter().map(|name| Ok(self.named(name)?.id));
        let mut ids = ids.collect::<Result<Vec<_>, Refusal>>()?;
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    pub(super) fn remove_verifier(&self, principal: PrincipalId) -> Result<Decided, Refusal> {
        let row = self.verifiers.get(&principal);
        let row = row.filter(|row| row.standing == Standing::Registered);
        let row = row.ok_or_else(|| {
            Refusal::new(Reason::Forbidden, "no verifier is registered for that principal")
        })?;
        Ok(self.verifier_changed(principal, row.keys.clone(), Standing::Removed))
    }

    fn verifier_changed(
        &self,
        principal: PrincipalId,
        keys: Vec<KeyId>,
        standing: Standing,
    ) -> Decided {
        let row = VerifierRow { tenant: self.row.id, principal, keys, standing };
        Decided {
            rows: vec![Row::Tenant(self.advanced()), Row::Verifier(row)],
            effect: Effect::Recorded,
            answer: Answer::Done,
            key: None,
            handle: None,
            step: None,
        }
    }

    /// Applies a bundle's row: none stands for two contents, and none goes back.
    pub(super) fn apply_bundle(&mut self, row: BundleRow) -> Result<(), Contradiction> {
        if self.bundle.as_ref().is_some_and(|before| !row.follows(before)) {
            return Err(Contradiction);
        }
        self.bundle = Some(Arc::new(row));
        Ok(())
    }
}
