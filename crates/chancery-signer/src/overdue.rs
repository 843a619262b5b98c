//! Keys whose versions protect for longer than they should. Whoever rotates is not asked: the alarm is for when nobody does.

use std::sync::Mutex;

use chancery_core::cryptoperiod::overdue_ms;
use chancery_core::id::TenantId;
use chancery_core::name::Name;

use crate::counters::lock;
use crate::entropy;
use crate::service::Shared;

/// How many keys are looked at under the core's lock at once: 1 000, a tenth of a millisecond.
const LOOKED_AT_ONCE: usize = 1_000;

/// What was found when it was last looked.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    found: Mutex<Found>,
}

#[derive(Clone, Debug, Default)]
struct Found {
    keys: u64,
    longest: Option<(u64, TenantId, Name)>,
}

impl Overdue {
    /// The keys that are overdue, named as Prometheus names them.
    pub(crate) fn exposition(&self) -> Vec<(String, u64)> {
        vec![("chancery_keys_overdue".to_owned(), lock(&self.found).keys)]
    }

    /// What a tenant is told of it.
    pub(crate) fn advice(&self, of: TenantId) -> Option<String> {
        let found = lock(&self.found).clone();
        let (over_ms, tenant, name) = found.longest?;
        let days = over_ms / 86_400_000;
        let what = format!("keys past their cryptoperiod: {}", found.keys);
        let which = format!("`{name}` by {days} days the longest (`chancery rotate {name}`)");
        (tenant == of).then(|| format!("{what}; {which}"))
    }
}

/// Looks at every key, some at a time.
pub(crate) fn look(shared: &Shared, tenants: &[TenantId]) {
    let mut found = Found::default();
    for tenant in tenants {
        let mut after = None;
        loop {
            let last = look_at_some(shared, (*tenant, after.as_ref()), &mut found);
            let Some(last) = last else { break };
            after = Some(last);
        }
    }
    *lock(&shared.overdue.found) = found;
}

/// Looks at the keys behind a name; the last of them, unless they are the last.
fn look_at_some(
    shared: &Shared,
    (tenant, after): (TenantId, Option<&Name>),
    found: &mut Found,
) -> Option<Name> {
    let mut core = lock(&shared.core);
    let now = core.now(entropy::sample());
    let (mut last, mut looked) = (None, 0);
    for key in core.authority.keys_after(tenant, after).take(LOOKED_AT_ONCE) {
        looked += 1;
        last = Some(key);
        let Some(over_ms) = overdue_ms(key, core.authority.rule_of(key), now) else { continue };
        found.keys += 1;
        if found.longest.as_ref().is_none_or(|longest| longest.0 < over_ms) {
            found.longest = Some((over_ms, tenant, key.name.clone()));
        }
    }
    last.filter(|_| looked == LOOKED_AT_ONCE).map(|key| key.name.clone())
}
