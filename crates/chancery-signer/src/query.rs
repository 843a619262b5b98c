//! Reads: keys, operations, status, audit records. They change nothing and are answered from the pool.

use chancery_api::message::{CommandReply, OperationView};
use chancery_audit::frame::Item;
use chancery_core::authority::Refusal;
use chancery_core::command::Command;
use chancery_core::id::{OperationId, PrincipalId, TenantId};
use chancery_core::reason::Reason;
use chancery_core::record_group::RecordGroups;

use crate::commands::CommandJob;
use crate::counters::lock;
use crate::entropy;
use crate::inspect::{self, InspectError};
use crate::search;
use crate::service::Shared;
use crate::status;

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
    let decided = {
        let mut core = lock(&shared.core);
        let now = core.now(entropy::sample());
        core.authority.decide(principal, command, Shared::no_fresh(), now)?
    };
    Ok(match command {
        Command::ReadStatus => CommandReply::Status(status::status(shared, principal.tenant)),
        Command::ReadOperation { id } => {
            CommandReply::Operation(operation(shared, principal.tenant, principal.id, *id))
        }
        Command::QueryAudit(query) => {
            CommandReply::Records(search::records(shared, principal.tenant, query)?)
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
        Command::OpenRecord { index, groups } => {
            CommandReply::Opening(opening(shared, principal.tenant, *index, *groups)?)
        }
        _ => CommandReply::Committed { answer: decided.answer, index: None },
    })
}

/// Opens groups of a record of one's own tenant, or of the service itself.
fn opening(
    shared: &Shared,
    tenant: TenantId,
    index: u64,
    groups: RecordGroups,
) -> Result<Vec<u8>, Refusal> {
    let refused = |reason, detail: &str| Refusal { reason, detail: detail.to_owned() };
    // Another tenant's record is as little there as one that does not exist.
    let absent = || refused(Reason::Forbidden, "no record of yours has that index");
    if let Some(pruned) =
        lock(&shared.pruned).as_ref().filter(|pruned| index < pruned.first_index())
    {
        return Err(refused(Reason::Forbidden, &pruned.told()));
    }
    let is_there = index < lock(&shared.progress).size;
    let frame =
        is_there.then(|| shared.index.frame_of(&*shared.disk, &shared.vault, index)).transpose();
    let frame = frame.map_err(|error| refused(Reason::Unavailable, &error.to_string()))?;
    let frame = frame.flatten().ok_or_else(absent)?;
    let position = usize::try_from(index - frame.first_index).unwrap_or(usize::MAX);
    let item = frame.items.get(position).filter(|item| may_see(tenant, item)).ok_or_else(absent)?;
    let gone =
        || refused(Reason::Unavailable, "the keys of that month are gone: it cannot be opened");
    let keys = shared.month_keys(item.tenant, item.month, frame.boot_nonce).ok_or_else(gone)?;
    let altered = || refused(Reason::Unavailable, "the record is not what its leaf commits to");
    Ok(keys.opening(item, groups).ok_or_else(altered)?.to_bytes())
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
) -> OperationView {
    let name = shared.entry_name(tenant, principal, id);
    let found = lock(&shared.core).operations.look_up(&name);
    let (state, index) = match found {
        None => ("unknown-id", None),
        Some(None) => ("in-flight", None),
        Some(Some(place)) => ("committed", shared.index_of(place)),
    };
    OperationView { id, state: state.into(), index }
}
