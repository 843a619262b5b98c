//! The log, as an auditor follows and opens it.

use std::borrow::Cow;
use std::rc::Rc;

use chancery_audit::frame::{FrameView, ItemView};
use chancery_audit::page::{FollowError, Follower, Taken};
use chancery_audit::record::Kind;
use chancery_audit::sealer::EventFacts;
use chancery_audit::shown;
use chancery_client::Client;
use chancery_core::action::{Action, FIRST_OWN};
use chancery_core::id::{HandleId, PrincipalId};
use chancery_crypto::section::Boot;
use chancery_export::exporter::{Log, Page, ReadError, Records};
use chancery_export::record::{Outcome, Record};
use chancery_log::Hash;

use super::keys::{Keyring, Opener, Place};
use super::service::Service;

/// The number of the first command that reads; those below it are on record.
const FIRST_READ: u8 = 32;

/// Reads frames, checks them and opens them.
pub(super) struct Reader {
    service: Service,
    since_ms: Option<u64>,
    /// The log's origin and size, as the service said last.
    log: Log,
    /// Where the log was followed to.
    followed: Option<(u64, Follower)>,
    keys: Keyring,
    /// Room for a section.
    room: Vec<u8>,
}

impl Reader {
    pub(super) fn new(client: Client, since_ms: Option<u64>) -> Self {
        Self {
            service: Service::new(client),
            since_ms,
            log: Log { origin: String::new(), size: 0 },
            followed: None,
            keys: Keyring::default(),
            room: Vec::new(),
        }
    }

    /// The first record to read of those from the one at `from` on; nothing if none is young enough.
    fn begin(&self, from: u64) -> Result<Option<u64>, ReadError> {
        match self.since_ms.filter(|_| self.followed.is_none()) {
            Some(since) => self.service.first_since(since, from),
            None => Ok(Some(from)),
        }
    }

    /// The frames from the record at `from` on. What was begun is given up where anything is wrong.
    fn take(&mut self, from: u64) -> Result<Taken, ReadError> {
        let known = self.followed.take().filter(|(at, _)| *at == from);
        let (_, mut follower) =
            known.unwrap_or_else(|| (from, Follower::new(self.log.origin.clone())));
        loop {
            let begun = follower.begun_bytes();
            let page = self.service.frames(from, begun)?;
            let taken = follower.take(from, page).map_err(|error| altered(&error))?;
            if let Some(next) = follower.next_index().filter(|next| *next > from) {
                self.followed = Some((next, follower));
                return Ok(taken);
            }
            if follower.begun_bytes() <= begun {
                let size = taken.size;
                return Err(ReadError::Lost(format!(
                    "of {size} records it says it has, it shows none from {from} on"
                )));
            }
        }
    }

    /// The records of some frames from the one at `from` on, opened.
    fn opened(&mut self, from: u64, taken: &Taken) -> Result<Vec<Record>, ReadError> {
        let mut records = Vec::new();
        for (frame, leaves) in taken.frames() {
            let boot = self.boot(&frame)?;
            let numbered = (frame.facts.first_index..).zip(frame.items().zip(leaves));
            for (index, (item, leaf)) in numbered.skip_while(|(index, _)| *index < from) {
                let item = item.map_err(|_| altered(&FollowError::Altered(index)))?;
                let place = Place { index, size: taken.size, boot };
                let record = self.record((&item, leaf), place)?;
                let since = self.since_ms;
                records.extend(
                    record.filter(|record| since.is_none_or(|since| record.time_ms >= since)),
                );
            }
        }
        Ok(records)
    }

    fn boot(&self, frame: &FrameView<'_>) -> Result<Boot, ReadError> {
        let log_id = self.followed.as_ref().and_then(|(_, follower)| follower.log_id());
        let log_id = log_id.ok_or_else(|| altered(&FollowError::OtherLog))?;
        Ok(Boot { log_id, boot_nonce: frame.facts.boot_nonce })
    }

    /// A record, if it is for this auditor and its keys are there.
    fn record(
        &mut self,
        (item, leaf): (&ItemView<'_>, &Hash),
        place: Place,
    ) -> Result<Option<Record>, ReadError> {
        let asked = (item, place);
        let Some(opener) = self.keys.opener(&self.service, &self.log.origin, asked)? else {
            return Ok(None);
        };
        let facts = opener.keys.open(item, &mut self.room).ok_or_else(|| {
            let index = place.index;
            ReadError::Altered(format!("record {index} is altered: it was not sealed so"))
        })?;
        self.told(&opener, place.index, (facts, leaf)).map(Some)
    }

    fn told(
        &mut self,
        opener: &Rc<Opener>,
        log_index: u64,
        (facts, leaf): (EventFacts, &Hash),
    ) -> Result<Record, ReadError> {
        let EventFacts { section, use_index, identity } = facts;
        let (kind, version) = (section.operation.kind, section.key.version);
        let actor = PrincipalId::from_bytes(identity.principal);
        let handle = HandleId::from_bytes(identity.credential);
        Ok(Record {
            log_index,
            time_ms: section.time.unix_ms,
            operation: name_of(kind, section.operation.operation),
            outcome: match section.operation.outcome {
                0 => Outcome::Committed,
                _ => Outcome::Refused,
            },
            code: shown::reason(section.operation.reason).into(),
            key: self.keys.name(&self.service, opener, &section.key.key)?,
            version: (version != 0).then_some(version),
            use_index: use_index.filter(|_| !shown::is_a_number(kind)),
            count: use_index.filter(|_| shown::is_a_number(kind)),
            actor: Some(actor).filter(|actor| actor.as_bytes() != &[0; 16]),
            handle: Some(handle).filter(|handle| handle.as_bytes() != &[0; 16]),
            leaf: *leaf.as_bytes(),
        })
    }
}

/// What was done, by its name in the audit. A command of a newer service is named by its number.
fn name_of(kind: Kind, number: u8) -> Cow<'static, str> {
    let name = Action { kind: kind.number(), number }.name();
    match (kind, name) {
        (Kind::Command, "read") if !(FIRST_READ..FIRST_OWN).contains(&number) => {
            format!("command-{number}").into()
        }
        _ => name.into(),
    }
}

impl Records for Reader {
    fn log(&mut self) -> Result<Log, ReadError> {
        self.log = self.service.log()?;
        Ok(self.log.clone())
    }

    fn page(&mut self, from: u64) -> Result<Page, ReadError> {
        let Some(first) = self.begin(from)? else {
            return Ok(Page { records: Vec::new(), end: self.log.size, size: self.log.size });
        };
        let taken = self.take(first)?;
        let records = self.opened(first, &taken);
        let records = records.inspect_err(|_| self.followed = None)?;
        let end = self.followed.as_ref().map_or(first, |(next, _)| *next);
        Ok(Page { records, end, size: taken.size })
    }
}

fn altered(error: &FollowError) -> ReadError {
    match error {
        FollowError::NotAPage => ReadError::Refused(error.to_string()),
        _ => ReadError::Altered(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_its_name_and_one_of_a_newer_service_its_number() {
        for (action, name) in Action::all() {
            let kind = Kind::from_number(action.kind).unwrap();
            assert_eq!(name_of(kind, action.number), name);
        }
        assert_eq!(name_of(Kind::Command, 255), "command-255");
        assert_eq!(name_of(Kind::Command, 36), "read");
    }
}
