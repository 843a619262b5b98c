//! Reads: keys, operations, status, audit records. They change nothing and are answered from the pool.

use std::collections::{BTreeMap, VecDeque};

use chancery_api::message::{CommandReply, OperationView, RecordView};
use chancery_audit::frame::{Frame, Item};
use chancery_audit::frames::{FrameReader, ReadBackError};
use chancery_audit::origin::Origin;
use chancery_audit::record::{Kind, Pseudonym, PseudonymousSection};
use chancery_audit::recovery::walk;
use chancery_audit::sealer::{Month, NameClass};
use chancery_core::action::Action;
use chancery_core::authority::Refusal;
use chancery_core::command::{AuditQuery, Command};
use chancery_core::id::{HandleId, OperationId, PrincipalId, TenantId};
use chancery_core::reason::Reason;
use chancery_core::record_group::RecordGroups;

use crate::commands::CommandJob;
use crate::counters::lock;
use crate::entropy;
use crate::inspect::{self, InspectError};
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
    let is_there = index < lock(&shared.progress).size;
    let frame = is_there.then(|| FrameReader::frame_of(&*shared.disk, index)).transpose();
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
fn may_see(tenant: TenantId, item: &Item) -> bool {
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

/// The records that fit the query, the oldest first.
fn records(
    shared: &Shared,
    tenant: TenantId,
    query: &AuditQuery,
) -> Result<Vec<RecordView>, Refusal> {
    match query.after {
        Some(after) => oldest(shared, tenant, query, after),
        None => newest(shared, tenant, query),
    }
}

/// The oldest with an index above `after`. Whoever reads the log on and on asks for them again and again, so that the
/// log is read from where an earlier page ended, or else from the segment of `after` on, and no further than to the last one that there is room for.
fn oldest(
    shared: &Shared,
    tenant: TenantId,
    query: &AuditQuery,
    after: u64,
) -> Result<Vec<RecordView>, Refusal> {
    let limit = usize::try_from(query.limit).unwrap_or(1);
    let unreadable =
        |error: ReadBackError| Refusal { reason: Reason::Unavailable, detail: error.to_string() };
    // What is not durable yet might come to be another record.
    let size = lock(&shared.progress).size;
    let end = query.before.map_or(size, |before| before.min(size));
    let mut found = Vec::new();
    let Some(start) = after.checked_add(1).filter(|start| *start < end) else { return Ok(found) };
    let mut search = Search::new(shared, tenant, query);
    let mut frames = FrameReader::segment_of(&*shared.disk, start).map_err(unreadable)?;
    if let Some(place) = shared.pages.before(start)
        && place.first_index > frames.next_index()
    {
        frames = FrameReader::at(place);
    }
    while frames.next_index() < end && found.len() < limit {
        let Some(frame) = frames.next_frame(&*shared.disk).map_err(unreadable)? else { break };
        let items = (0..).zip(&frame.items);
        let asked = items.filter(|(at, _)| (start..end).contains(&(frame.first_index + at)));
        let views = asked.filter_map(|(at, item)| search.view(&frame, item, at));
        found.extend(views.take(limit - found.len()));
    }
    if let Some((place, _)) = frames.last() {
        shared.pages.keep(place);
    }
    Ok(found)
}

/// The newest.
fn newest(
    shared: &Shared,
    tenant: TenantId,
    query: &AuditQuery,
) -> Result<Vec<RecordView>, Refusal> {
    let limit = usize::try_from(query.limit).unwrap_or(1);
    let mut search = Search::new(shared, tenant, query);
    let mut found = VecDeque::new();
    let origin: &Origin = &shared.origin;
    // Frames that are not on the disk yet are not read: what is being written may look torn, and is left out.
    let walked = walk(&*shared.disk, origin, &mut |frame, _| {
        for (position, item) in (0..).zip(&frame.items) {
            let index = frame.first_index + position;
            if query.before.is_some_and(|before| index >= before) {
                continue;
            }
            if let Some(view) = search.view(frame, item, position) {
                found.push_back(view);
                if found.len() > limit {
                    found.pop_front();
                }
            }
        }
        Ok(())
    });
    walked.map_err(|error| Refusal { reason: Reason::Unavailable, detail: error.to_string() })?;
    Ok(found.into())
}

struct Search<'s> {
    shared: &'s Shared,
    tenant: TenantId,
    query: &'s AuditQuery,
    names: BTreeMap<(TenantId, Month), BTreeMap<Pseudonym, String>>,
}

impl<'s> Search<'s> {
    fn new(shared: &'s Shared, tenant: TenantId, query: &'s AuditQuery) -> Self {
        Self { shared, tenant, query, names: BTreeMap::new() }
    }

    fn view(&mut self, frame: &Frame, item: &Item, position: u64) -> Option<RecordView> {
        let query = self.query;
        if !may_see(self.tenant, item)
            || query.since_ms.is_some_and(|since| frame.unix_ms < since)
            || query.until_ms.is_some_and(|until| frame.unix_ms >= until)
        {
            return None;
        }
        let keys = self.shared.month_keys(item.tenant, item.month, frame.boot_nonce)?;
        let (section, use_index) = keys.open(item)?;
        let identity = keys.open_identity(item);
        let actor = identity.as_ref().map(|identity| PrincipalId::from_bytes(identity.principal));
        let handle = identity.as_ref().map(|identity| HandleId::from_bytes(identity.credential));
        let key = self.key_name(item, &section, &keys);
        let action = Action { kind: item.kind.number(), number: section.operation.operation };
        let operation = query.operation.zip(actor).map(|(id, actor)| keys.operation(actor, id));
        let has_output =
            |output| keys.open_payload(item).is_some_and(|(payload, ..)| payload.output == output);
        let fits = query.key.as_ref().is_none_or(|name| name.as_str() == key)
            && query.version.is_none_or(|version| section.key.version == version)
            && query.actor.is_none_or(|asked| actor == Some(asked))
            && query.handle.is_none_or(|asked| handle == Some(asked))
            && query.outcome.is_none_or(|outcome| section.operation.outcome == outcome)
            && query.reason.is_none_or(|reason| section.operation.reason == reason)
            && query.action.is_none_or(|asked| asked.name() == action.name())
            && (query.operation.is_none() || operation == Some(section.operation.operation_id))
            && query.output.is_none_or(has_output);
        // Shown only if it is what its leaf commits to.
        if !fits || keys.recompute(item) != Some(item.root) {
            return None;
        }
        Some(RecordView {
            index: frame.first_index + position,
            unix_ms: section.time.unix_ms,
            operation: action.name().into(),
            outcome: if section.operation.outcome == 0 { "committed" } else { "refused" }.into(),
            reason: Reason::from_number(section.operation.reason).map_or("", Reason::code).into(),
            key,
            version: section.key.version,
            use_index: use_index.filter(|_| !is_a_number(item.kind)),
            count: use_index.filter(|_| is_a_number(item.kind)),
            actor: actor.filter(|actor| actor.as_bytes() != &[0; 16]),
            handle: handle.filter(|handle| handle.as_bytes() != &[0; 16]),
            leaf: item.leaf_hash().as_bytes().to_vec(),
        })
    }

    fn key_name(
        &mut self,
        item: &Item,
        section: &PseudonymousSection,
        keys: &chancery_audit::sealer::MonthKeys,
    ) -> String {
        let (shared, tenant) = (self.shared, item.tenant);
        let names = self.names.entry((item.tenant, item.month)).or_insert_with(|| {
            let core = lock(&shared.core);
            let known = core.authority.keys_after(tenant, None);
            let named = known.map(|key| {
                (keys.pseudonym(NameClass::Key, key.id.as_bytes()), key.name.to_string())
            });
            named.collect()
        });
        names.get(&section.key.key).cloned().unwrap_or_default()
    }
}

/// Whether a record of that kind says how many there are, and not the how-manieth it is.
fn is_a_number(kind: Kind) -> bool {
    matches!(kind, Kind::Refusals | Kind::Count)
}
