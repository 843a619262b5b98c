//! What an export asks the service for.

use chancery_api::http::problem::{Code, FrontCode};
use chancery_api::http::replies::{AnswerObject, CommandAnswer, RecordObject};
use chancery_audit::disclosure::{Contents, EventsDisclosed};
use chancery_audit::sealer::Month;
use chancery_client::{Client, Next, Outcome, Refusal, operation_id};
use chancery_core::command::{AuditQuery, Command};
use chancery_core::disclosure::{Disclosed, Disclosure};
use chancery_core::id::{KeyId, TenantId};
use chancery_core::name::Name;
use chancery_core::reason::Reason;
use chancery_export::exporter::{Log, ReadError};
use chancery_signer::Recipient;

use super::keys::Discloses;

/// The service, as an auditor asks it.
pub(super) struct Service(Client);

impl Service {
    pub(super) fn new(client: Client) -> Self {
        Self(client)
    }

    /// Origin and size of the log.
    pub(super) fn log(&self) -> Result<Log, ReadError> {
        match self.ask(&Command::ReadStatus)?.answer {
            AnswerObject::Status(status) => {
                Ok(Log { origin: status.origin, size: status.log_size })
            }
            _ => Err(odd()),
        }
    }

    /// A page of frames.
    pub(super) fn frames(&self, from: u64, skip: usize) -> Result<Vec<u8>, ReadError> {
        let skip = u32::try_from(skip).map_err(|_| odd())?;
        let operation = operation_id().map_err(|error| ReadError::Lost(error.to_string()))?;
        let page = self.0.frames(&Command::ReadFrames { from, skip }, operation);
        told(page, |refusal| {
            match refusal.code {
            Code::Front(FrontCode::UnknownRoute) => {
                "the service hands out no frames: it is older than this program, so export with one of its version"
                    .into()
            }
            _ => refusal.to_string(),
        }
        })
    }

    /// The index of the first record since a time that is not below `from`.
    pub(super) fn first_since(&self, since_ms: u64, from: u64) -> Result<Option<u64>, ReadError> {
        let asked = AuditQuery { since_ms: Some(since_ms), limit: 1, ..AuditQuery::default() };
        let behind = |index| AuditQuery { after: Some(index), ..asked.clone() };
        if let Some(before) = from.checked_sub(1) {
            return self.first(behind(before));
        }
        // Nothing lies before the first record, which `after` could name.
        let first = self.first(AuditQuery { before: Some(1), ..asked.clone() })?;
        if first.is_some() { Ok(first) } else { self.first(behind(0)) }
    }

    fn first(&self, query: AuditQuery) -> Result<Option<u64>, ReadError> {
        match self.ask(&Command::QueryAudit(query))?.answer {
            AnswerObject::Records(records) => {
                let index = |record: &RecordObject| record.log_index;
                Ok(records.first().map(index))
            }
            _ => Err(odd()),
        }
    }

    fn ask(&self, command: &Command) -> Result<CommandAnswer, ReadError> {
        let operation = operation_id().map_err(|error| ReadError::Lost(error.to_string()))?;
        told(self.0.command(command, operation), Refusal::to_string)
    }
}

impl Discloses for Service {
    fn events(&self, origin: &str, month: Month) -> Result<Option<EventsDisclosed>, ReadError> {
        let failed = |error: &dyn ToString| ReadError::Lost(error.to_string());
        let (private, public) = Recipient::new_pair().map_err(|error| failed(&error))?;
        let (Ok(private), Ok(recipient)) = (<&[u8; 32]>::try_from(&private[..]), public.try_into())
        else {
            return Err(odd());
        };
        let disclosure = Disclosure { what: Disclosed::Events { month }, recipient };
        let operation = operation_id().map_err(|error| failed(&error))?;
        let answer = match self.0.command(&Command::Disclose(disclosure), operation) {
            Outcome::Refused(refusal) if refusal.code == Code::Reason(Reason::Forbidden) => {
                return Ok(None);
            }
            answer => told(answer, Refusal::to_string)?.answer,
        };
        let AnswerObject::Disclosure(sealed) = answer else { return Err(odd()) };
        let altered = |why: &dyn ToString| ReadError::Altered(why.to_string());
        let file =
            Recipient::with_key(private).open(&sealed.0, None).map_err(|error| altered(&error))?;
        if file.origin().name() != origin {
            return Err(altered(&"the keys that were disclosed are of another log"));
        }
        match file.contents {
            Contents::Events(events) if events.month == month => Ok(Some(events)),
            _ => Err(odd()),
        }
    }

    fn keys(&self) -> Result<Vec<(TenantId, KeyId, Name)>, ReadError> {
        let mut keys: Vec<(TenantId, KeyId, Name)> = Vec::new();
        loop {
            let after = keys.last().map(|(.., name)| name.clone());
            let AnswerObject::Keys(page) = self.ask(&Command::ListKeys { after })?.answer else {
                return Err(odd());
            };
            keys.extend(page.keys.into_iter().map(|key| (key.tenant, key.id, key.name)));
            if !page.more {
                return Ok(keys);
            }
        }
    }
}

fn told<T>(outcome: Outcome<T>, why: impl Fn(&Refusal) -> String) -> Result<T, ReadError> {
    match outcome {
        Outcome::Committed(answer) => Ok(answer),
        Outcome::Unknown(_) => Err(ReadError::Lost("no answer came".into())),
        Outcome::Refused(refusal) => Err(match refusal.next() {
            // A suspect clock and an audit that cannot be written are mended without this process.
            Next::TryLater | Next::AskAgain => ReadError::Lost(refusal.to_string()),
            _ => ReadError::Refused(why(&refusal)),
        }),
    }
}

fn odd() -> ReadError {
    ReadError::Refused(
        "the service answered something else than was asked; is it of another version?".into(),
    )
}
