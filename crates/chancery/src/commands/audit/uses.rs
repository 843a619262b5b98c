//! `audit prove --key`: all uses of a key version, and that there are no others.

use anyhow::{Context as _, Result as Made, anyhow};
use chancery_api::http::replies::RecordObject;
use chancery_audit::called::Called;
use chancery_audit::opening::Opening;
use chancery_audit::proof::{USES_MAX, UsesProof};
use chancery_audit::record::Kind;
use chancery_client::Client;
use chancery_core::command::{AuditQuery, Command, QUERY_RECORDS_MAX};
use chancery_core::name::Name;
use chancery_core::record_group::{RecordGroup, RecordGroups};
use chancery_log::TreeHead;
use chancery_log::note::Note;
use serde_json::json;

use super::reader::Reader;
use crate::cli::Shared;
use crate::commands::{fresh_operation, unexpected};
use crate::exit::{Failure, settle};
use crate::files::{OutputArgs, Secrecy};
use crate::published::Published;
use crate::render::{View, show};

/// What is shown of each use unless it is said, and always of it: what it was, and its number.
const USUAL: [RecordGroup; 3] = [RecordGroup::Time, RecordGroup::Operation, RecordGroup::Key];

/// Whose uses, and since when.
pub(super) struct Wanted {
    pub(super) key: Name,
    pub(super) version: u32,
    pub(super) since_ms: u64,
    pub(super) groups: Option<RecordGroups>,
}

/// The record that a proof ends with.
struct End {
    index: u64,
    is_use: bool,
}

/// The digest of the policy that a proof under a checkpoint names.
pub(super) type Named<'n> = &'n dyn Fn(&Note) -> Made<Option<[u8; 32]>>;

/// Carries `audit prove --key` out: until now, or as far as a checkpoint goes that was kept.
pub(super) fn prove(
    shared: &Shared,
    wanted: &Wanted,
    (kept, named): (Option<(Note, TreeHead)>, Named<'_>),
    (reader, published, output): (&Reader, &Published, &OutputArgs),
) -> Result<(), Failure> {
    let groups = match wanted.groups {
        Some(groups) => with(groups, &USUAL),
        None => RecordGroups::of(&USUAL).ok_or_else(unexpected)?,
    };
    let (end, (note, tree)) = match (kept, reader) {
        (None, Reader::Service(client)) => {
            let end = count(client, wanted)?;
            let checkpoint = published.checkpoint_over(end.index)?;
            (end, checkpoint)
        }
        (kept, _) => {
            let kept = kept.map_or_else(|| published.checkpoint(), Ok)?;
            (last_under(reader, wanted, kept.1.size)?, kept)
        }
    };
    let policy = named(&note)?;
    let records = openings(reader, wanted, (&end, groups))?;
    reader.all_was_read()?;
    let proof = UsesProof::make(&records, (&note, tree), published.tiles());
    let proof =
        proof.context("the published log does not lead to the records as they were opened")?;
    let proof = proof.naming(policy);
    output.write(Secrecy::Public, &proof.to_bytes())?;
    if output.is_standard() {
        return Ok(());
    }
    let uses = records.iter().filter(|(_, opening)| is_of_a_use(opening)).count();
    let written = output.out.display().to_string();
    let view = View::Fields(vec![
        ("uses", uses.to_string()),
        ("until record", end.index.to_string()),
        ("written", written.clone()),
    ]);
    Ok(show(
        shared.format,
        &view,
        &json!({ "uses": uses, "until": end.index, "written": written }),
    )?)
}

/// Groups, and others that are needed besides.
fn with(groups: RecordGroups, needed: &[RecordGroup]) -> RecordGroups {
    let asked: Vec<_> = groups.iter().collect();
    let needed = needed.iter().filter(|group| !asked.contains(group));
    let all: Vec<_> = asked.iter().chain(needed).copied().collect();
    // Each stands there once.
    RecordGroups::of(&all).unwrap_or(RecordGroups::ALL)
}

/// Has the number of uses put on record.
fn count(client: &Client, wanted: &Wanted) -> Result<End, Failure> {
    let command = Command::CountUses { key: wanted.key.clone(), version: wanted.version };
    let answer = settle(client.command(&command, fresh_operation()?))?;
    Ok(End { index: answer.log_index.ok_or_else(unexpected)?, is_use: false })
}

/// The last use, or statement of how many there were, in a log of that size.
fn last_under(reader: &Reader, wanted: &Wanted, size: u64) -> Result<End, Failure> {
    let mut before = size;
    loop {
        let page = page(reader, wanted, before)?;
        let Some(oldest) = page.first() else { break };
        before = oldest.log_index;
        let last = page.iter().rev().find_map(|record| {
            let is_use = is_use(record, wanted.version);
            let ends = is_use || is_count(record, wanted.version);
            ends.then_some(End { index: record.log_index, is_use })
        });
        if let Some(end) = last {
            return Ok(end);
        }
    }
    Err(Failure::Failed(anyhow!(
        "under that checkpoint there is no use of `{}`, and no statement that there is none: without `--checkpoint` this \
         command makes one, which a later checkpoint covers",
        wanted.key
    )))
}

/// What is found on the way from the end of a proof towards the beginning of the log.
struct Walk<'a> {
    reader: &'a Reader,
    groups: RecordGroups,
    /// The records, the newest first.
    found: Vec<(u64, Opening)>,
    /// The newest statement of how many uses there were, and its place among them.
    count: Option<(u64, usize)>,
    /// What tenant and key are called in the month that was reached.
    current: Called,
    /// What they were called before, once that was needed.
    names: Vec<Called>,
}

/// The uses before the record at `end`, the last before `since_ms` included, and that record; opened, in
/// their order. Of earlier months as far as a statement on the way says what the key was called there.
fn openings(
    reader: &Reader,
    wanted: &Wanted,
    (end, groups): (&End, RecordGroups),
) -> Result<Vec<(u64, Opening)>, Failure> {
    let mut walk = Walk::from(reader, end, groups)?;
    let mut before = end.index;
    loop {
        let page = page(reader, wanted, before)?;
        let Some(oldest) = page.first() else { break };
        before = oldest.log_index;
        for record in page.iter().rev() {
            if walk.count.is_none() && is_count(record, wanted.version) {
                walk.count = Some((record.log_index, walk.found.len()));
            }
            if !is_use(record, wanted.version) {
                continue;
            }
            if !walk.take(record.log_index)? {
                say_where_it_begins(record.log_index);
                return Ok(walk.in_order());
            }
            if record.time_ms < wanted.since_ms || record.use_index == Some(0) {
                return Ok(walk.in_order());
            }
        }
    }
    Ok(walk.in_order())
}

/// A proof that begins later than was asked for proves what it proves, and whoever asked is told.
fn say_where_it_begins(index: u64) {
    eprintln!(
        "chancery: the proof begins behind record {index}, which is of an earlier month: no statement that it covers says \
         what the key was called then; without `--checkpoint` and `--dir` this command makes one"
    );
}

impl<'a> Walk<'a> {
    fn from(reader: &'a Reader, end: &End, groups: RecordGroups) -> Result<Self, Failure> {
        let last = reader.opened(end.index, groups)?;
        let current = called(&last)?;
        let count = (!end.is_use).then_some((end.index, 0));
        Ok(Self {
            reader,
            groups,
            found: vec![(end.index, last)],
            count,
            current,
            names: Vec::new(),
        })
    }

    /// Takes a use, if it is known to be of the same key.
    fn take(&mut self, index: u64) -> Result<bool, Failure> {
        let opening = self.reader.opened(index, self.groups)?;
        let called = called(&opening)?;
        if called != self.current && !self.has_name(called)? {
            return Ok(false);
        }
        self.current = called;
        self.found.push((index, opening));
        if self.found.len() > USES_MAX {
            return Err(Failure::Failed(anyhow!(
                "there are more than {USES_MAX} uses, as many as one proof holds; give a later `--since`"
            )));
        }
        Ok(true)
    }

    /// Whether the newest statement says that the key was called so; it is then among the records, and shows that.
    fn has_name(&mut self, called: Called) -> Result<bool, Failure> {
        if !self.names.is_empty() {
            return Ok(self.names.contains(&called));
        }
        let Some((index, place)) = self.count else { return Ok(false) };
        let opening = self.reader.opened(index, with(self.groups, &[RecordGroup::Payload]))?;
        let opened = opening.open().context("the service's answer opens nothing")?;
        let Some(names) = opened.names.filter(|names| names.months().contains(&called)) else {
            return Ok(false);
        };
        self.names = names.months().to_vec();
        match self.found.get_mut(place).filter(|(known, _)| *known == index) {
            Some(known) => known.1 = opening,
            None => self.found.insert(place, (index, opening)),
        }
        Ok(true)
    }

    fn in_order(mut self) -> Vec<(u64, Opening)> {
        self.found.reverse();
        self.found
    }
}

fn is_of_a_use(opening: &Opening) -> bool {
    let operation = opening.open().ok().and_then(|opened| opened.operation);
    operation.is_some_and(|operation| operation.kind == Kind::Use)
}

fn is_use(record: &RecordObject, version: u32) -> bool {
    record.version == Some(version) && record.use_index.is_some() && record.operation != USE_OF_LINK
}

fn is_count(record: &RecordObject, version: u32) -> bool {
    record.version == Some(version) && record.operation == COUNT
}

/// What a record is called that says how many uses there are.
const COUNT: &str = "count-uses";

/// What a record of a use is called that counts under a link of a handle, and not as a use of the key.
const USE_OF_LINK: &str = "use-of-link";

fn page(reader: &Reader, wanted: &Wanted, before: u64) -> Result<Vec<RecordObject>, Failure> {
    let query = AuditQuery {
        key: Some(wanted.key.clone()),
        limit: QUERY_RECORDS_MAX,
        before: Some(before),
        ..AuditQuery::default()
    };
    reader.page(&query)
}

/// What tenant and key are called in a record.
fn called(opening: &Opening) -> Result<Called, Failure> {
    let opened = opening.open().context("the service's answer opens nothing")?;
    Ok(Called::of(&opened.key.ok_or_else(unexpected)?.group))
}
