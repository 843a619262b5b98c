//! The census as the service knows it: what owners declared, how often versions were used, and who works on what.
//!
//! Uses are counted from the log: the number that a record's place gave it, once the record is durable. So the count is
//! the same after a restart, and nothing that left is missing from it. What workers report is kept in memory alone: it
//! says how far somebody is, and decides nothing.
//!
//! **Invariant:** a count never runs ahead of the log, so that one which a scan was declared with is reached again after
//! any crash and passed only by another use.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use chancery_api::message::{CensusPage, CensusView, VersionUse};
use chancery_core::authority::Authority;
use chancery_core::campaign::{Campaign, CampaignState, CampaignView, Progress};
use chancery_core::clock::{Reading, Served};
use chancery_core::command::{Answer, CENSUS_PAGE, CensusQuery};
use chancery_core::handle::Operation;
use chancery_core::id::{CampaignId, KeyId, TenantId};
use chancery_core::key::{Key, KeyVersion};
use chancery_core::principal::Principal;
use chancery_core::purpose::Usage;
use chancery_core::rollout::Rollout;
use chancery_core::schedule::Fraction;
use chancery_core::sequencer::{Counted, Recovered};

use crate::counters::lock;
use crate::entropy;
use crate::service::Shared;

/// Over how many reports a campaign's pace is taken: 16, four seconds of a worker that reports each 250 ms.
const REPORTS_KEPT: usize = 16;

/// How often each version of a key that encrypts was used, as far as that is durable.
#[derive(Debug, Default)]
pub(crate) struct Used(Mutex<BTreeMap<(KeyId, u32), u64>>);

/// Whether an operation is one of keys that encrypt. Random bytes are drawn with any, and count as a use of it.
pub(crate) fn is_counted(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Encrypt
            | Operation::Decrypt
            | Operation::GenerateDataKey
            | Operation::Unwrap
            | Operation::Rewrap
            | Operation::Random
    )
}

impl Used {
    /// As the log says at a start.
    pub(crate) fn of(authority: &Authority, recovered: &Recovered) -> Self {
        let encrypts = |key: &&Arc<Key>| is_encrypting(key);
        let keys = authority.tenants().flat_map(|tenant| authority.keys_after(tenant, None));
        let keys: BTreeSet<_> = keys.filter(encrypts).map(|key| key.id).collect();
        let counts = recovered.uses.iter().filter_map(|(counted, uses)| match counted {
            Counted::Version(key, version) if keys.contains(key) => Some(((*key, *version), *uses)),
            _ => None,
        });
        Self(Mutex::new(counts.collect()))
    }

    /// So often each of these was used: what a durable frame says.
    pub(crate) fn reached(&self, counts: &BTreeMap<(KeyId, u32), u64>) {
        if !counts.is_empty() {
            lock(&self.0).extend(counts);
        }
    }

    fn times(&self, key: KeyId, version: u32) -> u64 {
        lock(&self.0).get(&(key, version)).copied().unwrap_or_default()
    }

    /// How many ciphertexts are left of the version that a rollout retires, if anybody knows.
    pub(crate) fn remaining(&self, authority: &Authority, rollout: &Rollout) -> Option<u64> {
        authority.remaining(rollout, self.times(rollout.key, rollout.from))
    }
}

/// What workers said of their campaigns since the start.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<BTreeMap<CampaignId, VecDeque<(Served, Progress)>>>);

impl Heard {
    fn knows(&self, campaign: CampaignId) -> bool {
        lock(&self.0).contains_key(&campaign)
    }

    fn take(&self, campaign: CampaignId, progress: Progress, now: Served) {
        let mut all = lock(&self.0);
        let reports = all.entry(campaign).or_default();
        reports.push_back((now, progress));
        if reports.len() > REPORTS_KEPT {
            reports.pop_front();
        }
    }

    /// Forgets what is said of campaigns that are not under way.
    fn keep(&self, is_under_way: impl Fn(CampaignId) -> bool) {
        lock(&self.0).retain(|campaign, _| is_under_way(*campaign));
    }

    /// A view with what was heard last.
    fn complete(&self, view: CampaignView, now: Served) -> CampaignView {
        let all = lock(&self.0);
        let reports = all.get(&view.campaign.id).filter(|_| !view.campaign.state.is_over());
        let ends = reports.and_then(|reports| reports.front().zip(reports.back()));
        let Some((first, last)) = ends.map(|(first, last)| (*first, *last)) else { return view };
        let heard_ago_ms = Some(now.as_ms().saturating_sub(last.0.as_ms()));
        let per_second = pace(first, last);
        let progress = last.1;
        let campaign = Campaign { progress, ..view.campaign };
        CampaignView { campaign, heard_ago_ms, per_second, ..view }
    }
}

/// How many were done in a second between two reports.
fn pace(first: (Served, Progress), last: (Served, Progress)) -> Option<u64> {
    let took_ms = last.0.as_ms().saturating_sub(first.0.as_ms());
    let done = last.1.done.saturating_sub(first.1.done);
    done.saturating_mul(1_000).checked_div(took_ms)
}

/// Takes a worker's report, and says how its campaign stands.
pub(crate) fn report(
    shared: &Shared,
    answer: Answer,
    (campaign, progress): (CampaignId, Progress),
    now: Reading,
) -> Answer {
    let Answer::Campaign(view) = answer else { return answer };
    if view.campaign.state == CampaignState::Running {
        if !shared.heard.knows(campaign) {
            let core = lock(&shared.core);
            let ids: BTreeSet<_> = core.authority.campaigns_under_way().map(|it| it.id).collect();
            shared.heard.keep(|id| ids.contains(&id));
        }
        shared.heard.take(campaign, progress, now.served);
    }
    Answer::Campaign(Box::new(shared.heard.complete(*view, now.served)))
}

/// What a principal is shown of the ciphertexts of its tenant's keys.
pub(crate) fn read(shared: &Shared, principal: &Principal, query: &CensusQuery) -> CensusPage {
    let mut core = lock(&shared.core);
    let now = core.now(entropy::sample()).served;
    let authority = &core.authority;
    let tenant = principal.tenant;
    let as_of = authority.tenant(tenant).map(|row| row.epoch).unwrap_or_default();
    let one = |key: &Key| view(shared, authority, (tenant, key), now);
    match query {
        CensusQuery::Of(name) => {
            let key = authority.key_named(tenant, name);
            CensusPage { as_of, keys: key.map(|key| one(key)).into_iter().collect(), more: false }
        }
        CensusQuery::After(after) => {
            let keys = authority.keys_after(tenant, after.as_ref());
            let mut counted =
                keys.filter(|key| authority.inventories(tenant, key.id).next().is_some());
            let page = counted.by_ref().take(CENSUS_PAGE).map(|key| one(key)).collect();
            CensusPage { as_of, keys: page, more: counted.next().is_some() }
        }
    }
}

fn view(
    shared: &Shared,
    authority: &Authority,
    (tenant, key): (TenantId, &Key),
    now: Served,
) -> CensusView {
    let rollout = key.rollout().and_then(|id| {
        let moving = authority.moving(tenant, id)?;
        authority.rollout_of(&moving).map(|(rollout, _)| rollout)
    });
    let used = |version: &KeyVersion| VersionUse {
        version: version.number,
        state: version.state,
        share: share(key, version),
        uses: shared.used.times(key.id, version.number),
    };
    let campaigns = authority.campaigns(tenant, key.id);
    let shown = campaigns.filter_map(|campaign| authority.campaign(tenant, campaign.id));
    CensusView {
        id: key.id,
        key: key.name.clone(),
        versions: key.versions.iter().map(used).collect(),
        target: key.protects_for_all(),
        rollout: rollout.map(|rollout| rollout.id),
        leaving: rollout.map(|rollout| rollout.from),
        remaining: rollout.and_then(|rollout| shared.used.remaining(authority, rollout)),
        inventories: authority.inventories(tenant, key.id).cloned().collect(),
        campaigns: shown.map(|view| shared.heard.complete(view, now)).collect(),
    }
}

/// Which part of all consumers a version protects for.
fn share(key: &Key, version: &KeyVersion) -> Fraction {
    let schedule = key.schedule();
    let incoming = schedule.incoming().zip(schedule.share().map(|share| share.fraction));
    let is_scheduled = schedule.version == version.number;
    let share = match incoming {
        Some((number, fraction)) if number == version.number => Some(fraction),
        Some((_, fraction)) => is_scheduled.then_some(fraction.rest()),
        None => is_scheduled.then_some(Fraction::WHOLE),
    };
    share.filter(|_| version.protects()).unwrap_or_default()
}

fn is_encrypting(key: &Key) -> bool {
    matches!(key.purpose.usage(), Usage::Encrypt | Usage::Wrap)
}

/// The campaigns that are under way, named as Prometheus names them.
pub(crate) fn exposition(shared: &Shared) -> Vec<(String, u64)> {
    let (mut running, mut paused) = (0, 0);
    {
        let core = lock(&shared.core);
        for campaign in core.authority.campaigns_under_way() {
            let is_running = campaign.state == CampaignState::Running;
            *(if is_running { &mut running } else { &mut paused }) += 1;
        }
    }
    let gauge = |word, count| (format!("chancery_campaigns{{state=\"{word}\"}}"), count);
    vec![gauge("running", running), gauge("paused", paused)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64, done: u64) -> (Served, Progress) {
        (Served::from_ms(ms), Progress { total: 100, done, failed: 0 })
    }

    #[test]
    fn a_pace_takes_time_and_never_runs_backwards() {
        assert_eq!(pace(at(0, 10), at(2_000, 30)), Some(10));
        assert_eq!(pace(at(0, 10), at(0, 30)), None);
        assert_eq!(pace(at(0, 30), at(1_000, 10)), Some(0));
        assert_eq!(pace(at(5, 0), at(1, 9)), None);
    }

    #[test]
    fn a_frame_says_how_far_a_count_is_and_an_earlier_start_where_it_begins() {
        let used = Used::default();
        let key = KeyId::from_bytes([1; 16]);
        assert_eq!(used.times(key, 1), 0);
        used.reached(&BTreeMap::from([((key, 1), 7)]));
        used.reached(&BTreeMap::from([((key, 2), 1)]));
        used.reached(&BTreeMap::from([((key, 1), 9)]));
        assert_eq!([used.times(key, 1), used.times(key, 2)], [9, 1]);
    }
}
