//! Audit queries: records are found by the index where there is one, and by reading where there is none yet.
//!
//! Whatever the index leads to is opened, compared with the query and held against its leaf before it is shown. A
//! record that the index does not lead to is not found: the index is made by this service and checked by hash, and is
//! not protected from whoever can write its files.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use chancery_api::message::RecordView;
use chancery_audit::frame::{Frame, Item};
use chancery_audit::index::{Field, FramePlace, Part, PartHead, Term, Wanted, term};
use chancery_audit::record::{Kind, Pseudonym, PseudonymousSection};
use chancery_audit::sealer::{Month, MonthKeys, NameClass};
use chancery_audit::wal::read_frame_at;
use chancery_core::action::Action;
use chancery_core::authority::Refusal;
use chancery_core::command::AuditQuery;
use chancery_core::id::{HandleId, KeyId, PrincipalId, TenantId};
use chancery_core::reason::Reason;

use crate::config::SignerError;
use crate::counters::lock;
use crate::index::{Gap, Span};
use crate::prunes;
use crate::query::may_see;
use crate::service::Shared;

/// A record is made before its frame is written, by less than this: 10 min, where every deadline is of seconds.
const RECORD_WAIT_MAX_MS: u64 = 600_000;

/// The records that fit the query, the oldest first: the newest of them, or, behind `after`, the oldest.
pub(crate) fn records(
    shared: &Shared,
    tenant: TenantId,
    query: &AuditQuery,
) -> Result<Vec<RecordView>, Refusal> {
    if let Some(refusal) = prunes::withheld(shared, query) {
        return Err(refusal);
    }
    let mut search = Search::new(shared, tenant, query);
    let mut spans = shared.index.spans();
    if !search.goes_on() {
        spans.reverse();
    }
    for span in spans {
        if search.is_done() {
            break;
        }
        let found = search.span(&span);
        found.map_err(|detail| Refusal { reason: Reason::Unavailable, detail })?;
    }
    match search.unread {
        Some(error) => Err(Refusal { reason: Reason::Unavailable, detail: error.to_string() }),
        None => Ok(search.found.into()),
    }
}

struct Search<'s> {
    shared: &'s Shared,
    tenant: TenantId,
    query: &'s AuditQuery,
    limit: usize,
    /// The indices in the log that are asked for.
    range: Range<u64>,
    found: VecDeque<RecordView>,
    names: BTreeMap<(TenantId, Month), BTreeMap<Pseudonym, String>>,
    keys: BTreeMap<(TenantId, Month, [u8; 16]), Option<Arc<MonthKeys>>>,
    /// What is looked for in each tenant's month: it takes the core's lock, and so is worked out once.
    wanted: BTreeMap<(TenantId, Month), Option<Wanted>>,
    /// Why keys could not be read: then records may be missing, and nothing is shown.
    unread: Option<SignerError>,
}

impl<'s> Search<'s> {
    fn new(shared: &'s Shared, tenant: TenantId, query: &'s AuditQuery) -> Self {
        let size = lock(&shared.progress).size;
        let start = query.after.map_or(0, |after| after.saturating_add(1));
        let start = start.max(prunes::first_index(shared));
        Self {
            shared,
            tenant,
            query,
            limit: usize::try_from(query.limit).unwrap_or(1),
            range: start..query.before.map_or(size, |before| before.min(size)),
            found: VecDeque::new(),
            names: BTreeMap::new(),
            keys: BTreeMap::new(),
            wanted: BTreeMap::new(),
            unread: None,
        }
    }

    /// Whether the oldest are asked for.
    fn goes_on(&self) -> bool {
        self.query.after.is_some()
    }

    fn is_done(&self) -> bool {
        self.found.len() >= self.limit
    }

    /// Finds what is in a span.
    fn span(&mut self, span: &Span) -> Result<(), String> {
        let is_past = span.end_index().is_some_and(|end| end <= self.range.start);
        if is_past || span.first_index() >= self.range.end {
            return Ok(());
        }
        match span {
            Span::Gap(gap) => self.gap(gap),
            Span::Part(head) if !self.may_have_been(head) => Ok(()),
            Span::Part(head) => match self.candidates(head) {
                Some((part, records)) => self.part(&part, &records),
                None => self.gap(&Gap::of(head)),
            },
        }
    }

    /// Whether a record of the part may be of the time that is asked for.
    fn may_have_been(&self, head: &PartHead) -> bool {
        let earliest_ms = head.earliest_ms.saturating_sub(RECORD_WAIT_MAX_MS);
        self.query.since_ms.is_none_or(|since| head.latest_ms >= since)
            && self.query.until_ms.is_none_or(|until| earliest_ms < until)
    }

    /// The records of a part to look at; nothing if it cannot be read.
    fn candidates(&mut self, head: &PartHead) -> Option<(Arc<Part>, Vec<u64>)> {
        let part = self.shared.index.part(head, &self.shared.vault)?;
        let found = part.find(|tenant, month| self.wanted_in(tenant, month));
        if found.is_err() {
            self.shared.index.discard(head);
        }
        let mut records = found.ok()?;
        records.retain(|record| self.range.contains(record));
        Some((part, records))
    }

    /// Looks at some records of a part, the newest first unless the oldest are asked for.
    fn part(&mut self, part: &Part, records: &[u64]) -> Result<(), String> {
        let frames = part.frames().map_err(|error| error.to_string())?;
        let mut read: Option<Frame> = None;
        for step in 0..records.len() {
            let at = if self.goes_on() { step } else { records.len() - 1 - step };
            let Some(&index) = records.get(at).filter(|_| !self.is_done()) else { break };
            let known = read.take().filter(|f| (f.first_index..f.end_index()).contains(&index));
            let frame = known.map_or_else(|| self.read(&frames, index), Ok)?;
            if let Some(view) = self.record(&frame, index) {
                if self.goes_on() {
                    self.found.push_back(view);
                } else {
                    self.found.push_front(view);
                }
            }
            read = Some(frame);
        }
        Ok(())
    }

    /// Reads the frame among these that holds the record at `index`.
    fn read(&self, frames: &[(FramePlace, Range<u64>)], index: u64) -> Result<Frame, String> {
        let after = frames.partition_point(|(_, records)| records.end <= index);
        let (place, _) = frames.get(after).ok_or("the index leads to no frame")?;
        let read = read_frame_at(&*self.shared.disk, place.segment, place.offset);
        read.map_err(|error| format!("a frame cannot be read: {error}"))
    }

    /// The record at `index`, which the frame holds, if it fits.
    fn record(&mut self, frame: &Frame, index: u64) -> Option<RecordView> {
        let position = index.checked_sub(frame.first_index)?;
        let item = frame.items.get(usize::try_from(position).ok()?)?;
        self.view(frame, item, position)
    }

    /// Reads the frames that no part covers.
    fn gap(&mut self, gap: &Gap) -> Result<(), String> {
        let disk = &*self.shared.disk;
        let end = gap.end_index.map_or(self.range.end, |end| end.min(self.range.end));
        // A gap may begin among records that were pruned.
        let first = prunes::first_index(self.shared);
        let gap = if gap.first_index < first {
            Gap { place: None, first_index: first, end_index: gap.end_index }
        } else {
            *gap
        };
        let mut reader = gap.reader(disk).map_err(|error| error.to_string())?;
        let mut found = VecDeque::new();
        let room = self.limit - self.found.len();
        while reader.next_index() < end {
            let frame = reader.next_frame(disk).map_err(|error| error.to_string())?;
            let frame = frame.ok_or("the log cannot be read to its end")?;
            for index in frame.first_index.max(self.range.start)..frame.end_index().min(end) {
                if self.goes_on() && found.len() >= room {
                    break;
                }
                found.extend(self.record(&frame, index));
                if found.len() > room {
                    found.pop_front();
                }
            }
            if self.goes_on() && found.len() >= room {
                break;
            }
        }
        if self.goes_on() {
            self.found.append(&mut found);
        } else {
            found.append(&mut self.found);
            self.found = found;
        }
        Ok(())
    }

    fn wanted_in(&mut self, tenant: TenantId, month: Month) -> Option<Wanted> {
        if let Some(known) = self.wanted.get(&(tenant, month)) {
            return known.clone();
        }
        let wanted = self.wanted(tenant, month);
        self.wanted.insert((tenant, month), wanted.clone());
        wanted
    }

    /// What to look for in a tenant's month; nothing where there is nothing for us.
    fn wanted(&mut self, tenant: TenantId, month: Month) -> Option<Wanted> {
        let query = self.query;
        if ![self.tenant, TenantId::SYSTEM].contains(&tenant) {
            return None;
        }
        let keys = self.shared.month_names(tenant, month).unwrap_or_else(|error| {
            self.unread.get_or_insert(error);
            None
        })?;
        let mut wanted = self.wanted_names(tenant, &keys)?;
        let mut ask = |field, terms: Vec<Term>| wanted.push((field, terms));
        if let Some(reason) = query.reason {
            ask(Field::Reason, vec![keys.reason_term(reason)]);
        }
        if let Some(action) = query.action {
            // Of what the service itself records, any number has the name.
            let numbers = action.numbers();
            let terms = numbers.map(|number| keys.action_term(Action { number, ..action }));
            ask(Field::Action, terms.collect());
        }
        if let Some(outcome) = query.outcome {
            ask(Field::Outcome, vec![keys.outcome_term(outcome)]);
        }
        Some(wanted)
    }

    /// What few records have, which is looked for first: names, and the digest of an output.
    fn wanted_names(&self, tenant: TenantId, keys: &MonthKeys) -> Option<Wanted> {
        let query = self.query;
        let mut wanted = Wanted::new();
        let mut ask = |field, terms: Vec<Term>| wanted.push((field, terms));
        if let Some(output) = query.output {
            ask(Field::Output, vec![keys.output_term(&output)]);
        }
        if let Some(id) = query.operation {
            let core = lock(&self.shared.core);
            let own = core.authority.principals().filter(|principal| principal.tenant == tenant);
            let own: Vec<PrincipalId> = own.map(|principal| principal.id).collect();
            drop(core);
            ask(Field::Operation, own.iter().map(|p| term(&keys.operation(*p, id))).collect());
        }
        if let Some(handle) = query.handle {
            let pseudonym = keys.pseudonym(NameClass::Handle, handle.as_bytes());
            ask(Field::Credential, vec![term(&pseudonym)]);
        }
        if let Some(name) = &query.key {
            let id = self.key_named(tenant, name.as_str())?;
            let pseudonym = keys.pseudonym(NameClass::Key, id.as_bytes());
            ask(Field::Key, vec![term(&pseudonym)]);
            if let Some(version) = query.version {
                ask(Field::Version, vec![keys.version_term(&pseudonym, version)]);
            }
        }
        if let Some(actor) = query.actor {
            let pseudonym = keys.pseudonym(NameClass::Principal, actor.as_bytes());
            ask(Field::Actor, vec![term(&pseudonym)]);
        }
        Some(wanted)
    }

    fn key_named(&self, tenant: TenantId, name: &str) -> Option<KeyId> {
        let core = lock(&self.shared.core);
        let mut keys = core.authority.keys_after(tenant, None);
        keys.find(|key| key.name.as_str() == name).map(|key| key.id)
    }

    fn month_keys(&mut self, item: &Item, frame: &Frame) -> Option<Arc<MonthKeys>> {
        let (tenant, month, nonce) = (item.tenant, item.month, frame.boot_nonce);
        let shared = self.shared;
        if let Some(known) = self.keys.get(&(tenant, month, nonce)) {
            return known.clone();
        }
        let read = shared.read_month_keys(tenant, month, nonce);
        let keys = read.unwrap_or_else(|error| {
            self.unread.get_or_insert(error);
            None
        });
        self.keys.insert((tenant, month, nonce), keys.clone());
        keys
    }

    fn view(&mut self, frame: &Frame, item: &Item, position: u64) -> Option<RecordView> {
        let query = self.query;
        if !may_see(self.tenant, item) {
            return None;
        }
        let keys = self.month_keys(item, frame)?;
        let (section, use_index) = keys.open(item)?;
        let identity = keys.open_identity(item);
        let actor = identity.as_ref().map(|identity| PrincipalId::from_bytes(identity.principal));
        let handle = identity.as_ref().map(|identity| HandleId::from_bytes(identity.credential));
        let key = self.key_name(item, &section, &keys);
        let action = Action { kind: item.kind.number(), number: section.operation.operation };
        let operation = query.operation.zip(actor).map(|(id, actor)| keys.operation(actor, id));
        let has_output =
            |output| keys.open_payload(item).is_some_and(|(payload, ..)| payload.output == output);
        let fits = query.since_ms.is_none_or(|since| section.time.unix_ms >= since)
            && query.until_ms.is_none_or(|until| section.time.unix_ms < until)
            && query.key.as_ref().is_none_or(|name| name.as_str() == key)
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

    fn key_name(&mut self, item: &Item, section: &PseudonymousSection, keys: &MonthKeys) -> String {
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
