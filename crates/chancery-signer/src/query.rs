//! Reads: keys, operations, status, audit records. They change nothing and are answered from the pool.

use std::sync::Arc;

use chancery_api::message::{CommandReply, KeptRollout, OperationView, RecordView, StepsPage};
use chancery_audit::called::Names;
use chancery_audit::frame::Item;
use chancery_audit::record::Kind;
use chancery_audit::sealer::{MonthKeys, NameClass};
use chancery_core::authority::Refusal;
use chancery_core::cbor;
use chancery_core::command::{Answer, AuditQuery, Command, STEPS_PAGE};
use chancery_core::id::{KeyId, OperationId, PrincipalId, RolloutId, TenantId};
use chancery_core::name::Name;
use chancery_core::reason::Reason;
use chancery_core::record_group::{RecordGroup, RecordGroups};

use crate::called;
use crate::census;
use crate::commands::CommandJob;
use crate::config::IndexWish;
use crate::counters::lock;
use crate::entropy;
use crate::inspect::{self, InspectError};
use crate::pages;
use crate::prunes;
use crate::rollouts;
use crate::search;
use crate::service::Shared;
use crate::source::Source;
use crate::status;
use crate::verifiers;

/// Answers a read.
pub(crate) fn answer(shared: &Shared, job: &CommandJob) {
    let reply = read(shared, job).unwrap_or_else(|Refusal { reason, detail }| {
        shared.counters.refused(reason);
        CommandReply::Refused { reason, detail }
    });
    job.say(&reply);
}

fn read(shared: &Shared, job: &CommandJob) -> Result<CommandReply, Refusal> {
    let (principal, command) = (&job.verified.principal, &job.verified.command);
    let (now, decided) = {
        let mut core = lock(&shared.core);
        let now = core.now(entropy::sample());
        (now, core.authority.decide(principal, command, Shared::no_fresh(), now)?)
    };
    Ok(match command {
        Command::ReadStatus => {
            CommandReply::Status(Box::new(status::status(shared, principal.tenant)))
        }
        Command::ReadOperation { id } => {
            CommandReply::Operation(operation(shared, principal.tenant, principal.id, *id)?)
        }
        Command::QueryAudit(query) => {
            check_index(shared)?;
            CommandReply::Records(records(shared, principal.tenant, query)?)
        }
        Command::InspectStore { after } => {
            let page = inspect::page(lock(&shared.vault).store(), principal.tenant, after);
            CommandReply::StoreRows(page.map_err(|error| {
                let reason = match error {
                    InspectError::Foreign => Reason::Malformed,
                    InspectError::Store(_) => Reason::Unavailable,
                };
                Refusal { reason, detail: error.to_string() }
            })?)
        }
        Command::ReadFrames { from, skip } => {
            CommandReply::Frames(pages::page(shared, *from, *skip)?)
        }
        Command::ShowRollout { rollout } => {
            let view = rollouts::view(shared, principal, *rollout, now)?;
            CommandReply::Committed { answer: Answer::Rollout(Box::new(view)), index: None }
        }
        Command::ReadSteps { rollout, from } => {
            CommandReply::Steps(steps(shared, principal.tenant, (*rollout, *from))?)
        }
        Command::ListKeptRollouts { key } => {
            CommandReply::KeptRollouts(kept_rollouts(shared, principal.tenant, key)?)
        }
        Command::OpenRecord { index, groups } => {
            CommandReply::Opening(opening(shared, principal.tenant, *index, *groups)?)
        }
        Command::Report(report) => {
            verifiers::report(shared, (principal.tenant, principal.id), report)?;
            CommandReply::Committed { answer: decided.answer, index: None }
        }
        Command::ListVerifiers => {
            CommandReply::Verifiers(verifiers::list(shared, principal.tenant))
        }
        Command::ReadCensus(query) => {
            CommandReply::Census(Box::new(census::read(shared, principal, query)))
        }
        Command::ReportCampaign { campaign, progress } => {
            let answer = census::report(shared, decided.answer, (*campaign, *progress), now);
            CommandReply::Committed { answer, index: None }
        }
        _ => CommandReply::Committed { answer: decided.answer, index: None },
    })
}

/// The steps of a rollout that are kept, a page of them.
fn steps(
    shared: &Shared,
    tenant: TenantId,
    (rollout, from): (RolloutId, u32),
) -> Result<StepsPage, Refusal> {
    let read = lock(&shared.vault).steps((tenant, rollout), from, STEPS_PAGE);
    let (steps, more) = read.map_err(|error| refused(Reason::Unavailable, &error.to_string()))?;
    let steps = steps.iter().map(|step| cbor::encode(step).into()).collect();
    Ok(StepsPage { steps, more })
}

/// The rollouts of a key of which steps are kept.
fn kept_rollouts(
    shared: &Shared,
    tenant: TenantId,
    key: &Name,
) -> Result<Vec<KeptRollout>, Refusal> {
    let key = lock(&shared.core).authority.key_named(tenant, key).map(|key| key.id);
    let key = key.ok_or_else(|| refused(Reason::Forbidden, "there is no such key any more"))?;
    let read = lock(&shared.vault).kept_rollouts(tenant, key);
    let read = read.map_err(|error| refused(Reason::Unavailable, &error.to_string()))?;
    let kept = read.into_iter().map(|(first, last)| KeptRollout {
        id: last.rollout,
        lasting: last.taken.lasting,
        first: first.number,
        first_ms: first.taken.unix_ms,
        last: last.number,
        last_ms: last.taken.unix_ms,
        status: last.taken.after.status,
    });
    Ok(kept.collect())
}

/// A query without an index would read the whole log.
fn check_index(shared: &Shared) -> Result<(), Refusal> {
    match shared.index_wish {
        IndexWish::On => Ok(()),
        IndexWish::Off => Err(Refusal {
            reason: Reason::Unavailable,
            detail: "this service makes no index, which queries need: start it with `--index on`"
                .into(),
        }),
    }
}

/// All that fits a query, or nothing: what could not be read may have fitted.
fn records(
    shared: &Shared,
    tenant: TenantId,
    query: &AuditQuery,
) -> Result<Vec<RecordView>, Refusal> {
    let pruned = Source::pruned(shared);
    if let Some(why) = pruned.and_then(|pruned| prunes::withheld(&pruned, query)) {
        return Err(refused(Reason::Forbidden, &why));
    }
    let found = search::records(shared, tenant, query);
    match found.unread.first() {
        Some(unread) => Err(Refusal { reason: Reason::Unavailable, detail: unread.why.clone() }),
        None => Ok(found.records.into()),
    }
}

/// Opens groups of a record of one's own tenant, or of the service itself.
pub(crate) fn opening(
    source: &impl Source,
    tenant: TenantId,
    index: u64,
    groups: RecordGroups,
) -> Result<Vec<u8>, Refusal> {
    let (item, keys) = located(source, tenant, index)?;
    let opening = keys.opening(&item, groups).ok_or_else(altered)?;
    let named = names(source, &item, &keys, groups);
    Ok(named.and_then(|names| opening.clone().with_names(names)).unwrap_or(opening).to_bytes())
}

/// What the key version of a count was called in the months before, if that is to be shown.
fn names(
    source: &impl Source,
    item: &Item,
    keys: &MonthKeys,
    groups: RecordGroups,
) -> Option<Names> {
    let shows = |wanted| groups.iter().any(|group| group == wanted);
    if item.kind != Kind::Count || !shows(RecordGroup::Operation) || !shows(RecordGroup::Payload) {
        return None;
    }
    let (section, _) = keys.open(item)?;
    let is_its = |id: &KeyId| keys.pseudonym(NameClass::Key, id.as_bytes()) == section.key.key;
    let key = source.keys(item.tenant).into_iter().map(|(id, _)| id).find(is_its)?;
    called::before(source, (item.tenant, key), item.month).ok()?
}

/// A record of one's own tenant, or of the service itself, and what opens it.
pub(crate) fn located(
    source: &impl Source,
    tenant: TenantId,
    index: u64,
) -> Result<(Item, Arc<MonthKeys>), Refusal> {
    // Another tenant's record is as little there as one that does not exist.
    let absent = || refused(Reason::Forbidden, "no record of yours has that index");
    if let Some(pruned) = source.pruned().filter(|pruned| index < pruned.first_index()) {
        return Err(refused(Reason::Forbidden, &pruned.told()));
    }
    let is_there = index < source.size();
    let frame = is_there.then(|| source.frame_of(index)).transpose();
    let frame = frame.map_err(|error| refused(Reason::Unavailable, &error.to_string()))?;
    let mut frame = frame.flatten().ok_or_else(absent)?;
    let position = usize::try_from(index - frame.first_index).unwrap_or(usize::MAX);
    if position >= frame.items.len() {
        return Err(absent());
    }
    let item = frame.items.swap_remove(position);
    if !source.shows(tenant, &item) {
        return Err(absent());
    }
    if let Some(why) = source.contradicts(index, &item.leaf_hash()) {
        return Err(refused(Reason::Unavailable, why));
    }
    let gone =
        || refused(Reason::Unavailable, "the keys of that month are gone: it cannot be opened");
    let keys = source.month_keys(item.tenant, item.month, frame.boot_nonce).ok().flatten();
    Ok((item, keys.ok_or_else(gone)?))
}

/// Whoever is refused is told why.
fn refused(reason: Reason, detail: &str) -> Refusal {
    Refusal { reason, detail: detail.to_owned() }
}

/// What is said of a record that is not what its leaf commits to.
pub(crate) fn altered() -> Refusal {
    refused(Reason::Unavailable, "the record is not what its leaf commits to")
}

/// Whether a tenant's auditors are shown a record: it is theirs, or of the service itself.
pub(crate) fn may_see(tenant: TenantId, item: &Item) -> bool {
    [tenant, TenantId::SYSTEM].contains(&item.tenant)
}

fn operation(
    shared: &Shared,
    tenant: TenantId,
    principal: PrincipalId,
    id: OperationId,
) -> Result<OperationView, Refusal> {
    let name = shared.entry_name(tenant, principal, id);
    let (found, unknown_to_ms) = {
        let core = lock(&shared.core);
        (core.operations.look_up(&name), core.unknown_to_ms)
    };
    if found.is_none() && id.unix_ms().is_some_and(|id_ms| id_ms <= unknown_to_ms) {
        let detail =
            "a log that was retired can have taken that id, and what it did is not known here";
        return Err(refused(Reason::OperationIdStale, detail));
    }
    let (state, index) = match found {
        None => ("unknown-id", None),
        Some(None) => ("in-flight", None),
        Some(Some(place)) => ("committed", shared.index_of(place)),
    };
    Ok(OperationView { id, state: state.into(), index })
}
