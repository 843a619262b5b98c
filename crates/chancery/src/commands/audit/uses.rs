//! `audit prove --key`: all uses of a key version, and that there are no others.

use anyhow::{Context as _, anyhow};
use chancery_api::http::replies::RecordObject;
use chancery_audit::opening::Opening;
use chancery_audit::proof::{USES_MAX, UsesProof};
use chancery_audit::record::KeyGroup;
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

/// Carries `audit prove --key` out: until now, or as far as a checkpoint goes that was kept.
pub(super) fn prove(
    shared: &Shared,
    wanted: &Wanted,
    kept: Option<(Note, TreeHead)>,
    (reader, published, output): (&Reader, &Published, &OutputArgs),
) -> Result<(), Failure> {
    let groups = groups(wanted.groups);
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
    let records = openings(reader, wanted, (end.index, groups))?;
    reader.all_was_read()?;
    let proof = UsesProof::make(&records, (&note, tree), published.tiles());
    let proof =
        proof.context("the published log does not lead to the records as they were opened")?;
    output.write(Secrecy::Public, &proof.to_bytes())?;
    if output.is_standard() {
        return Ok(());
    }
    let uses = records.len() - usize::from(!end.is_use);
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

fn groups(asked: Option<RecordGroups>) -> RecordGroups {
    let asked: Vec<_> = asked.into_iter().flat_map(RecordGroups::iter).collect();
    let needed = USUAL.into_iter().filter(|group| !asked.contains(group));
    let all: Vec<_> = asked.iter().copied().chain(needed).collect();
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

/// The uses before the record at `end`, the last before `since_ms` included, and that record; opened, in
/// their order. Of other months, which have other pseudonyms, none.
fn openings(
    reader: &Reader,
    wanted: &Wanted,
    (end, groups): (u64, RecordGroups),
) -> Result<Vec<(u64, Opening)>, Failure> {
    let last = reader.opened(end, groups)?;
    let version = version(&last)?;
    let mut found = vec![(end, last)];
    let mut before = end;
    loop {
        let page = page(reader, wanted, before)?;
        let Some(oldest) = page.first() else { break };
        before = oldest.log_index;
        for record in page.iter().rev().filter(|record| is_use(record, wanted.version)) {
            let opening = reader.opened(record.log_index, groups)?;
            if self::version(&opening)? != version {
                return Ok(in_order(found));
            }
            found.push((record.log_index, opening));
            if found.len() > USES_MAX {
                return Err(Failure::Failed(anyhow!(
                    "there are more than {USES_MAX} uses, as many as one proof holds; give a later `--since`"
                )));
            }
            if record.time_ms < wanted.since_ms || record.use_index == Some(0) {
                return Ok(in_order(found));
            }
        }
    }
    Ok(in_order(found))
}

fn in_order(mut records: Vec<(u64, Opening)>) -> Vec<(u64, Opening)> {
    records.reverse();
    records
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

fn version(opening: &Opening) -> Result<KeyGroup, Failure> {
    let opened = opening.open().context("the service's answer opens nothing")?;
    let key = opened.key.ok_or_else(unexpected)?;
    Ok(KeyGroup { protection: 0, ..key.group })
}
