//! A case: single records that were disclosed, each held against the published log.
//!
//! **Invariant:** a record is shown only if it is what a leaf commits to, and a checkpoint of the log covers that leaf in
//! its place. Nothing but openings and published files is needed for that.

use chancery_api::message::RecordView;
use chancery_audit::disclosure::CaseRecord;
use chancery_audit::opening::{Opened, Opening};
use chancery_audit::record::{Counted, IdentitySection};
use chancery_audit::shown;
use chancery_core::action::Action;
use chancery_core::authority::Refusal;
use chancery_core::command::AuditQuery;
use chancery_core::id::{HandleId, PrincipalId};
use chancery_core::reason::Reason;
use chancery_core::record_group::RecordGroups;

use super::promised::{Promised, Says};
use super::reach::Reach;
use super::{Answer, unavailable};
use crate::search::{Found, Unread};

/// Records that were disclosed.
pub(super) struct Case {
    records: Vec<CaseRecord>,
    promised: Promised,
    reach: Reach,
}

impl Case {
    /// Of the log that is called `origin`.
    pub(super) fn new(
        records: Vec<CaseRecord>,
        promised: Promised,
        origin: String,
        finding: Option<String>,
    ) -> Self {
        let tree = promised.tree();
        let size = tree.map_or(0, |tree| tree.size);
        let reach = Reach {
            origin,
            size,
            walked_from: size,
            last_ms: None,
            torn: None,
            checkpoint: tree,
            lock_record: None,
            findings: finding.into_iter().collect(),
        };
        Self { records, promised, reach }
    }

    /// How far the checkpoint reaches.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// What was disclosed, for people.
    pub(super) fn scope(&self) -> String {
        format!("{} single records", self.records.len())
    }

    /// The records that fit a query.
    pub(super) fn query(&self, query: &AuditQuery) -> Result<Answer, Refusal> {
        if query.operation.is_some() {
            let detail =
                "single records do not tell whose operation id theirs was; ask for something else";
            return Err(Refusal { reason: Reason::Malformed, detail: detail.to_owned() });
        }
        let mut found = Found::default();
        for record in &self.records {
            match self.view(record) {
                Ok((view, output)) if fits(query, &view, &output) => found.records.push_back(view),
                Ok(_) => {}
                Err(why) => found.unread.push(Unread {
                    first_index: record.index,
                    end_index: record.index.saturating_add(1),
                    why,
                }),
            }
        }
        let limit = usize::try_from(query.limit).unwrap_or(1);
        while found.records.len() > limit {
            match query.after {
                Some(_) => found.records.pop_back(),
                None => found.records.pop_front(),
            };
        }
        Ok(found.into())
    }

    /// Opens groups of a record.
    pub(super) fn opening(&self, index: u64, groups: RecordGroups) -> Result<Opening, Refusal> {
        let record = self.records.iter().find(|record| record.index == index);
        let record = record.ok_or_else(|| Refusal {
            reason: Reason::Forbidden,
            detail: "no record with that index was disclosed".to_owned(),
        })?;
        self.view(record).map_err(|why| unavailable(&why))?;
        let opening = record.opening().map_err(|error| unavailable(&error.to_string()))?;
        Ok(opening.only(groups))
    }

    /// A record as it is shown, and the digest of its output; or why it is not.
    fn view(&self, record: &CaseRecord) -> Result<(RecordView, [u8; 32]), String> {
        let opening = record.opening().map_err(|error| error.to_string())?;
        let (opened, identity) = record.open().map_err(|error| error.to_string())?;
        let leaf = opening.leaf();
        let held = self.promised.says(record.index, &leaf);
        match held {
            Some(Says::Yes) => {}
            Some(Says::Another) => return Err("the log has another record in this place".into()),
            Some(Says::Unknown) => {
                return Err("the tiles that lead to it are missing or altered".into());
            }
            None => return Err("no checkpoint among the files covers it".into()),
        }
        let view = view(record, &opened, &identity, leaf.as_bytes().to_vec());
        let output = opened.payload.map(|payload| payload.output).unwrap_or_default();
        Ok((view.ok_or("not all of it was disclosed")?, output))
    }
}

fn view(
    record: &CaseRecord,
    opened: &Opened,
    identity: &IdentitySection,
    leaf: Vec<u8>,
) -> Option<RecordView> {
    let (time, operation) = (opened.time.as_ref()?, opened.operation.as_ref()?);
    let key = opened.key.as_ref()?;
    let action = Action { kind: operation.kind.number(), number: operation.operation };
    let number = (key.group.counted == Counted::Yes).then_some(key.use_index);
    let is_a_number = shown::is_a_number(operation.kind);
    let (actor, handle) = (identity.principal, identity.credential);
    Some(RecordView {
        index: record.index,
        unix_ms: time.unix_ms,
        operation: action.name().into(),
        outcome: shown::outcome(operation.outcome).into(),
        reason: shown::reason(operation.reason).into(),
        key: record.key.clone(),
        version: key.group.version,
        use_index: number.filter(|_| !is_a_number),
        count: number.filter(|_| is_a_number),
        actor: (actor != [0; 16]).then(|| PrincipalId::from_bytes(actor)),
        handle: (handle != [0; 16]).then(|| HandleId::from_bytes(handle)),
        leaf,
    })
}

fn fits(query: &AuditQuery, view: &RecordView, output: &[u8; 32]) -> bool {
    query.since_ms.is_none_or(|since| view.unix_ms >= since)
        && query.until_ms.is_none_or(|until| view.unix_ms < until)
        && query.before.is_none_or(|before| view.index < before)
        && query.after.is_none_or(|after| view.index > after)
        && query.key.as_ref().is_none_or(|name| name.as_str() == view.key)
        && query.version.is_none_or(|version| version == view.version)
        && query.actor.is_none_or(|actor| view.actor == Some(actor))
        && query.handle.is_none_or(|handle| view.handle == Some(handle))
        && query.outcome.is_none_or(|outcome| shown::outcome(outcome) == view.outcome)
        && query.reason.is_none_or(|reason| shown::reason(reason) == view.reason)
        && query.action.is_none_or(|action| action.name() == view.operation)
        && query.output.is_none_or(|asked| asked == *output)
}
