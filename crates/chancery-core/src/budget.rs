//! What a tenant may write into the audit in a day.
//!
//! The bytes are charged as records are placed, and the next use is refused once they are spent: before the
//! reserve that all tenants share is touched. Commands are charged, and never refused for it.
//!
//! A restart begins no new day: what was spent is read back from the log.

use std::collections::BTreeMap;

use crate::id::TenantId;
use crate::reason::Reason;

/// The most audit bytes of one tenant in one day: 16 GiB, about 20 million records.
pub const AUDIT_BYTES_PER_DAY: u64 = 16 * 1024 * 1024 * 1024;

/// The milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The bytes of each tenant, by day.
#[derive(Debug)]
pub struct AuditBudget {
    limit: u64,
    spent: BTreeMap<TenantId, Spent>,
}

/// What a tenant has spent of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// The day, from 1970 on.
    pub day: u64,
    /// Its bytes.
    pub bytes: u64,
}

impl Default for AuditBudget {
    fn default() -> Self {
        Self::with_limit(AUDIT_BYTES_PER_DAY)
    }
}

impl AuditBudget {
    /// A budget of so many bytes a day for each tenant.
    #[must_use]
    pub fn with_limit(limit: u64) -> Self {
        Self { limit, spent: BTreeMap::new() }
    }

    /// A record of a tenant was placed.
    pub fn charge(&mut self, tenant: TenantId, bytes: u64, now_ms: u64) {
        let day = now_ms / DAY_MS;
        let spent = self.spent.entry(tenant).or_default();
        if spent.day < day {
            *spent = Spent { day, bytes: 0 };
        }
        spent.bytes = spent.bytes.saturating_add(bytes);
    }

    /// Puts back what a start knows of the days before it.
    pub fn restore(&mut self, tenant: TenantId, spent: Spent) {
        self.spent.insert(tenant, spent);
    }

    /// What each tenant has spent of its last day.
    pub fn spent(&self) -> impl Iterator<Item = (TenantId, Spent)> {
        self.spent.iter().map(|(tenant, spent)| (*tenant, *spent))
    }

    /// Whether a tenant may go on.
    ///
    /// # Errors
    ///
    /// [`Reason::AuditBudget`] once its bytes of the day are spent.
    pub fn check(&self, tenant: TenantId, now_ms: u64) -> Result<(), Reason> {
        let spent = self.spent.get(&tenant).filter(|spent| spent.day >= now_ms / DAY_MS);
        if spent.is_some_and(|spent| spent.bytes >= self.limit) {
            return Err(Reason::AuditBudget);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TenantId = TenantId::from_bytes([1; 16]);
    const OTHER: TenantId = TenantId::from_bytes([2; 16]);

    #[test]
    fn the_last_byte_is_taken_and_the_next_use_is_not() {
        let mut budget = AuditBudget::with_limit(100);
        budget.charge(ONE, 99, 5);
        assert_eq!(budget.check(ONE, 5), Ok(()));
        budget.charge(ONE, 1, 5);
        assert_eq!(budget.check(ONE, 5), Err(Reason::AuditBudget));
        assert_eq!(budget.check(OTHER, 5), Ok(()));
    }

    #[test]
    fn a_new_day_begins_anew_and_an_old_one_does_not_come_back() {
        let mut budget = AuditBudget::with_limit(100);
        budget.charge(ONE, 100, DAY_MS);
        assert_eq!(budget.check(ONE, 2 * DAY_MS), Ok(()));
        budget.charge(ONE, 100, 2 * DAY_MS);
        budget.charge(ONE, 1, DAY_MS);
        assert_eq!(budget.check(ONE, 2 * DAY_MS), Err(Reason::AuditBudget));
    }
}
