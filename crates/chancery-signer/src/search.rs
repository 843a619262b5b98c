//! Audit queries: records are found by the index where there is one, and by reading where there is none yet.
//!
//! Whatever the index leads to is opened, compared with the query and held against its leaf before it is shown. A
//! record that the index does not lead to is not found: the index is made by this service and checked by hash, and is
//! not protected from whoever can write its files.
//!
//! **Invariant:** a record that fits is shown, or the answer says that it, or the range that it lies in, could not be
//! read ([`Found::unread`]), or that the keys of its month are gone ([`Found::gone`]).

mod wanted;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use chancery_api::message::RecordView;
use chancery_audit::frame::{Frame, Item};
use chancery_audit::index::{FramePlace, Part, PartHead, Wanted};
use chancery_audit::record::{Pseudonym, PseudonymousSection};
use chancery_audit::salvage::{Salvage, Salvaged};
use chancery_audit::sealer::{Month, MonthKeys, NameClass};
use chancery_audit::shown;
use chancery_audit::wal::read_frame_at;
use chancery_core::action::Action;
use chancery_core::command::AuditQuery;
use chancery_core::id::{HandleId, PrincipalId, TenantId};

use crate::index::{Gap, Span};
use crate::prunes;
use crate::source::{OnDamage, Source};
use wanted::Known;

/// A record is made before its frame is written, by less than this: 10 min, where every deadline is of seconds.
const RECORD_WAIT_MAX_MS: u64 = 600_000;

/// Consecutive records of which nobody can say whether they fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The first of them.
    pub first_index: u64,
    /// The record behind the last of them.
    pub end_index: u64,
    /// What is wrong.
    pub why: String,
}

/// What a query found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The records that fit, the oldest first.
    pub(crate) records: VecDeque<RecordView>,
    /// What could not be read of what was looked at.
    pub(crate) unread: Vec<Unread>,
    /// The months whose keys are gone; their records are shown to nobody any more.
    pub(crate) gone: BTreeSet<Month>,
    /// Records that no part of the index covers, and that were read one by one.
    pub(crate) unindexed: Vec<Range<u64>>,
}

/// The records that fit the query, the oldest first: the newest of them, or, behind `after`, the oldest.
pub(crate) fn records(source: &impl Source, tenant: TenantId, query: &AuditQuery) -> Found {
    let mut search = Search::new(source, tenant, query);
    let mut spans = source.spans();
    if !search.goes_on() {
        spans.reverse();
    }
    for span in spans {
        if search.is_done() {
            break;
        }
        search.span(&span);
    }
    let Search { mut found, .. } = search;
    if let Some(pruned) = source.pruned()
        && let Some(why) = prunes::withheld(&pruned, query)
    {
        found.unread.push(Unread { first_index: 0, end_index: pruned.first_index(), why });
    }
    found
}

struct Search<'s, S> {
    source: &'s S,
    tenant: TenantId,
    query: &'s AuditQuery,
    limit: usize,
    /// The indices in the log that are asked for.
    range: Range<u64>,
    found: Found,
    names: BTreeMap<(TenantId, Month), BTreeMap<Pseudonym, String>>,
    keys: BTreeMap<(TenantId, Month, [u8; 16]), Option<Arc<MonthKeys>>>,
    /// What is looked for in each tenant's month, which is worked out once; or why that cannot be.
    wanted: BTreeMap<(TenantId, Month), Result<Option<Wanted>, String>>,
}

impl<'s, S: Source> Search<'s, S> {
    fn new(source: &'s S, tenant: TenantId, query: &'s AuditQuery) -> Self {
        let size = source.size();
        let start = query.after.map_or(0, |after| after.saturating_add(1));
        let start = start.max(prunes::first_index(source.pruned().as_ref()));
        Self {
            source,
            tenant,
            query,
            limit: usize::try_from(query.limit).unwrap_or(1),
            range: start..query.before.map_or(size, |before| before.min(size)),
            found: Found::default(),
            names: BTreeMap::new(),
            keys: BTreeMap::new(),
            wanted: BTreeMap::new(),
        }
    }

    /// Whether the oldest are asked for.
    fn goes_on(&self) -> bool {
        self.query.after.is_some()
    }

    /// Whether so many were found, or what was not read ends the search.
    fn is_done(&self) -> bool {
        let ends = self.source.on_damage() == OnDamage::Stop && !self.found.unread.is_empty();
        ends || self.found.records.len() >= self.limit
    }

    /// Notes what cannot be read, and has to do with what is asked for.
    fn unread(&mut self, records: &Range<u64>, why: &str) {
        let first_index = records.start.max(self.range.start);
        let end_index = records.end.min(self.range.end);
        if first_index >= end_index {
            return;
        }
        match self.found.unread.last_mut() {
            Some(last) if last.why == why && last.end_index == first_index => {
                last.end_index = end_index;
            }
            _ => self.found.unread.push(Unread { first_index, end_index, why: why.to_owned() }),
        }
    }

    /// Finds what is in a span.
    fn span(&mut self, span: &Span) {
        let is_past = span.end_index().is_some_and(|end| end <= self.range.start);
        if is_past || span.first_index() >= self.range.end {
            return;
        }
        match span {
            Span::Gap(gap) => self.gap(gap),
            Span::Part(head) if !self.may_have_been(head) => {}
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
        let part = self.source.part(head)?;
        let mut failed = None;
        let found = part.find(|tenant, month| {
            self.wanted_in(tenant, month).unwrap_or_else(|why| {
                failed = Some(why);
                None
            })
        });
        if found.is_err() || part.frames().is_err() {
            self.source.discard(head);
            return None;
        }
        if let Some(why) = failed {
            self.unread(&(head.first_index..head.end_index()), &why);
        }
        let mut records = found.ok()?;
        records.retain(|record| self.range.contains(record));
        Some((part, records))
    }

    /// Looks at some records of a part, the newest first unless the oldest are asked for.
    fn part(&mut self, part: &Part, records: &[u64]) {
        let frames = part.frames().unwrap_or_default();
        let mut read: Option<Frame> = None;
        for step in 0..records.len() {
            let at = if self.goes_on() { step } else { records.len() - 1 - step };
            let Some(&index) = records.get(at).filter(|_| !self.is_done()) else { break };
            let known = read.take().filter(|f| (f.first_index..f.end_index()).contains(&index));
            let frame = match known.map_or_else(|| self.read(&frames, index), Ok) {
                Ok(frame) => frame,
                Err(why) => {
                    self.unread(&(index..index + 1), &why);
                    continue;
                }
            };
            if let Some(view) = self.record(&frame, index) {
                if self.goes_on() {
                    self.found.records.push_back(view);
                } else {
                    self.found.records.push_front(view);
                }
            }
            read = Some(frame);
        }
    }

    /// Reads the frame among these that holds the record at `index`.
    fn read(&self, frames: &[(FramePlace, Range<u64>)], index: u64) -> Result<Frame, String> {
        let after = frames.partition_point(|(_, records)| records.end <= index);
        let (place, records) = frames.get(after).ok_or("the index leads to no frame")?;
        let read = read_frame_at(self.source.disk(), place.segment, place.offset);
        let frame = read.map_err(|error| format!("a frame cannot be read: {error}"))?;
        let is_there = (frame.first_index..frame.end_index()) == *records;
        is_there.then_some(frame).ok_or_else(|| "another frame stands in its place".into())
    }

    /// The record at `index`, which the frame holds, if it fits.
    fn record(&mut self, frame: &Frame, index: u64) -> Option<RecordView> {
        let position = index.checked_sub(frame.first_index)?;
        let item = frame.items.get(usize::try_from(position).ok()?)?;
        let view = self.view(frame, item, index).unwrap_or_else(|why| {
            self.unread(&(index..index + 1), &why);
            None
        });
        let view = view?;
        if let Some(why) = self.source.contradicts(index, &item.leaf_hash()) {
            self.unread(&(index..index + 1), why);
            return None;
        }
        Some(view)
    }

    /// Reads the frames that no part covers.
    fn gap(&mut self, gap: &Gap) {
        let end = gap.end_index.map_or(self.range.end, |end| end.min(self.range.end));
        // A gap may begin among records that were pruned.
        let first = prunes::first_index(self.source.pruned().as_ref());
        let gap = if gap.first_index < first {
            &Gap { place: None, first_index: first, end_index: gap.end_index }
        } else {
            gap
        };
        let records = gap.first_index.max(self.range.start)..end;
        if !records.is_empty() {
            self.found.unindexed.push(records);
        }
        let mut taken = Taken { records: VecDeque::new(), room: self.room() };
        if let Err((next, why)) = self.read_gap(gap, end, &mut taken) {
            match self.source.on_damage() {
                OnDamage::Stop => self.unread(&(next..end), &why),
                OnDamage::GoOn => self.salvage(next..end, &why, &mut taken),
            }
        }
        let mut records = taken.records;
        if self.goes_on() {
            self.found.records.append(&mut records);
        } else {
            records.append(&mut self.found.records);
            self.found.records = records;
        }
    }

    /// How many more are asked for.
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.found.records.len())
    }

    /// Reads frame by frame up to the record `end`; or says from which record on that cannot be done, and why.
    fn read_gap(&mut self, gap: &Gap, end: u64, taken: &mut Taken) -> Result<(), (u64, String)> {
        let disk = self.source.disk();
        let mut reader = gap.reader(disk).map_err(|error| (gap.first_index, error.to_string()))?;
        while reader.next_index() < end && !taken.is_full(self.goes_on()) {
            let next = reader.next_index();
            let frame = reader.next_frame(disk).map_err(|error| (next, error.to_string()))?;
            let frame = frame.ok_or((next, "the log cannot be read to its end".to_owned()))?;
            self.take(&frame, end, taken);
        }
        Ok(())
    }

    /// Reads what can be read of a damaged stretch.
    fn salvage(&mut self, records: Range<u64>, why: &str, taken: &mut Taken) {
        let end = records.end;
        let Ok(salvage) = Salvage::new(self.source.disk(), records.clone()) else {
            return self.unread(&records, why);
        };
        for salvaged in salvage {
            if taken.is_full(self.goes_on()) {
                break;
            }
            match salvaged {
                Salvaged::Frame(frame) => self.take(&frame, end, taken),
                Salvaged::Lost(lost) => self.unread(&lost, why),
            }
        }
    }

    /// Takes what fits of a frame, up to the record `end`.
    fn take(&mut self, frame: &Frame, end: u64, taken: &mut Taken) {
        for index in frame.first_index.max(self.range.start)..frame.end_index().min(end) {
            if taken.is_full(self.goes_on()) {
                break;
            }
            taken.add(self.record(frame, index));
        }
    }

    fn wanted_in(&mut self, tenant: TenantId, month: Month) -> Result<Option<Wanted>, String> {
        if let Some(known) = self.wanted.get(&(tenant, month)) {
            return known.clone();
        }
        let wanted = self.wanted(tenant, month);
        self.wanted.insert((tenant, month), wanted.clone());
        wanted
    }

    /// What to look for in a tenant's month; nothing where there is nothing for us.
    fn wanted(&mut self, tenant: TenantId, month: Month) -> Result<Option<Wanted>, String> {
        if ![self.tenant, TenantId::SYSTEM].contains(&tenant) {
            return Ok(None);
        }
        let keys = self.source.month_names(tenant, month).map_err(|error| error.to_string())?;
        let Some(keys) = keys else {
            self.found.gone.insert(month);
            return Ok(None);
        };
        let known = Known::of(self.source, tenant, self.query);
        Ok(wanted::wanted(self.query, &keys, &known))
    }

    /// The keys of a record, if they are not gone.
    fn month_keys(&mut self, item: &Item, frame: &Frame) -> Result<Option<Arc<MonthKeys>>, String> {
        let (tenant, month, nonce) = (item.tenant, item.month, frame.boot_nonce);
        if let Some(known) = self.keys.get(&(tenant, month, nonce)) {
            return Ok(known.clone());
        }
        let read = self.source.month_keys(tenant, month, nonce);
        let keys = read.map_err(|error| error.to_string())?;
        if keys.is_none() {
            self.found.gone.insert(month);
        }
        self.keys.insert((tenant, month, nonce), keys.clone());
        Ok(keys)
    }

    /// A record as it is shown, if it fits; or why it cannot be read.
    fn view(
        &mut self,
        frame: &Frame,
        item: &Item,
        index: u64,
    ) -> Result<Option<RecordView>, String> {
        let query = self.query;
        if !self.source.shows(self.tenant, item) {
            return Ok(None);
        }
        let Some(keys) = self.month_keys(item, frame)? else { return Ok(None) };
        let (section, use_index) = keys.open(item).ok_or(ALTERED)?;
        let identity = keys.open_identity(item).ok_or(ALTERED)?;
        let actor = PrincipalId::from_bytes(identity.principal);
        let handle = HandleId::from_bytes(identity.credential);
        let key = self.key_name(item, &section, &keys);
        let action = Action { kind: item.kind.number(), number: section.operation.operation };
        let operation = query.operation.map(|id| keys.operation(actor, id));
        let fits = query.since_ms.is_none_or(|since| section.time.unix_ms >= since)
            && query.until_ms.is_none_or(|until| section.time.unix_ms < until)
            && query.key.as_ref().is_none_or(|name| name.as_str() == key)
            && query.version.is_none_or(|version| section.key.version == version)
            && query.actor.is_none_or(|asked| actor == asked)
            && query.handle.is_none_or(|asked| handle == asked)
            && query.outcome.is_none_or(|outcome| section.operation.outcome == outcome)
            && query.reason.is_none_or(|reason| section.operation.reason == reason)
            && query.action.is_none_or(|asked| asked.name() == action.name())
            && operation.is_none_or(|asked| section.operation.operation_id == asked);
        if !fits || !has_output(query, &keys, item)? {
            return Ok(None);
        }
        // Shown only if it is what its leaf commits to.
        if keys.recompute(item) != Some(item.root) {
            return Err(ALTERED.into());
        }
        Ok(Some(RecordView {
            index,
            unix_ms: section.time.unix_ms,
            operation: action.name().into(),
            outcome: shown::outcome(section.operation.outcome).into(),
            reason: shown::reason(section.operation.reason).into(),
            key,
            version: section.key.version,
            use_index: use_index.filter(|_| !shown::is_a_number(item.kind)),
            count: use_index.filter(|_| shown::is_a_number(item.kind)),
            actor: Some(actor).filter(|actor| actor.as_bytes() != &[0; 16]),
            handle: Some(handle).filter(|handle| handle.as_bytes() != &[0; 16]),
            leaf: item.leaf_hash().as_bytes().to_vec(),
        }))
    }

    fn key_name(&mut self, item: &Item, section: &PseudonymousSection, keys: &MonthKeys) -> String {
        let (source, tenant) = (self.source, item.tenant);
        let names = self.names.entry((item.tenant, item.month)).or_insert_with(|| {
            let named = source.keys(tenant).into_iter().map(|(id, name)| {
                (keys.pseudonym(NameClass::Key, id.as_bytes()), name.to_string())
            });
            named.collect()
        });
        names.get(&section.key.key).cloned().unwrap_or_default()
    }
}

/// What is said of a record that does not open, or is another than its leaf says.
const ALTERED: &str = "the record is altered: it is not what its leaf commits to";

/// What was taken of a gap: the oldest or the newest, as many as there is room for.
struct Taken {
    records: VecDeque<RecordView>,
    room: usize,
}

impl Taken {
    /// Whether there is nothing more to take, where the oldest are asked for.
    fn is_full(&self, goes_on: bool) -> bool {
        goes_on && self.records.len() >= self.room
    }

    fn add(&mut self, record: Option<RecordView>) {
        self.records.extend(record);
        if self.records.len() > self.room {
            self.records.pop_front();
        }
    }
}

/// Whether a record has the output that is asked for.
fn has_output(query: &AuditQuery, keys: &MonthKeys, item: &Item) -> Result<bool, String> {
    let Some(asked) = query.output else { return Ok(true) };
    let (payload, ..) = keys.open_payload(item).ok_or(ALTERED)?;
    Ok(payload.output == asked)
}
